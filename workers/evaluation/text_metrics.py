"""Metrics of single held-out summaries."""

from typing import Any

from learner.types import Rollouts

WORDS = 3
"""Length of the n-grams that repetition and copying are measured by."""


def text_metrics(rollouts: Rollouts) -> list[dict[str, Any]]:
    """Metrics of each of one unit's completions that have no settings: lengths, repetition, copying."""
    unit, texts = rollouts.unit, list(rollouts.texts)
    tokens = rollouts.completion_mask.sum(dim=1).tolist()
    return [
        {
            "row": unit.rows[i],
            "text": text,
            "tokens": tokens[i],
            "cut": float(not rollouts.ended[i]),
            "repetition": repetition(text),
            "copied": copied(text, unit.prompts[i]),
        }
        for i, text in enumerate(texts)
    ]


def repetition(text: str) -> float:
    """Share of a text's word trigrams that occurred in it before (Welleck et al. 2019, seq-rep-n, equation 10)."""
    trigrams = _trigrams(text)
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0


def copied(text: str, source: str) -> float:
    """Share of a text's word trigrams that also occur in the source."""
    trigrams, in_source = _trigrams(text), set(_trigrams(source))
    return sum(trigram in in_source for trigram in trigrams) / len(trigrams) if trigrams else 0.0


def _trigrams(text: str) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return list(zip(*(words[i:] for i in range(WORDS)), strict=False))
