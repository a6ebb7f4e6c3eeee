"""Builds a validated `Config` from a YAML preset and dotted command-line overrides; reports all mistakes at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsError

from configs.errors import UsageError
from configs.installation import COMMAND
from configs.named_sections import MAPPINGS, split_arguments
from configs.presets import find_shipped, is_file, merge, read_yaml, refuse_code
from configs.problems import field_names, problem, unknown_arguments
from configs.rewards import CODE_PARTS
from configs.schema import Config

FREE_ON_RESUME = ("workers", "cluster", "checkpoints", "watch", "bench", "serve", "trackers", "out")
"""Sections that decide where and how fast a run runs, not its results; `threads` is the exception."""
PLACES = ("dpo.workers", "dpo.pairs", "dpo.ratings")
"""Settings of other sections that do so: what the files hold is compared when a run resumes."""


class _CommandLine(Config, BaseSettings):
    """Fine-tune an encoder-decoder model by reinforcement learning on Ray.

    The defaults below are the schema's. A preset overrides them: quickstart, unless --config names another; presets
    also set what is required. Each algorithm.type has defaults of its own (docs/algorithms.md).
    """

    config: str | None = Field(
        None, description="Preset (a name under configs/) or YAML file to start from; null: quickstart."
    )
    resume: str | None = Field(None, description="Folder of a run that ended early: resume it with its config.")
    resume_changed: bool = Field(
        False, description="With --resume: accept settings that differ from those the run was started with."
    )


@dataclass(frozen=True)
class Request:
    """A parsed command line."""

    config: Config
    resume: Path | None = None


def load_config(arguments: list[str]) -> Config:
    """The config of `load_request` alone."""
    return load_request(arguments).config


def load_request(arguments: list[str]) -> Request:
    """Read the preset named by `--config` (default: quickstart) and apply the other arguments to it.

    With `--resume`, that run's config takes the preset's place, and settings that differ from it are refused.

    Raises `UsageError` naming every unknown argument or, if there is none, every invalid value. `--help` exits.
    """
    overrides = _parse(arguments)
    name, resume, accepted = (overrides.pop(key, None) for key in ("config", "resume", "resume_changed"))
    if not resume:
        return Request(_load(name or "quickstart", overrides))
    own = Path(resume) / "config.yaml"
    if not is_file(own):
        raise UsageError(f"--resume: {resume} is not a run folder: it has no config.yaml")
    if overrides.pop("out", None):
        raise UsageError("out: a resumed run stays in its folder; remove --out")
    config = _load(name or str(own), overrides)
    if accepted not in (True, "true"):
        remedy = "keep the original value, or accept different results with --resume_changed true"
        if changed := changes(_load(str(own), _code(overrides)), config):
            raise UsageError(*[f"{change}; {remedy}" for change in changed])
    return Request(config, Path(resume))


def _parse(arguments: list[str]) -> dict[str, Any]:
    others, named = split_arguments(arguments)
    try:
        source = CliSettingsSource(
            _CommandLine,
            cli_parse_args=others,
            cli_prog_name=COMMAND,
            cli_exit_on_error=False,
            cli_avoid_json=True,
        )
        return merge(_with_nulls(source()), named)
    except SettingsError as error:
        raise UsageError(unknown_arguments(str(error), set(field_names(_CommandLine)))) from error


def _with_nulls(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with null where pydantic-settings makes of it a list of one null, as it does if a list is allowed."""
    return {
        key: _with_nulls(value) if isinstance(value, dict) else None if value == [None] else value
        for key, value in values.items()
    }


def _load(name: str, overrides: dict[str, Any]) -> Config:
    file = read_yaml(name)
    refuse_code(file, _code(overrides))
    return validate(merge(file, overrides))


def _code(overrides: dict[str, Any]) -> dict[str, Any]:
    """The code that the command line names for rewards and metrics: it can be named only there, also when resuming."""
    found: dict[str, Any] = {}
    for section, mapping in MAPPINGS:
        parts = overrides.get(section, {}).get(mapping)
        for name, part in parts.items() if isinstance(parts, dict) else ():
            given = part if isinstance(part, dict) else {}
            if code := {key: given[key] for key in CODE_PARTS.values() if key in given}:
                found = merge(found, {section: {mapping: {name: code}}})
    return found


def changes(own: Config, config: Config) -> list[str]:
    """One sentence per changed setting that would make a resumed run compute different numbers."""
    before, now = (dict(flat_settings(c.model_dump(mode="json"))) for c in (own, config))
    return [
        f"{name}: the run was started with {before.get(name)!r}, not {now.get(name)!r}"
        for name in {**before, **now}
        if before.get(name) != now.get(name) and not _is_free(name)
    ]


def _is_free(name: str) -> bool:
    """True for a setting that a resumed run may change."""
    free = name.split(".")[0] in FREE_ON_RESUME or name in PLACES
    return free and not name.endswith(".threads")


def flat_settings(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of all settings."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat_settings(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def validate(values: dict[str, Any]) -> Config:
    """Create a `Config`; nothing else does. Raises `UsageError` with one problem per invalid field."""
    try:
        return Config.model_validate(find_shipped(values))
    except ValidationError as error:
        raise UsageError(*[problem(detail, set(field_names(Config))) for detail in error.errors()]) from error
