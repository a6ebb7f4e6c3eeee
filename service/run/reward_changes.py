"""Changing the reward of a run from outside through small files in its folder.

reward/ID.json        a request: part, settings, step
reward/ID.refused     why it was refused
rewards.jsonl         a line for each request that was accepted: the step from which it counts, and all that it set
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.reward_schedule import RewardRequest, RewardSchedule
from cluster.run_files import REWARDS
from configs.errors import RunError
from configs.reward_change import RewardChange
from configs.rewards import RewardConfig
from learner.atomic_files import replace_file
from learner.types import TrainState
from workers.reward.versions import RewardVersion, Trial

REQUESTS, REFUSED = "reward", ".refused"
"""Folder of the requests; ending of the answer to one that was refused."""


def request_change(folder: Path, change: RewardChange, at_step: int | None = None) -> str:
    """Request the change from the run in a folder; returns the request's id."""
    id = f"{time.time_ns():020d}-{os.getpid()}"
    (folder / REQUESTS).mkdir(exist_ok=True)
    values = {"part": change.part, "settings": dict(change.settings), "at_step": at_step}
    replace_file(folder / REQUESTS / f"{id}.json", json.dumps(values).encode())
    return id


def read_changes(folder: Path) -> list[dict[str, Any]]:
    """The accepted changes of a run, oldest first: version, step, request, part, settings and anchors of each.

    Raises `RunError` if the file is damaged.
    """
    file = folder / REWARDS
    try:
        return [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []
    except ValueError as error:
        raise RunError(f"{file} is damaged ({error}); restore it: it says which reward scores which step") from error


def read_refusal(folder: Path, id: str) -> list[str] | None:
    """Why a request was refused; None if it was not, or not yet."""
    try:
        return json.loads((folder / REQUESTS / (id + REFUSED)).read_bytes())
    except (OSError, ValueError):
        return None


def waiting(folder: Path) -> list[str]:
    """Ids of the requests that have no answer yet, oldest first."""
    accepted = {change["request"] for change in read_changes(folder)}
    names = sorted(file.stem for file in (folder / REQUESTS).glob("*.json"))
    return [id for id in names if id not in accepted and read_refusal(folder, id) is None]


def newest_refusal(folder: Path) -> list[str]:
    """Why the newest request was refused; empty if it was not."""
    newest = max((file.stem for file in (folder / REQUESTS).glob("*.json")), default="")
    return read_refusal(folder, newest) or []


def read_versions(folder: Path, first: RewardConfig) -> list[RewardVersion]:
    """All versions of a run's reward, from the `first`, that of its config. Raises `RunError` as `read_changes`."""
    versions = [RewardVersion(0, 0, first)]
    for line in read_changes(folder):
        changed = RewardChange(line["part"], line["settings"]).applied_to(versions[-1].reward)
        versions.append(RewardVersion(line["version"], line["step"], changed))
    return versions


class RunRewards(RewardSchedule):
    """The schedule of a run: its versions are in its folder, so that a resumed run goes through the same ones."""

    def __init__(self, folder: Path, reward: RewardConfig, say: Callable[[str], None]) -> None:
        """Raises `RunError` if the record of changes is damaged."""
        super().__init__(reward)
        self.folder, self.say = folder, say
        self.lines, self.versions = read_changes(folder), read_versions(folder, reward)

    def check(self, resumed: TrainState) -> None:
        """Raises `RunError` if the record of changes is not the one that a checkpoint was written with."""
        recorded = self.at(resumed.version - 1).number
        if recorded != resumed.reward:
            raise RunError(
                f"{self.folder / REWARDS}: step {resumed.version - 1} was scored by version {resumed.reward} of the "
                f"reward, not {recorded}; restore the file"
            )

    def due(self, step: int) -> Sequence[RewardRequest]:
        """Requests for this step. While a resumed run repeats steps, none until it has come to its newest version."""
        found = []
        for id in waiting(self.folder) if step >= self.versions[-1].since else ():
            if not (request := self._read(id)):
                continue
            if request.at_step is not None and request.at_step < step:
                self.refuse(request, [f"at_step: step {request.at_step} has begun before; the next one is {step}"])
            elif request.at_step in (None, step):
                found.append(request)
        return found

    def _read(self, id: str) -> RewardRequest | None:
        try:
            values = json.loads((self.folder / REQUESTS / f"{id}.json").read_bytes())
            at_step = None if values["at_step"] is None else int(values["at_step"])
            return RewardRequest(id, RewardChange(str(values["part"]), dict(values["settings"])), at_step)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._refuse(id, [f"{REQUESTS}/{id}.json is no request: {type(error).__name__}: {error}"])
            return None

    def accept(self, request: RewardRequest, step: int, trial: Trial) -> None:
        """Record the next version on disk: only then may scores depend on it."""
        part = request.change.part
        values = trial.reward.parts[part].model_dump(mode="json")
        names = {*request.change.settings, *(["standardise"] if trial.anchors else [])}
        line = {"version": len(self.versions), "step": step, "request": request.id, "part": part,
                "settings": {name: values[name] for name in sorted(names)}, "anchors": trial.anchors}  # fmt: skip
        lines = [*self.lines, line]
        replace_file(self.folder / REWARDS, "".join(f"{json.dumps(one)}\n" for one in lines).encode())
        self.lines = lines
        super().accept(request, step, trial)
        self.say(described(line))

    def refuse(self, request: RewardRequest, problems: Sequence[str]) -> None:
        """Write the answer, and tell the log."""
        self._refuse(request.id, problems)

    def _refuse(self, id: str, problems: Sequence[str]) -> None:
        replace_file(self.folder / REQUESTS / (id + REFUSED), json.dumps(list(problems)).encode())
        self.say(f"a change of the reward was refused: {'; '.join(problems)}")

    def close(self) -> None:
        """Refuse what came after the last step had begun."""
        for id in waiting(self.folder):
            self._refuse(id, ["the last step has begun: no later one can have another reward"])


def described(line: Mapping[str, Any]) -> str:
    """A change in a sentence."""
    settings = ", ".join(f"{name} {json.dumps(value)}" for name, value in line["settings"].items())
    text = f"reward version {line['version']} from step {line['step']} on: {line['part']} with {settings}"
    if anchors := line["anchors"]:
        text += (
            f"; on {anchors['texts']} anchor texts it had mean {anchors['new_mean']:.3g} and deviation "
            f"{anchors['new_std']:.3g}, now {anchors['old_mean']:.3g} and {anchors['old_std']:.3g} as the one before"
        )
    return text
