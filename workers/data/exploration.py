"""Statistics of a data set, ready for JSON: counts, lengths, topics, duplicates and samples of its splits."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from configs.data import DataConfig
from workers.data.examples import Example
from workers.data.prompts import LEFT_OUT, reason

FATES = ("kept", *LEFT_OUT)
"""Outcomes of the filter for a row."""
BINS, TOPICS, EXAMPLES, SAMPLES, SEED = 30, 20, 3, 5, 0


@dataclass(frozen=True)
class Split:
    """The rows of a split."""

    examples: Sequence[Example]

    @cached_property
    def references(self) -> dict[str, list[str]]:
        """References by dialogue; each row with the same dialogue adds to them."""
        references: dict[str, list[str]] = {}
        for example in self.examples:
            if example.text.strip():
                references.setdefault(example.text, []).extend(example.references)
        return references

    @cached_property
    def topics(self) -> list[str] | None:
        """Topic of each row, if the data has any."""
        topics = [example.topic for example in self.examples]
        return topics if any(topics) else None


def explore_splits(
    splits: Mapping[str, Split], config: DataConfig, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    """All statistics of a data set."""
    lengths = {name: _lengths(split, config, tokenizer) for name, split in splits.items()}
    shown = config.train_split if config.train_split in splits else next(iter(splits))
    return {
        "splits": {name: _split_statistics(split, lengths[name], config) for name, split in splits.items()},
        "histograms": {measure: _histogram({name: lengths[name][measure] for name in splits}) for measure in
                       next(iter(lengths.values()))},
        "topics": _count_topics(splits),
        "shared": [_shared(a, b, splits) for a, b in combinations(splits, 2)],
        "samples": {"split": shown, "dialogues": _samples(splits[shown])},
    }  # fmt: skip


def _lengths(split: Split, config: DataConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """Lengths of the distinct dialogues, in order, and of all summaries."""
    dialogues = list(split.references)
    summaries = [reference for example in split.examples for reference in example.references]
    prompts = [config.template.replace("{text}", text) for text in dialogues]
    return {
        "dialogue_chars": [len(text) for text in dialogues],
        "dialogue_tokens": _count_tokens(dialogues, tokenizer),
        "prompt_tokens": _count_tokens(prompts, tokenizer),
        "summary_chars": [len(text) for text in summaries],
        "summary_tokens": _count_tokens(summaries, tokenizer),
    }


def _count_tokens(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return [len(ids) for ids in tokenizer(texts)["input_ids"]] if texts else []


def _split_statistics(split: Split, lengths: dict[str, list[int]], config: DataConfig) -> dict[str, Any]:
    tokens = dict(zip(split.references, lengths["prompt_tokens"], strict=True))
    fates, prompts = _fates(split, tokens, config)
    pairs = [(example.text, example.references) for example in split.examples if example.text.strip()]
    return {
        "rows": len(split.examples),
        "dialogues": len(split.references),
        "references": {str(n): times for n, times in sorted(Counter(map(len, split.references.values())).items())},
        "rows_without_summary": sum(not example.references for example in split.examples),
        "lengths": {measure: _statistics(values) for measure, values in lengths.items()},
        "filter": {fate: fates[fate] for fate in FATES},
        "prompts": prompts,
        "repeated_rows": len(pairs) - len(set(pairs)),
        "near_duplicates": len(split.references) - len({normalize(text) for text in split.references}),
    }


def _fates(split: Split, tokens: dict[str, int], config: DataConfig) -> tuple[Counter[str], int]:
    """Rows by fate, and the number of prompts: the same rules as in workers.data.prompts."""
    fates: Counter[str] = Counter()
    known: dict[str, list[str]] = {}
    for example in split.examples:
        why = reason(example, config, known.get(example.text))
        if not why:
            known.setdefault(example.text, []).extend(example.references)
            why = "too_many_tokens" if tokens[example.text] > config.max_prompt_tokens else "kept"
        fates[why] += 1
    return fates, sum(tokens[text] <= config.max_prompt_tokens for text in known)


def _statistics(values: list[int]) -> dict[str, float] | None:
    """None for an empty list: JSON has no NaN."""
    if not values:
        return None
    median, p90 = np.percentile(values, [50, 90]).tolist()
    return {"min": min(values), "median": median, "mean": sum(values) / len(values), "p90": p90, "max": max(values)}


def _histogram(lengths: Mapping[str, list[int]]) -> dict[str, Any]:
    """Counts of every split over the same bins, whose width is a whole number."""
    values = [value for split in lengths.values() for value in split]
    low, high = min(values, default=0), max(values, default=0)
    step = -(-(high - low + 1) // BINS)
    edges = np.arange(low, high + step + 1, step)
    counts = {name: np.histogram(split, edges)[0].tolist() for name, split in lengths.items()}
    return {"edges": edges.tolist(), "counts": counts}


def _count_topics(splits: Mapping[str, Split]) -> dict[str, Any] | None:
    """Rows of the most frequent topics in each split, and the total of the others; None without topics."""
    counts = {name: Counter(split.topics) for name, split in splits.items() if split.topics is not None}
    if not counts:
        return None
    total = sum(counts.values(), Counter())
    top = sorted(total, key=lambda topic: (-total[topic], topic))[:TOPICS]
    return {
        "distinct": len(total),
        "top": [{"topic": topic, "rows": {name: count[topic] for name, count in counts.items()}} for topic in top],
        "others": {
            "topics": len(total) - len(top),
            "rows": {name: count.total() - sum(count[topic] for topic in top) for name, count in counts.items()},
        },
    }


def normalize(text: str) -> str:
    """The text with case folded and whitespace collapsed."""
    return " ".join(text.casefold().split())


def _shared(a: str, b: str, splits: Mapping[str, Split]) -> dict[str, Any]:
    """Dialogues of one split that are also in another, exactly or up to case and whitespace."""
    first, second = splits[a].references, splits[b].references
    exact = [text for text in first if text in second]
    exact_normal, second_normal = {normalize(text) for text in exact}, {normalize(text) for text in second}
    near = {normal: text for text in first if (normal := normalize(text)) in second_normal - exact_normal}
    return {"splits": [a, b], "exact": len(exact), "near": len(near), "examples": [*exact, *near.values()][:EXAMPLES]}


def _samples(split: Split) -> list[dict[str, Any]]:
    """A few dialogues, always the same ones, with their references and topics."""
    texts = list(split.references)
    chosen = sorted(random.Random(SEED).sample(range(len(texts)), min(SAMPLES, len(texts))))
    topics: dict[str, list[str]] = {}
    for example in split.examples:
        if example.topic and example.topic not in topics.setdefault(example.text, []):
            topics[example.text].append(example.topic)
    return [
        {"dialogue": texts[i], "references": split.references[texts[i]], "topics": topics.get(texts[i], [])}
        for i in chosen
    ]
