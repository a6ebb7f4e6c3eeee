"""What may be asked for over HTTP: the config of a YAML file, with registered models and data only."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from configs.cluster import span
from configs.errors import UsageError
from configs.load import merge, read_yaml, validate
from configs.schema import Config

CLOSED = {
    "out": "the service names the folder",
    "policy.adapter": "runs begin from a preset's adapter",
    "policy.adapter_bin": "such files are taken from the command line only",
    "cluster": "where and on what a run works is for the service's presets to say",
    "bench": "is for the command line",
    "serve": "is the service's own",
    "trackers": "would send what is measured elsewhere",
}
"""Settings that no client may give, and why."""
MOST = 4096
"""Largest whole number of a setting that is not among the following: none may fill the memory, or keep the cluster."""
LARGEST = {
    "steps": 100_000,
    "seed": 2**63 - 1,
    "evaluation.seed": 2**63 - 1,
    "evaluation.samples": 64,
    "data.min_chars": 100_000,
    "data.max_chars": 100_000,
    "policy.lora.r": 256,  # what answers people grows with it
    "algorithm.ppo_epochs": 64,
    "checkpoints.keep": 64,
    "workers.rollout": 1024,
    "workers.reward": 1024,
    "workers.reference": 1024,
    "workers.learner": 1024,
}
"""Largest number by setting. What a preset has itself may be larger."""
CHARS, PARTS = 10_000, 500
"""Most characters of a text; most settings, sections and entries of lists in a body."""
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, which JSON can bring and no file can hold."""


class Presets:
    """The presets that runs may be based on, and the models and data that these name: the registered ones."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """Raises `UsageError` where one is not there or not right."""
        self.values = {Path(name).stem: read_yaml(name) for name in names}
        self.configs = {name: validate(values) for name, values in self.values.items()}
        self.registered: dict[str, set[str]] = {}
        for config in self.configs.values():
            for field, name in resources(config):
                self.registered.setdefault(field, set()).add(name)

    def admit(self, body: Mapping[str, Any]) -> tuple[str, Config]:
        """Preset and config that the body stands for.

        Raises `UsageError` with all that is wrong, or with what is not for clients to say.
        """
        given = dict(body)
        base = given.pop("base", next(iter(self.values)))
        if not isinstance(base, str) or base not in self.values:
            raise UsageError(f"base: no preset {base!r}; presets are: {', '.join(self.values)}")
        if refused := list(_unfit(given)) or list(_closed(given)):
            raise UsageError(*refused)
        config = validate(merge(self.values[base], given))
        if refused := [*self._foreign(config), *_code(config), *_excessive(given, config)]:
            raise UsageError(*refused)
        return base, config

    def _foreign(self, config: Config) -> Iterator[str]:
        for field, name in resources(config):
            known = self.registered.get(field, set())
            if name not in known:
                yield f"{field}: {name!r} is not registered here; {', '.join(sorted(known)) or 'nothing'} is"


def resources(config: Config) -> Iterator[tuple[str, str]]:
    """Models and data that a config names, each with its field."""
    yield "policy.model", config.policy.model
    yield "reward.model", config.reward.model
    yield "data.path", config.data.path
    if model := getattr(config.evaluation.second_judge, "model", None):
        yield "evaluation.second_judge.model", model


def _parts(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Everything in it with its dotted name, however deep; sections and lists before what is in them."""
    waiting: list[tuple[str, Any]] = [("", body)]
    while waiting:
        name, value = waiting.pop()
        places = enumerate(value) if isinstance(value, list | tuple) else ()
        for key, part in value.items() if isinstance(value, dict) else places:
            yield (full := f"{name}.{key}" if name else str(key)), part
            waiting.append((full, part))


def _number(name: str, value: Any) -> int:
    """The whole number that a setting is; of a span of workers the larger one."""
    if name.startswith("workers.") and value != "auto":
        return span(value)[1]
    return value if isinstance(value, int) else 0


def _unfit(body: dict[str, Any]) -> Iterator[str]:
    """What makes a body too much to be looked at setting by setting, or to be kept: the first that is found."""
    for number, (name, value) in enumerate(_parts(body)):
        texts = [text for text in (name, value) if isinstance(text, str)]
        if number == PARTS:
            yield f"body: has more than {PARTS} settings"
        elif any(len(text) > CHARS for text in texts):
            yield f"{name[:100]}: is longer than {CHARS} characters"
        elif any(SURROGATE.search(text) for text in texts):
            yield f"{name}: holds half a character (a surrogate)"
        else:
            continue
        return


def _excessive(body: dict[str, Any], config: Config) -> Iterator[str]:
    given = {name for name, _ in _parts(body)}
    for name, value in _parts(config.model_dump()):
        most = LARGEST.get(name, MOST)
        if name in given and not 0 <= _number(name, value) <= most:
            yield f"{name}: must be from 0 to {most} here (given: {value!r})"
    if "data.template" in given and config.data.template.count("{text}") > 1:  # each becomes a whole dialogue
        yield "data.template: {text} may stand in it once"


def _closed(body: dict[str, Any]) -> Iterator[str]:
    names = [name for name, _ in _parts(body)]
    for field, reason in CLOSED.items():
        if any(name == field or name.startswith(f"{field}.") for name in names):
            yield f"{field}: cannot be set over HTTP: {reason}"


def _code(config: Config) -> Iterator[str]:
    if any(extra.type == "function" for extra in config.reward.extra):
        yield "reward.extra: a reward of type function is taken from the command line only"
