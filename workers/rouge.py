"""ROUGE, as rewards and reports both compute it."""

from collections.abc import Callable, Sequence

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
ABBREVIATIONS = "mr mrs ms dr prof st jr sr vs e.g i.e a.m p.m u.s u.k d.c".split()
"""Words whose dot mostly ends no sentence. nltk's own lists would have to be downloaded."""

Scorer = Callable[[Sequence[str], str], dict[str, float]]
"""(references, text) -> F-measure from 0 to 1 by type; of several references the best one counts for each type."""


def make_scorer(types: Sequence[str] = ROUGE_TYPES) -> Scorer:
    """A scorer of these types of ROUGE (Lin 2004), with stemming. It is not thread-safe.

    ROUGE-Lsum is the one over sentences (section 3.2, summary-level LCS), which rouge_score takes to be lines.
    """
    # Loaded where it is used: importing them takes seconds, by which the first step would be later.
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
    from rouge_score import rouge_scorer

    known = PunktParameters()
    known.abbrev_types = set(ABBREVIATIONS)
    splitter = PunktSentenceTokenizer(known)
    scorer = rouge_scorer.RougeScorer(list(types), use_stemmer=True)

    def lines(text: str) -> str:
        return "\n".join(splitter.tokenize(text))

    def score(references: Sequence[str], text: str) -> dict[str, float]:
        found = scorer.score_multi([lines(reference) for reference in references], lines(text))
        return {name: value.fmeasure for name, value in found.items()}

    return score
