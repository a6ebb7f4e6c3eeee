"""ROUGE, shared by rewards and reports."""

from collections.abc import Callable, Sequence

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
ABBREVIATIONS = "mr mrs ms dr prof st jr sr vs e.g i.e a.m p.m u.s u.k d.c".split()
"""Words whose full stop rarely ends a sentence. nltk's own lists would have to be downloaded."""

Scorer = Callable[[Sequence[str], str], dict[str, float]]
"""(references, text) -> F-measure from 0 to 1 by type; of several references the best counts, for each type."""


def make_scorer(types: Sequence[str] = ROUGE_TYPES) -> Scorer:
    """A scorer for these types of ROUGE (Lin 2004), with stemming. Not thread-safe.

    ROUGE-Lsum works on sentences (section 3.2, summary-level LCS), which rouge_score expects as lines.
    """
    # Imported here because it takes seconds, which would delay the first step.
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
    from rouge_score import rouge_scorer

    parameters = PunktParameters()
    parameters.abbrev_types = set(ABBREVIATIONS)
    splitter = PunktSentenceTokenizer(parameters)
    scorer = rouge_scorer.RougeScorer(list(types), use_stemmer=True)

    def lines(text: str) -> str:
        return "\n".join(splitter.tokenize(text))

    def score(references: Sequence[str], text: str) -> dict[str, float]:
        scores = scorer.score_multi([lines(reference) for reference in references], lines(text))
        return {name: value.fmeasure for name, value in scores.items()}

    return score
