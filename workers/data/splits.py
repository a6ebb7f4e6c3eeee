"""Where each split of a data set is: files of a folder, a single file, a folder of `save_to_disk`, or the hub."""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import datasets

from configs.data import DataConfig
from configs.errors import UsageError
from workers.data.table import Table, join
from workers.data.text_files import read_text_file

NAME = re.compile(
    r"(?P<split>.+?)(-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?)?"
    r"(?P<kind>\.(csv|tsv|jsonl|ndjson|json|parquet))(\.gz)?"
)
"""File names such as train.csv, train.jsonl.gz and train-00000-of-00002.parquet."""
FORMS = "csv, tsv, jsonl, json (each also .gz) or parquet"
NOT_DATA = ("dataset_info.json", "dataset_infos.json")
SINGLE = "train"
"""The split that a single file is, as for `datasets`."""
Reader = Callable[[], Table]


def find_splits(config: DataConfig) -> dict[str, Reader]:
    """A reader of each split, which raises `UsageError`. Raises `UsageError` if there is no such data."""
    path = Path(config.path)
    if config.config or not path.exists():  # a folder with configurations is a clone of a hub repository
        return _hub_splits(config)
    if (path / "dataset_dict.json").is_file():
        names = json.loads((path / "dataset_dict.json").read_bytes())["splits"]
        return {name: partial(_read_saved, path / name) for name in names}
    if (path / "state.json").is_file():
        return {SINGLE: partial(_read_saved, path)}
    if path.is_file():
        return {SINGLE: partial(_read_files, [path], config)}
    return {split: partial(_read_split, split, files, config) for split, files in _files(path).items()}


def _files(folder: Path) -> dict[str, list[Path]]:
    """Files by split; where there are none, those of the folder's own folder `data`, as in hub repositories."""
    splits: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if (match := NAME.fullmatch(file.name)) and file.is_file() and file.name not in NOT_DATA:
            splits.setdefault(match["split"], []).append(file)
    return splits if splits or not (folder / "data").is_dir() else _files(folder / "data")


def _read_split(split: str, files: Sequence[Path], config: DataConfig) -> Table:
    """The only file of a split, or all its shards."""
    found = [NAME.fullmatch(file.name) for file in files]
    count = int(found[0]["count"] or 1)
    if len({(match["kind"], match["count"]) for match in found}) > 1 or len(files) > count:
        names = " and ".join(file.name for file in files)
        raise UsageError(
            f"data.path: {files[0].parent} has more than one file for the split {split}, {names}; keep one"
        )
    if found[0]["count"] and (missing := sorted({*range(count)} - {int(match["number"]) for match in found})):
        raise UsageError(f"data.path: {files[0].parent} lacks shard {missing[0]:05d} of {count} of the split {split}")
    return _read_files(files, config)


def _read_files(files: Sequence[Path], config: DataConfig) -> Table:
    match = NAME.fullmatch(files[0].name)
    if not match:
        raise UsageError(f"data.path: {files[0]} is no {FORMS} file, judging by its name")
    if match["kind"] != ".parquet":
        texts = frozenset((config.prompt_column, *config.reference_columns, config.topic_column))
        return join([Table.of_rows(read_text_file(file, config.encoding, texts)) for file in files])
    load = partial(datasets.load_dataset, "parquet", data_files=[str(file) for file in files], split="train")
    return _table(load, ", ".join(map(str, files)))


def _read_saved(folder: Path) -> Table:
    return _table(partial(datasets.load_from_disk, str(folder)), str(folder))


def _read_hub(config: DataConfig, split: str) -> Table:
    return _table(partial(datasets.load_dataset, config.path, config.config, split=split), f"{config.path} ({split})")


def _table(load: Callable[[], datasets.Dataset], name: str) -> Table:
    try:
        rows = load()
    except Exception as error:  # each kind of damage raises another
        raise UsageError(f"data.path: {name} cannot be read: {error.__cause__ or error}") from error
    if not len(rows):
        raise UsageError(f"data.path: {name} cannot be read: it has no rows")
    return Table.of_dataset(rows, name)


def _hub_splits(config: DataConfig) -> dict[str, Reader]:
    try:
        names = datasets.get_dataset_split_names(config.path, config.config)
    except Exception as error:  # the hub's client raises many kinds
        what = (
            "has no such splits or configuration" if Path(config.path).exists() else "is not a local directory or file"
        )
        remedy = "; choose one with data.config" if "onfig" in str(error) else ""
        raise UsageError(
            f"data.path: {config.path!r} {what}, and its splits cannot be listed on the hub: {error}{remedy}"
        ) from error
    return {name: partial(_read_hub, config, name) for name in names}
