"""Command-line arguments of settings that map names to sections, such as --reward.parts.short.words 30.

pydantic-settings knows no dotted names below a mapping; these arguments are taken before it sees the others.
"""

import json
from typing import Any

from configs.errors import UsageError

MAPPINGS = ("reward.parts",)
"""Settings that map names to sections."""


def split_arguments(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The arguments without those of the mappings, and the values of these.

    --reward.parts JSON sets several sections, --reward.parts.NAME JSON one, --reward.parts.NAME.FIELD one setting.
    Raises `UsageError` for an argument without a value.
    """
    others: list[str] = []
    values: dict[str, Any] = {}
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, given = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not _is_mapping(name):
            others.append(argument)
            continue
        text = given if equals else next(waiting, None)
        if text is None:
            raise UsageError(f"{name}: a value is missing")
        _put(values, name.split("."), _parsed(text))
    return others, values


def _is_mapping(name: str) -> bool:
    return any(name == mapping or name.startswith(f"{mapping}.") for mapping in MAPPINGS)


def _parsed(text: str) -> Any:
    """JSON for null, lists and objects; anything else stays text, which the schema turns into numbers."""
    if text == "null" or text[:1] in "[{":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _put(values: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set a nested value; sections given as a whole and by their settings are joined, the later wins."""
    *above, last = keys
    for key in above:
        if not isinstance(values.get(key), dict):
            values[key] = {}
        values = values[key]
    known = values.get(last)
    values[last] = known | value if isinstance(known, dict) and isinstance(value, dict) else value
