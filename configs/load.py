"""Builds a validated `Config` from a YAML preset and dotted command-line overrides; reports all mistakes at once."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsError

from configs.errors import UsageError
from configs.installation import CODE, COMMAND
from configs.schema import Config

PRESETS = CODE / "configs"
SHIPPED = (("policy", "model"), ("reward", "model"), ("data", "path"))
"""Settings that may name what ships with the project, as presets do: quickstart/policy."""

FREE_ON_RESUME = ("workers", "cluster", "checkpoints", "watch", "bench", "serve", "trackers", "out")
"""Settings that decide where and how fast a run runs, not its results; `threads` is the exception."""


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
    if not _is_file(own):
        raise UsageError(f"--resume: {resume} is not a run folder: it has no config.yaml")
    if overrides.pop("out", None):
        raise UsageError("out: a resumed run stays in its folder; remove --out")
    config = _load(name or str(own), overrides)
    if accepted not in (True, "true"):
        remedy = "keep the original value, or accept different results with --resume_changed true"
        if changed := changes(_load(str(own), _functions(overrides)), config):
            raise UsageError(*[f"{change}; {remedy}" for change in changed])
    return Request(config, Path(resume))


def _parse(arguments: list[str]) -> dict[str, Any]:
    try:
        source = CliSettingsSource(
            _CommandLine,
            cli_parse_args=arguments,
            cli_prog_name=COMMAND,
            cli_exit_on_error=False,
            cli_avoid_json=True,
        )
        return source()
    except SettingsError as error:
        raise UsageError(_unknown_arguments(str(error))) from error


def _load(name: str, overrides: dict[str, Any]) -> Config:
    file = read_yaml(name)
    if "extra" not in overrides.get("reward", {}):
        _refuse_code(file)
    return validate(merge(file, overrides))


def _functions(overrides: dict[str, Any]) -> dict[str, Any]:
    """Extra rewards of the command line: functions can be given only there, also when resuming."""
    reward = overrides.get("reward", {})
    return {"reward": {"extra": reward["extra"]}} if "extra" in reward else {}


def changes(own: Config, config: Config) -> list[str]:
    """One sentence per changed setting that would make a resumed run compute different numbers."""
    before, now = (dict(settings(c.model_dump(mode="json"))) for c in (own, config))
    return [
        f"{name}: the run was started with {before.get(name)!r}, not {now.get(name)!r}"
        for name in {**before, **now}
        if before.get(name) != now.get(name) and (name.split(".")[0] not in FREE_ON_RESUME or name.endswith(".threads"))
    ]


def settings(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of all settings."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from settings(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def validate(values: dict[str, Any]) -> Config:
    """Create a `Config`; nothing else does. Raises `UsageError` with one problem per invalid field."""
    try:
        return Config.model_validate(_find_shipped(values))
    except ValidationError as error:
        raise UsageError(*[_problem(detail) for detail in error.errors()]) from error


def _find_shipped(values: dict[str, Any]) -> dict[str, Any]:
    """The values with full paths for models and data that are not seen from the current folder, but ship with the code.

    What is seen from it keeps its name, so that a run is the same wherever its clone or job lies.
    """
    found = dict(values)
    for section, key in SHIPPED:
        inner = values.get(section)
        name = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(name, str) and not _is_there(Path(name)) and _is_there(CODE / name):
            found[section] = {**inner, key: str(CODE / name)}
    return found


def read_yaml(name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Contents of a YAML file or of the preset of that name, merged over those of its `base` if it names one."""
    preset = PRESETS / f"{name}.yaml"
    path = preset if _is_file(preset) else Path(name)
    if name in above:
        raise UsageError(f"--config: circular base: {' -> '.join([*above, name])}")
    if not _is_file(path):
        presets = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
        raise UsageError(f"--config: no file or preset {name!r}; presets are: {presets}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--config: {path} is not valid YAML: {reason}") from error
    if not isinstance(values, dict):
        raise UsageError(f"--config: {path} must map keys to values, but is a {type(values).__name__}")
    base = values.pop("base", None)
    if base is not None and not isinstance(base, str):
        raise UsageError(f"--config: {path}: base must be the name of a preset or file, not {base!r}")
    return merge(read_yaml(base, (*above, name)), values) if base else values


def _is_file(path: Path) -> bool:
    return _is_there(path) and path.is_file()


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # not a valid file name
        return False


def _refuse_code(file: dict[str, Any]) -> None:
    """Refuse settings that run code: config files are passed around, commands are not."""
    reward = file.get("reward")
    extras = reward.get("extra") if isinstance(reward, dict) else None
    for extra in extras if isinstance(extras, list) else []:
        if isinstance(extra, dict) and extra.get("type") == "function":
            raise UsageError(
                "reward.extra: a reward of type function can be given on the command line only (--reward.extra)"
            )
    policy = file.get("policy")
    if isinstance(policy, dict) and policy.get("adapter_bin"):
        raise UsageError("policy.adapter_bin: can be set on the command line only (--policy.adapter_bin true)")


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` merged over `below`, section by section; another `type` replaces the whole tagged section."""
    if "type" in above and above["type"] != below.get("type"):
        return above
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = merge(below[key], value) if nested else value
    return merged


def _problem(detail: dict[str, Any]) -> str:
    """One sentence for one of pydantic's errors."""
    keys = [str(key) for key in detail["loc"]]
    known = set(field_names(Config))
    # The location of a field in a tagged section includes the tag, which is not a key of the config.
    while (field := ".".join(keys)) not in known and (short := _without_tag(keys, known)):
        keys = short
    if detail["type"] == "extra_forbidden" and field in known:
        return f"{field}: is not a setting of this `type`; leave it out or choose another type"
    if detail["type"] == "extra_forbidden":
        return f"{field}: no such key{_suggest(field, known)}"
    if detail["type"] == "union_tag_not_found":
        return f"{field}: `type` is missing; set it by --{field}.type or in the YAML file"
    if detail["type"] == "missing":
        return f"{field}: is required; set it in the YAML file or by --{field}"
    where = f"{field}: " if field else ""
    given = "" if isinstance(detail["input"], dict | BaseModel) else f" (given: {detail['input']!r})"
    return f"{where}{detail['msg'].removeprefix('Value error, ')}{given}"


def _without_tag(keys: list[str], known: set[str]) -> list[str] | None:
    for i in range(1, len(keys) - 1):
        if ".".join(keys[: i + 1]) not in known and ".".join(keys[:i]) in known:
            return keys[:i] + keys[i + 1 :]
    return None


def field_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields of a model and of the sections in it, tagged ones included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for section in getattr(field.annotation, "__args__", (field.annotation,)):
            if isinstance(section, type) and issubclass(section, BaseModel):
                yield from field_names(section, f"{prefix}{name}.")


def _suggest(field: str, known: set[str]) -> str:
    close = difflib.get_close_matches(field, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; --help lists them all"


def _unknown_arguments(message: str) -> str:
    """The command line's own error, with the closest valid name for each unknown one."""
    known = set(field_names(_CommandLine))
    given = re.findall(r"--([\w.]+)", message)
    hints = [f"--{name}: no such key{_suggest(name, known)}" for name in given if name not in known]
    return "\n".join(hints) or message.removeprefix("error parsing CLI: ")
