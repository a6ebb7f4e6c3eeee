"""A change of one part of the reward while a run goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from configs.errors import UsageError
from configs.presets import merge
from configs.problems import field_names, problem
from configs.reward_parts import ClassifierReward, Part
from configs.rewards import CODE_PARTS, RewardConfig
from configs.schema import Config

FIXED = ("type", *CODE_PARTS.values())
"""Settings of a part that stay as the run started: what kind it is, and the code that it runs."""


@dataclass(frozen=True)
class RewardChange:
    """New settings of a part, merged over its own."""

    part: str
    settings: Mapping[str, Any]  # as in a YAML file

    @property
    def needs_anchors(self) -> bool:
        """True if the part's raw scores change, and so their scale unless the change says it."""
        return bool(set(self.settings) - set(Part.model_fields)) and "standardise" not in self.settings

    def applied_to(self, reward: RewardConfig) -> RewardConfig:
        """The reward after the change. Raises `UsageError` with all problems."""
        field = f"reward.parts.{self.part}"
        if self.part not in reward.parts:
            raise UsageError(f"{field}: the reward has no such part; it has {', '.join(reward.parts)}")
        if not self.settings:
            raise UsageError(f"{field}: nothing to change; name a setting, such as model or weight")
        if fixed := [name for name in FIXED if name in self.settings]:
            raise UsageError(*[f"{field}.{name}: cannot change while a run goes on" for name in fixed])
        values = reward.model_dump(mode="json")
        values["parts"][self.part] = merge(values["parts"][self.part], dict(self.settings))
        try:
            return RewardConfig.model_validate(values)
        except ValidationError as error:
            known, found = set(field_names(Config)), error.errors()
            raise UsageError(*[problem({**one, "loc": ("reward", *one["loc"])}, known) for one in found]) from error


def only_classifier(reward: RewardConfig) -> str:
    """Name of the part that a change means if it names none. Raises `UsageError` unless there is one classifier."""
    names = [name for name, part in reward.parts.items() if isinstance(part, ClassifierReward)]
    if len(names) != 1:
        found = f"has {len(names)} classifiers" if names else "has no classifier"
        raise UsageError(f"part: name one; the reward {found}, and its parts are {', '.join(reward.parts)}")
    return names[0]
