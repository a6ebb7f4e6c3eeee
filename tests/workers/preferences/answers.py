"""Short hands for judgements."""

from workers.preferences.judgements import Judgement


def judgement(pair="q", annotator="ann", outcome="first", **more):
    known = {"prompt": f"p {pair}", "first": f"a {pair}", "second": f"b {pair}"}
    return Judgement(**known | {"pair": pair, "annotator": annotator, "outcome": outcome} | {
        "first_policy": "base", "second_policy": "run"} | more)  # fmt: skip
