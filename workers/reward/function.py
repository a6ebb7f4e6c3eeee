"""Rewards by a user's Python function, such as one that was written for trl's GRPOTrainer."""

import asyncio
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from configs.errors import UsageError
from workers.reward.items import Item, Value

GIVEN = ("prompts", "completions", "references", "completion_ids")
"""Names under which a function gets what does not come from the data's columns."""


class FunctionScorer:
    """Calls a function, sync or async, by keyword: prompts, completions, completion_ids and every column of the data.

    A function without **kwargs gets those that it names. `references` are the references of each completion.
    """

    def __init__(self, field: str, path: str) -> None:
        """Raises `UsageError` naming `field` if the function at module:name cannot be loaded."""
        self.function = _load(field, path)
        try:
            self.parameters = inspect.signature(self.function).parameters
        except ValueError as error:  # some of C's
            raise UsageError(f"{field}: {path} does not tell its arguments: {error}") from error
        self.takes_all = any(p.kind is p.VAR_KEYWORD for p in self.parameters.values())
        self.runner = asyncio.Runner()  # one event loop for all calls: a function may keep a connection open

    def missing(self, columns: Iterable[str]) -> list[str]:
        """Arguments that the function needs and neither the data's columns nor this project have."""
        several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [p.name for p in self.parameters.values() if p.default is p.empty and p.kind not in several]
        return [name for name in needed if name not in (*GIVEN, *columns)]

    def __call__(self, items: Sequence[Item]) -> Sequence[Value]:
        """One value per item. If a call fails, items are scored one by one, to find those that fail."""
        try:
            return self._call(items)
        except Exception as error:  # whatever a user's function raises
            alone = [self._alone(item) for item in items]
            blamed = any(isinstance(value, Exception) for value in alone)
            return alone if blamed else [error] * len(items)  # if no single one fails, all do

    def _alone(self, item: Item) -> Value:
        try:
            return self._call([item])[0]
        except Exception as error:
            return error

    def _call(self, items: Sequence[Item]) -> list[Value]:
        result = self.function(**self._arguments(items))
        if inspect.isawaitable(result):
            result = self.runner.run(_await(result))
        values = [value if value is None else float(value) for value in result]
        if len(values) != len(items):
            raise ValueError(f"{len(values)} scores for {len(items)} completions")
        return values

    def _arguments(self, items: Sequence[Item]) -> dict[str, list[Any]]:
        names = dict.fromkeys(name for item in items for name in item.row)
        arguments = {name: [item.row.get(name) for item in items] for name in names}
        arguments |= {
            "prompts": [item.prompt for item in items],
            "completions": [item.completion for item in items],
            "references": [list(item.references) for item in items],
            "completion_ids": [list(item.completion_ids) for item in items],
        }
        return arguments if self.takes_all else {k: v for k, v in arguments.items() if k in self.parameters}


async def _await(result: Any) -> Any:
    return await result


def _load(field: str, path: str) -> Callable[..., Any]:
    module, name = path.split(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # importing runs the module, which may raise anything
        raise UsageError(f"{field}: cannot load function {path}: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise UsageError(f"{field}: {path} is not callable")
    return function
