"""Sentences for what is wrong with settings, with the closest valid name."""

import difflib
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel


def problem(detail: dict[str, Any], known: set[str]) -> str:
    """One sentence for one of pydantic's errors."""
    keys = [str(key) for key in detail["loc"]]
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


def unknown_arguments(message: str, known: set[str]) -> str:
    """The command line's own error, with the closest valid name for each unknown one."""
    given = re.findall(r"--([\w.]+)", message)
    hints = [f"--{name}: no such key{_suggest(name, known)}" for name in given if name not in known]
    return "\n".join(hints) or message.removeprefix("error parsing CLI: ")
