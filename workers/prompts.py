"""Prompts from a data set with dialogues and summaries.

Rows with the same prompt become one prompt with several references (DialogSum's test split has three for each).
"""

from dataclasses import dataclass
from pathlib import Path

import datasets
from transformers import PreTrainedTokenizerBase

from configs import schema
from configs.errors import UsageError

SPLIT_FORMATS = {".csv": "csv", ".jsonl": "json"}


@dataclass(frozen=True)
class Prompt:
    """One prompt with what is known of it."""

    text: str
    token_ids: tuple[int, ...]
    references: tuple[str, ...]


def load_prompts(config: schema.Data, split: str, tokenizer: PreTrainedTokenizerBase) -> list[Prompt]:
    """The prompts of a split that pass the length filters, in the data's order.

    Raises `UsageError` where the split or a column is missing, a cell is empty or nothing passes the filter.
    """
    rows = _read(config, split)
    for field in ("prompt_column", "reference_column"):
        if (column := getattr(config, field)) not in rows.column_names:
            found = ", ".join(rows.column_names)
            raise UsageError(f"data.{field}: {config.path!r} ({split}) has no column {column!r}; it has {found}")
    references: dict[str, list[str]] = {}
    for text, reference in zip(rows[config.prompt_column], rows[config.reference_column], strict=True):
        if isinstance(text, str) and config.min_chars <= len(text) <= config.max_chars:
            references.setdefault(text, []).append(str(reference or ""))
    prompts = [config.template.replace("{text}", text) for text in references]
    # Loading is all that needs the tokenizer, and thousands of rows at once is where the fast one is fast.
    token_ids = tokenizer(prompts)["input_ids"] if prompts else []
    return [
        Prompt(prompt, tuple(ids), tuple(refs))
        for prompt, ids, refs in zip(prompts, token_ids, references.values(), strict=True)
        if len(ids) <= config.max_prompt_tokens
    ]


def _read(config: schema.Data, split: str) -> datasets.Dataset:
    folder = Path(config.path)
    if not folder.is_dir():
        return _read_hub(config.path, split)
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in SPLIT_FORMATS}
    if split not in files:
        found = ", ".join(files) or "none"
        raise UsageError(f"data.path: {config.path} has no {split}.csv or {split}.jsonl; splits found: {found}")
    path = files[split]
    try:
        return datasets.load_dataset(SPLIT_FORMATS[path.suffix], data_files=str(path), split="train")
    except datasets.exceptions.DatasetGenerationError as error:
        raise UsageError(f"data.path: {path} cannot be read: {error.__cause__ or error}") from error


def _read_hub(name: str, split: str) -> datasets.Dataset:
    try:
        return datasets.load_dataset(name, split=split)
    except (datasets.exceptions.DatasetNotFoundError, ConnectionError, OSError) as error:
        raise UsageError(
            f"data.path: {name!r} is no local directory and cannot be had from the hub: {error}"
        ) from error
    except ValueError as error:  # an unknown split
        raise UsageError(f"data.path: {name!r}: {error}") from error
