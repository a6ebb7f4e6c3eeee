"""The policies that a campaign compares: those that the service offers, and checkpoints of runs."""

import shutil
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save_file

from configs.errors import UsageError
from service.http.models.offered import Offered, offered_policy
from service.http.models.service import ModelService
from service.run.policy_source import PolicySource

FOLDER = "policies"
"""Folder in that of the campaign: adapters of checkpoints, while summaries are made."""


def check_policy(models: ModelService, name: str) -> None:
    """Raises `UsageError` if there is no policy of this name."""
    run, _, step = name.partition("@")
    try:
        if not step.isdigit():
            models.offered(name)
        elif not _checkpoint(models, run, step):
            raise UsageError(f"policies: {name!r}: there is no checkpoint of step {step} of a run of this policy")
    except UsageError as error:
        raise UsageError(*(problem.replace("adapters: ", "policies: ", 1) for problem in error.problems)) from error


def find_policy(models: ModelService, name: str, campaign: Path) -> Offered:
    """The policy of this name; a checkpoint becomes an adapter in the campaign's folder. Raises `UsageError`."""
    check_policy(models, name)
    run, _, step = name.partition("@")
    if not step.isdigit():
        return models.offered(name)
    folder, target = models.runs.folder(run), campaign / FOLDER / name
    adapter = PolicySource(name, f"{folder}@{step}").read(models.policy)
    shutil.rmtree(target, ignore_errors=True)  # left by a service that was killed
    shape = replace(adapter.shape, base_model_name_or_path=models.policy.model, inference_mode=True)
    shape.save_pretrained(target)
    save_file(adapter.tensors, target / "adapter_model.safetensors", metadata={"format": "pt"})
    return replace(offered_policy(name, folder, at_start=False), adapter=str(target))


def _checkpoint(models: ModelService, run: str, step: str) -> bool:
    try:
        record = models.runs.store.get(run)
    except KeyError:
        return False
    folder = models.runs.folder(run) / f"checkpoints/step-{step:>06}"
    return record.policy == models.policy.model and folder.is_dir()
