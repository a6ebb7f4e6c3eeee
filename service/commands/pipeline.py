"""`ray_job.py pipeline`: explore the data, evaluate the base model, fine-tune, train, and evaluate all three policies.

OUT/pipeline.yaml   the settings of all stages
OUT/explore/  OUT/sft/  OUT/rlhf/    a folder for each stage
OUT/evaluation/  OUT/report.html     the policies side by side
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml
from rich.console import Console

from cluster.preflight.preflight import preflight
from configs.errors import UsageError
from configs.load import changes, validate
from configs.schema import Config
from learner.adapter import BASE, read_adapter, tensors_sha256
from learner.atomic_files import replace_file
from service.commands.evaluate import evaluate
from service.commands.explore import explore
from service.commands.sft import is_complete, sft
from service.commands.train import run
from service.run.folder import RLHF, new_folder
from service.run.progress import Display

SETTINGS = "pipeline.yaml"


def run_pipeline(config: Config) -> None:
    """Run all stages in turn; finished ones are skipped. Prints the folder.

    Raises `UsageError` before the first stage starts, `RunError` if a stage fails.
    """
    Pipeline(config).run()


class Pipeline:
    """The stages of one folder. A stage is skipped if its output is complete, and resumed if it is partial."""

    def __init__(self, config: Config) -> None:
        """Raises `UsageError` if the folder holds something else, or a pipeline with other settings."""
        self.path = Path(config.out) if config.out else new_folder()
        self.config = config
        self.display = Display(Console(stderr=True))
        self.adapter = self.path / "sft/adapter"
        _check_folder(self.path, config)

    def run(self) -> None:
        """Run all stages. Raises `UsageError` before the first starts, `RunError` if one fails."""
        with self.display.phase("checking models and data"):
            preflight(self.config, resume=self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(self.config.model_dump(mode="json", exclude={"out"}), sort_keys=False)
        replace_file(self.path / SETTINGS, text.encode())
        stages: list[tuple[str, Callable[[], bool], Callable[[], object]]] = [
            ("explore", lambda: (self.path / "explore/explore.json").is_file(), self._explore),
            ("baseline", lambda: self._evaluated([BASE]), lambda: evaluate([BASE], self.config, resume=self.path)),
            ("sft", lambda: is_complete(self.path / "sft"), self._sft),
            ("rlhf", self._trained, self._rlhf),
            ("evaluation", lambda: self._evaluated([BASE, "sft", RLHF]), self._evaluate),
        ]
        for number, (name, is_done, work) in enumerate(stages, start=1):
            done = is_done()
            self.display.say(f"pipeline {number}/{len(stages)}: {name}{' is already done' if done else ''}")
            if not done:
                work()
        print(self.path)

    def _stage(self, name: str, **policy: str) -> Config:
        policy = self.config.policy.model_copy(update=policy)
        return self.config.model_copy(update={"out": str(self.path / name), "policy": policy})

    def _resumable(self, name: str) -> Path | None:
        """The stage's folder if it can be resumed; otherwise removes it and returns None."""
        folder = self.path / name
        if (folder / "config.yaml").is_file():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def _explore(self) -> None:
        shutil.rmtree(self.path / "explore", ignore_errors=True)
        explore(self._stage("explore"))

    def _sft(self) -> None:
        sft(self._stage("sft"), self._resumable("sft"))

    def _rlhf(self) -> None:
        run(self._stage(RLHF, adapter=str(self.adapter)), self._resumable(RLHF))

    def _evaluate(self) -> None:
        texts = [BASE, f"sft={self.adapter}", f"{RLHF}={self.path / RLHF}"]
        evaluate(texts, self.config, resume=self.path)

    def _trained(self) -> bool:
        report = _read(self.path / RLHF / "report.json")
        adapter = self.path / RLHF / "adapter"
        return bool(report) and report["adapter_sha256"] == tensors_sha256(read_adapter("rlhf", str(adapter)).tensors)

    def _evaluated(self, names: list[str]) -> bool:
        """True if the report covers all of these policies, and the run's current adapter."""
        known = _read(self.path / "report.json").get("policies", {})
        run = _read(self.path / RLHF / "report.json").get("adapter_sha256")
        return set(names) <= set(known) and (RLHF not in names or known[RLHF] == run)


def _check_folder(path: Path, config: Config) -> None:
    settings = path / SETTINGS
    if settings.is_file():
        own = validate(yaml.safe_load(settings.read_text(encoding="utf-8")))
        if changed := changes(own, config):
            raise UsageError(*[f"{change}; restore it, or name a new folder with --out" for change in changed])
    elif path.exists() and any(path.iterdir()):
        raise UsageError(f"out: {path} exists and is not a pipeline folder; name a new one")


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
