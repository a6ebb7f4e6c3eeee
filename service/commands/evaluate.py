"""`ray_job.py evaluate`: any set of policies on the same held-out dialogues."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from cluster.preflight.data import data_lines
from cluster.preflight.preflight import preflight
from cluster.run_files import POLICIES
from configs.errors import UsageError
from configs.schema import Config
from learner.adapter import BASE, Adapter, tensors_sha256
from learner.atomic_files import replace_file
from learner.lora import common_shape, fit, lora_config
from learner.types import PolicyState
from service.report.report import Findings, write_report
from service.run.folder import new_folder, write_config
from service.run.held_out_summaries import judge_policies
from service.run.lock import lock_folder
from service.run.policy_source import PolicySource
from service.run.progress import Display, silence_libraries
from service.run.startup import started


def evaluate(texts: Sequence[str], config: Config, resume: Path | None = None) -> Path:
    """Evaluate the policies and report; prints and returns the folder. With `resume`, continue an evaluation.

    Raises `UsageError` before anything starts, `RunError` if it fails.
    """
    began = time.perf_counter()
    silence_libraries()
    display = Display(Console(stderr=True))
    sources = _sources(texts, resume)
    with display.phase("reading adapters"):
        adapters = {source.name: source.read(config.policy) for source in sources}
    config = _with_shape(config, adapters)
    if config.evaluation.baseline not in (None, *adapters):
        raise UsageError(f"evaluation.baseline: {config.evaluation.baseline!r} is not one of {', '.join(adapters)}")
    with display.phase("checking models and data"):
        plan = preflight(config, resume, learns=False)
    path = resume or (Path(config.out) if config.out else new_folder())
    path.mkdir(parents=True, exist_ok=True)
    with lock_folder(path), display.failure_logged():
        display.folder = path
        for line in data_lines(plan.splits):
            display.say(line)
        # Written before anything starts: from then on the evaluation can be resumed.
        replace_file(path / POLICIES, json.dumps({source.name: source.where for source in sources}).encode())
        write_config(path, config)
        with started(config, path, display) as (pools, initial):
            policies = _policies(adapters, initial.reference, config)
            table = judge_policies(path, plan, pools, policies, config, display)
        hashes = {name: tensors_sha256(policy.adapter) for name, policy in policies.items()}
        facts = {"policies": hashes, "seed": config.evaluation.seed, "model": initial.model}
        facts |= {"data": plan.counts(), "seconds": time.perf_counter() - began}
        write_report(path, Findings.of(config, plan, table), facts, display)
        display.done()
    print(path)
    return path


def _sources(texts: Sequence[str], resume: Path | None) -> list[PolicySource]:
    """The policies named on the command line, or the policies of the resumed evaluation."""
    if resume and not texts:
        saved = json.loads((resume / POLICIES).read_bytes())
        return [PolicySource(name, where) for name, where in saved.items()]
    sources = [PolicySource.parse(text) for text in texts or (BASE,)]
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two policies are called {twice[0]}; give them different names: NAME={sources[-1].where}")
    return sources


def _with_shape(config: Config, adapters: Mapping[str, Adapter | None]) -> Config:
    """The config with a LoRA shape that all adapters fit into."""
    given = [adapter for adapter in adapters.values() if adapter]
    lora = common_shape(given) if given else config.policy.lora
    return config.model_copy(update={"policy": config.policy.model_copy(update={"adapter": None, "lora": lora})})


def _policies(adapters: Mapping[str, Adapter | None], reference: PolicyState, config: Config) -> dict[str, PolicyState]:
    policies = {}
    for version, (name, found) in enumerate(adapters.items()):
        adapter = found or Adapter(lora_config(config.policy), {})
        fitted = fit(adapter, reference.adapter, config.policy.lora)
        policies[name] = PolicyState(version, fitted, reference.value_head)
    return policies
