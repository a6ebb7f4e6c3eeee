"""A split of a data set, or a part of one, as a table."""

import datasets

from configs.data import DataConfig
from configs.errors import UsageError
from workers.data.splits import find_splits
from workers.data.table import Table, join


def split_names(config: DataConfig) -> list[str]:
    """The available splits. Raises `UsageError` if there is no such data."""
    return list(find_splits(config))


def base_splits(split: str) -> list[str]:
    """The splits that a part such as train[:90%] or a sum such as train+validation[:100] is made of."""
    return [part.partition("[")[0].strip() for part in split.split("+")]


def read_table(config: DataConfig, split: str) -> Table:
    """The rows of a split; `split` may be a part, in the notation of `datasets`, such as train[:90%] or train[1000:].

    Raises `UsageError` if there is no such split or it cannot be read.
    """
    found = find_splits(config)
    if split in found:  # whatever characters its name has
        return found[split]()
    names = base_splits(split)
    if missing := [name for name in names if name not in found]:
        raise UsageError(_no_such_split(config, missing[0], list(found)))
    tables = {name: found[name]() for name in set(names)}
    try:
        parts = datasets.ReadInstruction.from_spec(split).to_absolute({name: len(t) for name, t in tables.items()})
    except (ValueError, AssertionError) as error:
        raise UsageError(
            f"data: {split!r} is no part of a split such as train[:90%] or train[1000:]: {error}"
        ) from error
    table = join([tables[part.splitname].part(part.from_, part.to) for part in parts])
    if not len(table):
        raise UsageError(f"data: {split!r} of {config.path} has no rows")
    return table


def no_split(config: DataConfig) -> str:
    """The message for a folder without data."""
    return (
        f"data.path: {config.path} has no split: no csv, tsv, jsonl, json or parquet file named after one, such as "
        f"train.csv"
    )


def _no_such_split(config: DataConfig, name: str, found: list[str]) -> str:
    if not found:
        return no_split(config)
    remedy = "choose another with data.train_split, data.validation_split and data.eval_split"
    if len(found) == 1:
        remedy = (
            f"divide {found[0]}, such as --data.train_split '{found[0]}[:90%]' --data.eval_split '{found[0]}[90%:]' "
            f"(data.validation_split for sft)"
        )
    return f"data.path: {config.path} has no split {name}; splits found: {', '.join(found)}; {remedy}"
