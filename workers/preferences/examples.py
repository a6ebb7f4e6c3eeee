"""Preferences and ratings as token ids: which of them can be learnt from, and which are held out."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from learner.preferences.pairs import Preference, Rating
from learner.seeds import seed_from
from learner.targets import target_ids
from workers.data.languages import encode

LEFT_OUT = {
    "ties": "ties, from which dpo.loss.type learns nothing",
    "same": "whose completions are the same tokens",
    "prompt_too_long": "whose prompt is over data.max_prompt_tokens",
    "too_long": "with a completion over rollout.max_new_tokens",
}
"""Reasons to leave out a pair or a rating, and each in words; the first that applies counts."""


@dataclass(frozen=True)
class Example:
    """A prompt with two completions, of which the first is preferred; or with one, and a thumb up or down."""

    prompt: str
    prompt_ids: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]  # token ids ending in EOS; two, once `with_others` has seen to ratings
    target: float  # 1: the first is preferred, or its thumb is up; 0.5: a tie; 0: its thumb is down


@dataclass(frozen=True)
class Examples:
    """What is kept of a file, in its order, with the number of rows left out for each reason."""

    items: tuple[Example, ...]
    rows: int
    left_out: Mapping[str, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{self.left_out[key]:,} {why}" for key, why in LEFT_OUT.items() if self.left_out.get(key))
        return f"{len(self.items):,} of {self.rows:,}; left out: {reasons or 'none'}"


@dataclass(frozen=True)
class Form:
    """What makes token ids of texts, and what is too long."""

    tokenizer: PreTrainedTokenizerBase
    prefix: Sequence[int]  # what the decoder reads before a completion
    end: int  # the token that ends a completion
    max_prompt_tokens: int
    max_new_tokens: int
    source: str | None = None  # language of the prompts
    with_ties: bool = True


def make_examples(rows: Sequence[Preference | Rating], form: Form) -> Examples:
    """The examples of the rows. Raises `UsageError` if the tokenizer lacks the language of the prompts."""
    prompts = list(dict.fromkeys(row.prompt for row in rows))
    ids = dict(zip(prompts, encode(form.tokenizer, prompts, [form.source] * len(prompts)), strict=True))
    found = [_example(row, ids[row.prompt], form) for row in rows]
    reasons = [_reason(example, form) for example in found]
    kept = tuple(example for example, why in zip(found, reasons, strict=True) if not why)
    return Examples(kept, len(rows), Counter(why for why in reasons if why))


def _example(row: Preference | Rating, prompt_ids: Sequence[int], form: Form) -> Example:
    texts = (row.completion,) if isinstance(row, Rating) else (row.chosen, row.rejected)
    completions = tuple((*target_ids(form.tokenizer, text, form.prefix), form.end) for text in texts)
    target = float(row.good) if isinstance(row, Rating) else 0.5 if row.tie else 1.0
    return Example(row.prompt, tuple(prompt_ids), completions, target)


def _reason(example: Example, form: Form) -> str | None:
    """Why an example is left out, or None. A completion is never cut: people judged all of it."""
    if example.target == 0.5 and not form.with_ties:
        return "ties"
    if len(example.completions) == 2 and len(set(example.completions)) == 1:
        return "same"
    if len(example.prompt_ids) > form.max_prompt_tokens:
        return "prompt_too_long"
    return "too_long" if max(map(len, example.completions)) > form.max_new_tokens else None


def as_ratings(pairs: Sequence[Preference]) -> list[Rating]:
    """Each pair as a thumb up and a thumb down, for KTO; ties say nothing."""
    decided = [pair for pair in pairs if not pair.tie]
    return [
        Rating(pair.prompt, text, good, pair.annotator)
        for pair in decided
        for text, good in ((pair.chosen, True), (pair.rejected, False))
    ]


def held_out_prompts(examples: Sequence[Example], share: float, seed: int) -> set[str]:
    """Prompts that are kept out of training: the share of them whose hashes with the seed are smallest.

    At least one, unless `share` is 0 or there is only one prompt.
    """
    prompts = sorted({example.prompt for example in examples}, key=_by_hash(seed))
    most = len(prompts) - 1
    return set(prompts[: min(most, max(1, round(share * len(prompts))))] if share else ())


def _by_hash(seed: int) -> Callable[[str], tuple[int, str]]:
    return lambda prompt: (seed_from(seed, "held out", prompt), prompt)


def with_others(ratings: Sequence[Example], seed: int) -> list[Example]:
    """Each rating with a second completion, that of another prompt, from which KTO estimates the KL.

    Once for all, so that the reference's log-probabilities are: the next in an order drawn by the seed.
    An example whose prompt is the only one gets its own completion.
    """
    order = sorted(range(len(ratings)), key=lambda i: seed_from(seed, "mismatched", i))
    found = dict[int, Example]()
    for place, row in enumerate(order):
        own, following = ratings[row], (ratings[order[(place + k) % len(order)]] for k in range(1, len(order)))
        other = next((example for example in following if example.prompt != own.prompt), own)
        found[row] = replace(own, completions=(own.completions[0], other.completions[0]))
    return [found[row] for row in range(len(ratings))]
