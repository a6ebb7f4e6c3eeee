"""Checkpoints of a run's state: written to a temporary folder, renamed, and used only if every byte is right.

checkpoints/step-000012/    after 12 steps
  state.safetensors           adapter, value head and Adam's moments; with run_ahead also the policy before
  state.json                  all state that is not a tensor
  manifest.json               size and SHA-256 of the other two; written last
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from learner.atomic_files import sync_folder, write_durably
from learner.rewards import ScoreMoments
from learner.types import LearnerState, PolicyState, Tensors, TrainState

NAME = re.compile(r"step-\d{6,}")
FILES = ("state.safetensors", "state.json")
GROUPS = ("adapter", "value_head", "moments", "sampler_adapter", "sampler_value_head")


class DamagedCheckpoint(Exception):
    """A checkpoint whose contents are not what was written."""


def save_checkpoint(folder: Path, state: TrainState, keep: int) -> None:
    """Write the state into `folder`, and delete all but the `keep` newest checkpoints.

    Raises `OSError` if it cannot be written; existing checkpoints are left intact.
    """
    folder.mkdir(exist_ok=True)
    target = folder / f"step-{state.version:06d}"
    temporary = folder / f".{target.name}.writing"
    _remove(temporary)  # left by a run that was killed here
    try:
        temporary.mkdir()
        contents = _to_bytes(state)
        for name, data in contents.items():
            write_durably(temporary / name, data)
        write_durably(temporary / "manifest.json", _manifest(contents))
        sync_folder(temporary)
        _remove(target)  # damaged, or it would not be written again
        temporary.rename(target)
        sync_folder(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in checkpoints(folder)[keep:]:
        shutil.rmtree(old)


def load_newest(folder: Path, warn: Callable[[str], None]) -> TrainState | None:
    """The newest intact state; None if there is none. Calls `warn` for each damaged checkpoint that is skipped."""
    for path in checkpoints(folder):
        try:
            return load_checkpoint(path)
        except DamagedCheckpoint as error:
            warn(f"{path} is damaged ({error}) and skipped; the previous checkpoint is used, if there is one")
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Completely written checkpoints, newest first."""
    entries = folder.iterdir() if folder.is_dir() else ()
    named = [path for path in entries if NAME.fullmatch(path.name)]
    return sorted(named, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def load_checkpoint(path: Path) -> TrainState:
    """The state in a checkpoint folder. Raises `DamagedCheckpoint`."""
    try:
        contents = {name: (path / name).read_bytes() for name in FILES}
        if (path / "manifest.json").read_bytes() != _manifest(contents):
            raise DamagedCheckpoint("its contents do not match its manifest")
        state = _from_bytes(contents)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(error) from error
    if f"step-{state.version:06d}" != path.name:
        raise DamagedCheckpoint(f"it holds step {state.version}")
    return state


def _manifest(contents: dict[str, bytes]) -> bytes:
    entries = {n: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for n, data in contents.items()}
    return json.dumps(entries, indent=2).encode()


def _to_bytes(state: TrainState) -> dict[str, bytes]:
    policy, learner = state.policy, state.learner
    groups = {"adapter": policy.adapter, "value_head": policy.value_head, "moments": learner.moments}
    if state.sampler.version != policy.version:
        # Copies: after a rejected step both are the same tensors, which safetensors refuses to write twice.
        sampler = {"sampler_adapter": state.sampler.adapter, "sampler_value_head": state.sampler.value_head}
        groups |= {group: {name: t.clone() for name, t in named.items()} for group, named in sampler.items()}
    tensors = {f"{group}:{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
    numbers: dict[str, Any] = {
        "version": policy.version,
        "sampler": state.sampler.version,
        "kl_coef": learner.kl_coef,
        "score_moments": list(learner.score_moments),
        "rejected": learner.rejected,
        "reward": state.reward,
    }
    return dict(zip(FILES, (save(tensors), json.dumps(numbers).encode()), strict=True))


def _from_bytes(contents: dict[str, bytes]) -> TrainState:
    tensors, text = (contents[name] for name in FILES)
    groups: dict[str, Tensors] = {name: {} for name in GROUPS}
    for path, tensor in load(tensors).items():
        group, name = path.split(":", 1)
        groups[group][name] = tensor
    numbers = json.loads(text)
    version, moments = numbers["version"], ScoreMoments(*numbers["score_moments"])
    policy = sampler = PolicyState(version, groups["adapter"], groups["value_head"])
    if numbers.get("sampler", version) != version:
        sampler = PolicyState(numbers["sampler"], groups["sampler_adapter"], groups["sampler_value_head"])
    learner = LearnerState(version, groups["moments"], numbers["kl_coef"], moments, numbers["rejected"])
    return TrainState(policy, learner, sampler, numbers.get("reward", 0))


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
