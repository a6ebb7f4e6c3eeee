"""YAML files of settings: presets, and users' files, which may build on presets."""

from pathlib import Path
from typing import Any

import yaml

from configs.errors import UsageError
from configs.installation import CODE
from configs.named_sections import MAPPINGS
from configs.rewards import CODE_PARTS

PRESETS = CODE / "configs"
SHIPPED = (("policy", "model"), ("data", "path"))
"""Settings that, like models of rewards, may name files shipped with the project, as presets do: quickstart/policy."""
SHIPPED_CODE = ("examples.records.reward:fields_right",)
"""Code that files may name, since it ships with the project: what they name is there already."""


def read_yaml(name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Contents of a YAML file or of the preset of that name, merged over those of its `base` if it names one."""
    preset = PRESETS / f"{name}.yaml"
    path = preset if is_file(preset) else Path(name)
    if name in above:
        raise UsageError(f"--config: circular base: {' -> '.join([*above, name])}")
    if not is_file(path):
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


def is_file(path: Path) -> bool:
    """True for an existing file; False also for names that no file can have."""
    return _exists(path) and path.is_file()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # not a valid file name
        return False


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` merged over `below`, section by section; another `type` replaces the whole tagged section."""
    if "type" in above and above["type"] != below.get("type"):
        return above
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = merge(below[key], value) if nested else value
    return merged


def find_shipped(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with absolute paths for shipped models and data that are not in the current folder.

    Paths that exist in the current folder stay as they are, so a run's config does not depend on its clone's place.
    """
    found = dict(values)
    for section, key in SHIPPED:
        found = _at(found, section, key)
    for section, key in MAPPINGS:
        if isinstance(parts := _parts(found, section, key), dict):
            shipped = {name: _at({"part": part}, "part", "model")["part"] for name, part in parts.items()}
            found[section] = {**found[section], key: shipped}
    return found


def _at(values: dict[str, Any], section: str, key: str) -> dict[str, Any]:
    """The values, with an absolute path at `section`.`key` if that names a shipped file."""
    inner = values.get(section)
    name = inner.get(key) if isinstance(inner, dict) else None
    if isinstance(name, str) and not _exists(Path(name)) and _exists(CODE / name):
        return {**values, section: {**inner, key: str(CODE / name)}}
    return values


def _parts(values: dict[str, Any], section: str, key: str) -> Any:
    inner = values.get(section)
    return inner.get(key) if isinstance(inner, dict) else None


def refuse_code(file: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse settings that run code, other than what ships: config files are passed around, commands are not.

    `given` holds the code that the command line names for rewards and metrics.
    """
    for section, key in MAPPINGS:
        parts, named = _parts(file, section, key), _parts(given, section, key) or {}
        for name, part in parts.items() if isinstance(parts, dict) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            code = CODE_PARTS.get(kind) if isinstance(kind, str) else None
            if code and code not in named.get(name, {}) and part.get(code) not in SHIPPED_CODE:
                setting = f"{section}.{key}.{name}.{code}"
                raise UsageError(f"{setting}: is code, which can be named on the command line only (--{setting})")
    policy = file.get("policy")
    if isinstance(policy, dict) and policy.get("adapter_bin"):
        raise UsageError("policy.adapter_bin: can be set on the command line only (--policy.adapter_bin true)")
