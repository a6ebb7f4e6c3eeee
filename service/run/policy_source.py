"""Policies named on the command line: the base model, an adapter, a run, or one of a run's checkpoints."""

import re
from dataclasses import dataclass
from pathlib import Path

from cluster.preflight.models import check_format
from configs.errors import UsageError
from configs.load import validate
from configs.policy import PolicyConfig
from configs.presets import read_yaml
from learner.adapter import BASE, Adapter, read_adapter
from learner.checkpoints import DamagedCheckpoint, load_checkpoint
from learner.lora import check_fits, lora_config


@dataclass(frozen=True)
class PolicySource:
    """A policy to be evaluated: its name in the report and the location of its adapter."""

    name: str
    where: str  # base, an adapter, a run folder, or RUN@12: that run after 12 steps

    @classmethod
    def parse(cls, text: str) -> "PolicySource":
        """Parse NAME=WHERE or WHERE alone. Raises `UsageError` for a name that cannot be a file name."""
        name, _, where = text.rpartition("=")
        name = name or Path(where).name
        if not re.fullmatch(r"[\w.@-]+", name):
            raise UsageError(f"{text}: {name!r} cannot be a policy's name; use letters, digits, dots and dashes")
        return cls(name, where)

    def read(self, policy: PolicyConfig) -> Adapter | None:
        """The adapter; None for the base model. Raises `UsageError` if it is missing or belongs to another model."""
        if self.where == BASE:
            return None
        folder, _, step = self.where.partition("@")
        adapter = self._checkpoint(Path(folder), step) if step else self._adapter(folder, policy)
        check_fits(adapter, f"{self.name}: {self.where}", policy)
        return adapter

    def _adapter(self, folder: str, policy: PolicyConfig) -> Adapter:
        if (Path(folder) / "adapter/adapter_config.json").is_file():
            folder = f"{folder}/adapter"
        check_format(policy.model_copy(update={"adapter": folder}))
        return read_adapter(self.name, folder)

    def _checkpoint(self, run: Path, step: str) -> Adapter:
        path = run / f"checkpoints/step-{step:>06}"
        if not path.is_dir():
            available = ", ".join(sorted(p.name for p in (run / "checkpoints").glob("step-*"))) or "none"
            raise UsageError(f"{self.where}: {run} has no checkpoint of step {step}; available: {available}")
        try:
            state = load_checkpoint(path)
        except DamagedCheckpoint as error:
            raise UsageError(f"{self.where}: the checkpoint is damaged: {error}") from error
        own = validate(read_yaml(str(run / "config.yaml")))
        return Adapter(lora_config(own.policy), state.policy.adapter)
