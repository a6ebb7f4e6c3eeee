"""What a request may change in a preset: no code, files or hosts, and only numbers and texts within limits."""

import re
from collections.abc import Iterator
from typing import Any

from configs.cluster import span
from configs.named_sections import MAPPINGS
from configs.schema import Config

CLOSED = {
    "out": "the service chooses the folder",
    "policy.adapter": "a run starts from its preset's adapter",
    "policy.adapter_bin": "this file format is accepted on the command line only",
    "data.config": "presets decide which data is read",
    "data.encoding": "presets decide how data is read",
    "cluster": "presets decide where runs execute and with which resources",
    "bench": "for the command line only",
    "reward_training": "for the command line only",
    "dpo": "for the command line only",
    "serve": "configures the service itself",
    "trackers": "would send metrics to other hosts",
}
"""Settings that requests cannot set, and why."""
CLOSED_PARTS = {
    "function": "it runs code",
    "metric": "it runs code",
    "http": "it would send texts to other hosts",
    "regex": "some expressions take forever",
}
"""Types of rewards and metrics that requests cannot set, and why."""
MAX_INTEGER = 4096
"""Largest integer of any setting not listed below: no request may fill the memory or occupy the cluster for long."""
MAX_INTEGERS = {
    "steps": 100_000,
    "seed": 2**63 - 1,
    "evaluation.seed": 2**63 - 1,
    "evaluation.samples": 64,
    "evaluation.decoding.num_beams": 32,
    "data.min_chars": 100_000,
    "data.max_chars": 100_000,
    "policy.lora.r": 256,  # the replicas that summarize grow with it
    "rollout.max_new_tokens": 512,  # they also summarize at these lengths
    "data.max_prompt_tokens": 2048,
    "algorithm.ppo_epochs": 64,
    "checkpoints.keep": 64,
    "workers.rollout": 1024,
    "workers.reward": 1024,
    "workers.reference": 1024,
    "workers.learner": 1024,
}
"""Largest integer by setting. A preset's own values may be larger."""
MAX_CHARS = 10_000
"""Longest text of a setting."""
MAX_ENTRIES = 500
"""Settings, sections and list entries in a request."""
SURROGATE = re.compile("[\ud800-\udfff]")
"""Lone surrogate: JSON can contain it as an escape, a UTF-8 file cannot."""


def check_request(request: dict[str, Any]) -> list[str]:
    """Problems of a request that has not been validated yet: too large, or settings that are closed."""
    return list(_oversized(request)) or list(_closed(request))


def check_config(request: dict[str, Any], config: Config) -> list[str]:
    """Problems of the config that a request results in: code, or values that exceed the limits."""
    return [*_closed_parts(request, config), *_excessive(request, config)]


def _entries(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """All nested values with dotted names; sections and lists before their contents. Iterative: depth is unlimited."""
    waiting: list[tuple[str, Any]] = [("", body)]
    while waiting:
        name, value = waiting.pop()
        items = enumerate(value) if isinstance(value, list | tuple) else ()
        for key, part in value.items() if isinstance(value, dict) else items:
            yield (full := f"{name}.{key}" if name else str(key)), part
            waiting.append((full, part))


def _oversized(body: dict[str, Any]) -> Iterator[str]:
    """The first reason why a request cannot be checked setting by setting, or stored."""
    for number, (name, value) in enumerate(_entries(body)):
        texts = [text for text in (name, value) if isinstance(text, str)]
        if number == MAX_ENTRIES:
            yield f"body: has more than {MAX_ENTRIES} settings"
        elif any(len(text) > MAX_CHARS for text in texts):
            yield f"{name[:100]}: is longer than {MAX_CHARS} characters"
        elif any(SURROGATE.search(text) for text in texts):
            yield f"{name}: contains a lone surrogate"
        else:
            continue
        return


def _closed(body: dict[str, Any]) -> Iterator[str]:
    names = [name for name, _ in _entries(body)]
    for field, reason in CLOSED.items():
        if any(name == field or name.startswith(f"{field}.") for name in names):
            yield f"{field}: cannot be set over HTTP: {reason}"


def _closed_parts(request: dict[str, Any], config: Config) -> Iterator[str]:
    """Rewards and metrics that a request sets, though only the preset may."""
    for section, key in MAPPINGS:
        inner = request.get(section)
        given = inner.get(key) if isinstance(inner, dict) else None
        for name, part in getattr(getattr(config, section), key).items():
            if part.type in CLOSED_PARTS and isinstance(given, dict) and name in given:
                reason = CLOSED_PARTS[part.type]
                yield f"{section}.{key}.{name}: type {part.type} cannot be set over HTTP: {reason}"


def _excessive(body: dict[str, Any], config: Config) -> Iterator[str]:
    given = {name for name, _ in _entries(body)}
    for name, value in _entries(config.model_dump()):
        limit = MAX_INTEGERS.get(name, MAX_INTEGER)
        if name in given and not 0 <= _integer(name, value) <= limit:
            yield f"{name}: must be from 0 to {limit} here (given: {value!r})"
    if "data.template" in given and config.data.template.count("{text}") > 1:  # each becomes a whole dialogue
        yield "data.template: may contain {text} only once"


def _integer(name: str, value: Any) -> int:
    """Integer of a setting, 0 if it is none; for a range of workers its upper bound."""
    if name.startswith("workers.") and value != "auto":
        return span(value)[1]
    return value if isinstance(value, int) else 0
