"""`ray_job.py report RUN [RUN ...]`: the page of a run, finished or not, or of several runs side by side."""

import argparse
from pathlib import Path

from configs.errors import UsageError
from configs.installation import COMMAND
from service.commands.judgements import judgements_of
from workers.preferences.statistics import judge


def report(arguments: list[str]) -> None:
    """Write the page; the last line of standard output is its path."""
    parser = argparse.ArgumentParser(f"{COMMAND} report", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="folder of a run or an evaluation")
    parser.add_argument("--out", type=Path, help="file to write; default: report.html in the (first) folder")
    parser.add_argument("--judgements", metavar="SOURCE", help="what people say of the run's policies: a file of "
                        "judgements, or a campaign's folder")  # fmt: skip
    given = parser.parse_args(arguments)
    name = "report.html" if len(given.runs) == 1 else "comparison.html"
    target = given.out or given.runs[0] / name
    if given.runs[0].is_dir() and not target.parent.is_dir():
        raise UsageError(f"--out: no such folder: {target.parent}")
    if given.judgements and len(given.runs) > 1:
        raise UsageError("--judgements: they are shown on the page of a single run")
    from service.report.page import write_page  # here, because plotly and pandas take seconds to load

    judged = judge(judgements_of(given.judgements, "--judgements")) if given.judgements else None
    write_page(given.runs, target, judged)
    print(target)
