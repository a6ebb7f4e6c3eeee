"""Rewards that a few lines of Python compute: length, exact match, regular expressions, and overlap with references."""

import re
from collections.abc import Callable, Sequence

from configs.reward_parts import BleuReward, ChrfReward, ExactReward, LengthReward, RegexReward, RougeReward
from workers.reward.items import Item, Reward
from workers.rouge import make_scorer


def _each(score: Callable[[Item], float]) -> Reward:
    return lambda items: [score(item) for item in items]


def _against_references(score: Callable[[str, Sequence[str]], float]) -> Reward:
    """`score` of each completion and its references; a failure where there is none."""
    return lambda items: [
        score(item.completion, item.references) if item.references else ValueError("there is no reference")
        for item in items
    ]


def length(config: LengthReward) -> Reward:
    """-|n / words - 1| for a completion of n words."""
    return _each(lambda item: -abs(len(item.completion.split()) / config.words - 1))


def regex(config: RegexReward) -> Reward:
    """1 where the expression is found, or if it must be absent, where it is not."""
    pattern = re.compile(config.pattern)
    return _each(lambda item: float((pattern.search(item.completion) is None) == config.absent))


def exact(config: ExactReward) -> Reward:
    """1 where the completion is one of the references."""

    def plain(text: str) -> str:
        return text.strip().casefold() if config.ignore_case else text.strip()

    return _each(lambda item: float(plain(item.completion) in map(plain, item.references)))


def rouge(config: RougeReward) -> Reward:
    """ROUGE F-measure, 0 to 1; of several references the best counts."""
    scorer = make_scorer([config.variant])
    return _against_references(lambda text, references: scorer(references, text)[config.variant])


def chrf(config: ChrfReward) -> Reward:
    """chrF (Popović 2015), 0 to 1; of several references the best counts, as in sacrebleu."""
    from sacrebleu.metrics import CHRF

    metric = CHRF(word_order=config.word_order)
    return _against_references(lambda text, references: metric.sentence_score(text, references).score / 100)


def bleu(config: BleuReward) -> Reward:
    """Sentence BLEU over the n-gram orders that the completion has, 0 to 1, by sacrebleu with exponential smoothing."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=config.tokenize, effective_order=True)
    return _against_references(lambda text, references: metric.sentence_score(text, references).score / 100)
