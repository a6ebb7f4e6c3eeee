"""Sentences for what is wrong with settings, with the closest valid name."""

import difflib
import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel

NAME = "NAME"
"""Stands for the names of a mapping's sections in dotted names."""


def problem(detail: dict[str, Any], known: set[str]) -> str:
    """One sentence for one of pydantic's errors."""
    keys = [str(key) for key in detail["loc"] if key != "[key]"]  # a wrong name of a mapping's section
    unknown = detail["type"] == "extra_forbidden"  # then the last key is wrong itself
    # The location of a field in a tagged section includes the tag, which is not a key of the config.
    while not _leads_somewhere(keys, known, unknown) and (short := _without_tag(keys, known, unknown)):
        keys = short
    field = ".".join(keys)
    if unknown and _is_known(keys, known):
        return f"{field}: is not a setting of this `type`; leave it out or choose another type"
    if unknown:
        return f"{field}: no such key{_suggest(field, known)}"
    if detail["type"] == "union_tag_not_found":
        return f"{field}: `type` is missing; set it by --{field}.type or in the YAML file"
    if detail["type"] == "missing":
        return f"{field}: is required; set it in the YAML file or by --{field}"
    where = f"{field}: " if field else ""
    given = "" if isinstance(detail["input"], dict | BaseModel) else f" (given: {detail['input']!r})"
    return f"{where}{detail['msg'].removeprefix('Value error, ')}{given}"


def _without_tag(keys: list[str], known: set[str], last_is_wrong: bool) -> list[str] | None:
    """The keys without a tag: the one without which they lead somewhere, else the first that is no key."""
    candidates = range(1, len(keys) - last_is_wrong)
    # What stands behind a mapping is a name, never a tag.
    places = [
        i for i in candidates if _is_known(keys[:i], known) and f"{_generic(keys[:i], known)}.{NAME}" not in known
    ]
    shorter = {i: keys[:i] + keys[i + 1 :] for i in places}
    whole = [short for short in shorter.values() if _leads_somewhere(short, known, last_is_wrong)]
    wrong = [shorter[i] for i in places if not _is_known(keys[: i + 1], known)]
    return next(iter([*whole, *wrong]), None)


def _leads_somewhere(keys: list[str], known: set[str], last_is_wrong: bool) -> bool:
    """True if the keys lead to a setting; if the last is wrong, if the others lead to a section. Tags may have names of
    settings."""
    if not last_is_wrong:
        return _is_known(keys, known)
    return _generic(keys[:-1], known) in {"", *(name.rpartition(".")[0] for name in known)}


def _is_known(keys: list[str], known: set[str]) -> bool:
    """True if the keys lead to a setting; any key is one of a mapping's names."""
    return _generic(keys, known) in known


def _generic(keys: list[str], known: set[str]) -> str:
    """The dotted name, with `NAME` for the names of a mapping's sections."""
    name = ""
    for key in keys:
        name = f"{name}.{NAME}" if f"{name}.{NAME}" in known else f"{name}.{key}".removeprefix(".")
    return name


def field_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields of a model and of the sections in it, tagged ones included.

    Sections of a mapping have `NAME` in place of their own name, those of a list have none.
    """
    for name, field in model.model_fields.items():
        yield prefix + name
        yield from _section_names(field.annotation, f"{prefix}{name}.")


def _section_names(annotation: Any, prefix: str) -> Iterator[str]:
    if get_origin(annotation) is dict:
        yield prefix + NAME
        prefix += f"{NAME}."
    for section in get_args(annotation) or (annotation,):
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from field_names(section, prefix)
        elif get_args(section):
            yield from _section_names(section, prefix)


def _suggest(field: str, known: set[str]) -> str:
    close = difflib.get_close_matches(field, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; --help lists them all"


def unknown_arguments(message: str, known: set[str]) -> str:
    """The command line's own error, with the closest valid name for each unknown one."""
    given = re.findall(r"--([\w.]+)", message)
    hints = [f"--{name}: no such key{_suggest(name, known)}" for name in given if name not in known]
    return "\n".join(hints) or message.removeprefix("error parsing CLI: ")
