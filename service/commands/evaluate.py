"""`ray_job.py evaluate`: any set of policies on the same held-out dialogues."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cluster.plan import Plan
from cluster.preflight.models import check_format
from cluster.preflight.preflight import preflight
from configs.errors import UsageError
from configs.load import read_yaml, validate
from configs.schema import Config
from learner.adapter import Adapter, read_adapter, tensors_sha256
from learner.atomic_files import replace_file
from learner.checkpoints import DamagedCheckpoint, load_checkpoint
from learner.lora import check_fits, common_shape, fit, lora_config
from learner.types import PolicyState
from service.report.report import conclude
from service.run.folder import new_folder, take, write_config
from service.run.held_out_summaries import judge_policies
from service.run.progress import Display, silence_libraries
from service.run.supervisor import started

BASE = "base"
POLICIES = "policies.json"


@dataclass(frozen=True)
class Source:
    """A policy to be judged: its name in the report and where its adapter is."""

    name: str
    where: str  # base, an adapter, a run's folder, or RUN@12: that run after 12 steps

    @classmethod
    def parse(cls, text: str) -> "Source":
        """From NAME=WHERE or WHERE alone. Raises `UsageError` for a name that no file can have."""
        name, _, where = text.rpartition("=")
        name = name or Path(where).name
        if not re.fullmatch(r"[\w.@-]+", name):
            raise UsageError(f"{text}: {name!r} cannot be a policy's name; use letters, digits, dots and dashes")
        return cls(name, where)

    def read(self, config: Config) -> Adapter | None:
        """The adapter; None for the bare model. Raises `UsageError` where there is none, or one of another model."""
        if self.where == BASE:
            return None
        folder, _, step = self.where.partition("@")
        adapter = self._checkpoint(Path(folder), step) if step else self._adapter(folder, config)
        check_fits(adapter, f"{self.name}: {self.where}", config.policy)
        return adapter

    def _adapter(self, folder: str, config: Config) -> Adapter:
        if (Path(folder) / "adapter/adapter_config.json").is_file():
            folder = f"{folder}/adapter"
        check_format(config.policy.model_copy(update={"adapter": folder}))
        return read_adapter(self.name, folder)

    def _checkpoint(self, run: Path, step: str) -> Adapter:
        path = run / f"checkpoints/step-{step:>06}"
        if not path.is_dir():
            there = ", ".join(sorted(p.name for p in (run / "checkpoints").glob("step-*"))) or "none"
            raise UsageError(f"{self.where}: {run} has no checkpoint of step {step}; there are: {there}")
        try:
            state = load_checkpoint(path)
        except DamagedCheckpoint as error:
            raise UsageError(f"{self.where}: the checkpoint is damaged: {error}") from error
        own = validate(read_yaml(str(run / "config.yaml")))
        return Adapter(lora_config(own.policy), state.policy.adapter)


def evaluate(texts: Sequence[str], config: Config, resume: Path | None = None) -> Path:
    """Judge the policies and report; with `resume`, go on with an evaluation. Returns the folder, its last line.

    Raises `UsageError` before anything starts, `RunError` where it fails.
    """
    began = time.perf_counter()
    silence_libraries()
    display = Display(Console(stderr=True))
    sources = _sources(texts, resume)
    with display.phase("reading adapters"):
        read = {source.name: source.read(config) for source in sources}
    adapters = [adapter for adapter in read.values() if adapter]
    lora = common_shape(adapters) if adapters else config.policy.lora
    config = config.model_copy(update={"policy": config.policy.model_copy(update={"adapter": None, "lora": lora})})
    if config.evaluation.baseline not in (None, *read):
        raise UsageError(f"evaluation.baseline: {config.evaluation.baseline!r} is none of {', '.join(read)}")
    with display.phase("checking models and data"):
        plan = preflight(config, resume, learns=False)
    path = resume or (Path(config.out) if config.out else new_folder())
    path.mkdir(parents=True, exist_ok=True)
    with take(path):
        display.folder = path
        judge_all(path, plan, read, {source.name: source.where for source in sources}, display, began)
        display.done()
    print(path)
    return path


def judge_all(
    path: Path, plan: Plan, read: dict[str, Adapter | None], sources: dict[str, str], display: Display, began: float
) -> None:
    """Have the policies judged and write the report."""
    config = plan.config
    with started(config, path, display) as (pools, begin):
        write_config(path, config)  # not before: what cannot begin leaves nothing
        replace_file(path / POLICIES, json.dumps(sources).encode())
        template, head = begin.reference.adapter, begin.reference.value_head
        policies = {}
        for version, (name, found) in enumerate(read.items()):
            adapter = found or Adapter(lora_config(config.policy), {})
            policies[name] = PolicyState(version, fit(adapter, template, config.policy.lora), head)
        table = judge_policies(path, plan, pools, policies, display)
    hashes = {name: tensors_sha256(policy.adapter) for name, policy in policies.items()}
    facts = {"policies": hashes, "seed": config.evaluation.seed, "model": begin.model}
    conclude(path, plan, table, facts | {"seconds": time.perf_counter() - began}, display)


def _sources(texts: Sequence[str], resume: Path | None) -> list[Source]:
    """What is asked for, or what the evaluation that is resumed was asked for."""
    if resume and not texts:
        kept = json.loads((resume / POLICIES).read_bytes())
        return [Source(name, where) for name, where in kept.items()]
    sources = [Source.parse(text) for text in texts or (BASE,)]
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two policies are called {twice[0]}; name them apart: NAME={sources[-1].where}")
    return sources
