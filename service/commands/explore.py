"""`ray_job.py explore`: an overview of the data set, on the terminal, as a page and as JSON."""

import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from transformers import PreTrainedTokenizerBase

from cluster.preflight.hub import go_offline, hub_is_reachable
from cluster.preflight.models import check_tokenizer
from cluster.preflight.preflight import check_out, collect
from configs.data import DataConfig
from configs.errors import UsageError
from configs.grouping import ByColumn, GroupBy
from configs.schema import Config
from learner.atomic_files import replace_file
from service.report.exploration import BOUNDS, page, sections
from service.report.exploration_console import print_exploration
from service.run.folder import new_folder
from service.run.progress import Display, silence_libraries
from workers.data.examples import read_examples
from workers.data.exploration import Split, explore_splits
from workers.data.reading import no_split, split_names, whole_split


def explore(config: Config) -> Path:
    """Show the data set and write explore.html and explore.json; prints and returns their folder.

    Raises `UsageError` with all problems.
    """
    silence_libraries()
    if not all(Path(name).exists() for name in (config.policy.model, config.data.path)) and not hub_is_reachable():
        go_offline()
    problems: list[str] = []
    with Display(Console(stderr=True)).phase("reading the data"):
        tokenizer: PreTrainedTokenizerBase | None = collect(problems, check_tokenizer, config)
        data = collect(problems, read_splits, config.data, config.algorithm.prompt_groups)
        collect(problems, check_out, config)
        if problems:
            raise UsageError(*problems)
        splits, skipped = data
        numbers = {"path": config.data.path, "tokenizer": config.policy.model, "bounds": _bounds(config.data),
                   "skipped": skipped, **explore_splits(splits, config.data, tokenizer)}  # fmt: skip
    folder = Path(config.out) if config.out else new_folder()
    folder.mkdir(parents=True, exist_ok=True)
    title, shown = f"Data set {config.data.path}", sections(numbers)
    replace_file(folder / "explore.html", page(title, shown, numbers).encode())
    replace_file(folder / "explore.json", json.dumps(numbers, indent=2, allow_nan=False).encode())
    print_exploration(title, shown, numbers)
    print(folder)
    return folder


def read_splits(config: DataConfig, group_by: GroupBy | None) -> tuple[dict[str, Split], dict[str, str]]:
    """All splits, starting with those that a run uses; and why any others cannot be read.

    Raises `UsageError` if a split that a run uses cannot be read, or if there are no splits.
    """
    found, splits, skipped, problems = split_names(config), {}, {}, []
    wanted = (config.train_split, config.validation_split, config.eval_split)
    used = [name for name in wanted if name in found or whole_split(name) in found]
    others = [name for name in found if name not in map(whole_split, used)]
    for name in dict.fromkeys([*used, *others]):
        try:
            splits[name] = _read_split(config, name, group_by)
        except UsageError as error:
            skipped[name] = str(error)
            problems += error.problems if name in used else ()
    if problems or not splits:
        raise UsageError(*dict.fromkeys(problems or skipped.values() or [no_split(config)]))
    return splits, skipped


def _read_split(config: DataConfig, name: str, group_by: GroupBy | None) -> Split:
    examples = list(read_examples(config, name, group_by))
    if isinstance(group_by, ByColumn):
        examples = [replace(example, topic=example.cell) for example in examples]
    return Split(examples)


def _bounds(config: DataConfig) -> dict[str, int]:
    return {bound: getattr(config, bound) for bounds in BOUNDS.values() for bound in bounds}
