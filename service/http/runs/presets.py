"""Presets: the configs that runs are based on, and the models and data that runs may use."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from configs.errors import UsageError
from configs.load import validate
from configs.presets import merge, read_yaml
from configs.reward_change import RewardChange
from configs.schema import Config
from service.http.runs.request_rules import check_config, check_request

PARTS = ("reward.parts.", "evaluation.metrics.")


class Presets:
    """The presets of the service. Models and data that they name are registered; runs can use no others."""

    def __init__(self, names: tuple[str, ...], reward_models: tuple[str, ...] = ()) -> None:
        """`names` of presets or YAML files; further models that rewards may name.

        Raises `UsageError` if a preset does not exist or is invalid.
        """
        self.values = {Path(name).stem: read_yaml(name) for name in names}
        self.configs = {name: validate(values) for name, values in self.values.items()}
        self.registered: dict[str, set[str]] = {}
        for config in self.configs.values():
            for field, name in _resources(config):
                self.registered.setdefault(_place(field), set()).add(name)
        self.registered.setdefault(PARTS[0], set()).update(reward_models)

    def make_config(self, body: Mapping[str, Any]) -> tuple[str, Config]:
        """Preset and config of a request: its settings, merged over the preset that `base` names.

        Raises `UsageError` listing everything that is invalid or not allowed over HTTP.
        """
        request = dict(body)
        base = request.pop("base", next(iter(self.values)))
        if not isinstance(base, str) or base not in self.values:
            raise UsageError(f"base: unknown preset {base!r}; presets are: {', '.join(self.values)}")
        if problems := check_request(request):
            raise UsageError(*problems)
        config = validate(merge(self.values[base], request))
        if problems := [*self._unregistered(config), *check_config(request, config)]:
            raise UsageError(*problems)
        return base, config

    def check_change(self, change: RewardChange, config: Config) -> None:
        """Raises `UsageError` if the change of a run's reward is not allowed over HTTP. `config` is that of the run."""
        section = {"parts": {change.part: dict(change.settings)}}
        if problems := check_request({"reward": section}):
            raise UsageError(*problems)
        changed = config.model_copy(update={"reward": change.applied_to(config.reward)})
        own = f"reward.parts.{change.part}."
        unknown = [problem for problem in self._unregistered(changed) if problem.startswith(own)]
        if problems := [*(unknown if "model" in change.settings else ()), *check_config({"reward": section}, changed)]:
            raise UsageError(*problems)

    def _unregistered(self, config: Config) -> Iterator[str]:
        for field, name in _resources(config):
            known = self.registered.get(_place(field), set())
            if name not in known:
                names = ", ".join(sorted(known)) or "none"
                yield f"{field}: {name!r} is not registered with this service; registered: {names}"


def _place(field: str) -> str:
    """Where a model or data may be used: a classifier in any part of the reward, and as any metric."""
    return PARTS[0] if field.startswith(PARTS) else field


def _resources(config: Config) -> Iterator[tuple[str, str]]:
    """Models and data that a config names, each with its field."""
    yield "policy.model", config.policy.model
    for field, model in (*config.reward.models(), *config.evaluation.models()):
        yield f"{field}.model", model.model
    yield "data.path", config.data.path
