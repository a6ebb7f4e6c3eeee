"""A split of a data set, or a part of one, as a table."""

import datasets

from configs.data import DataConfig
from configs.errors import UsageError
from workers.data.splits import find_splits
from workers.data.table import Table


def split_names(config: DataConfig) -> list[str]:
    """The available splits. Raises `UsageError` if there is no such data."""
    return list(find_splits(config))


def whole_split(split: str) -> str:
    """The split of which `split` is a part: train of train[:90%]."""
    return split.partition("[")[0]


def read_table(config: DataConfig, split: str) -> Table:
    """The rows of a split; `split` may be a part of one, in the notation of `datasets`: train[:90%], train[1000:].

    Raises `UsageError` if there is no such split or it cannot be read.
    """
    found, name = find_splits(config), whole_split(split)
    if split in found:  # whatever characters its name has
        return found[split]()
    if name not in found:
        raise UsageError(_no_such_split(config, name, list(found)))
    table = found[name]()
    try:
        [part] = datasets.ReadInstruction.from_spec(split).to_absolute({name: len(table)})
    except (ValueError, AssertionError) as error:
        raise UsageError(f"data: {split!r} is no part of a split, such as train[:90%] or train[1000:]") from error
    if part.from_ >= part.to:
        raise UsageError(f"data: {split!r} of {config.path} has no rows")
    return table.part(part.from_, part.to)


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
