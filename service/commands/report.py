"""`ray_job.py report RUN [RUN ...]`: the page of a run, finished or not, or of several runs side by side."""

import argparse
from pathlib import Path

from configs.errors import UsageError
from configs.installation import COMMAND


def report(arguments: list[str]) -> None:
    """Write the page; the last line of standard output is its path."""
    parser = argparse.ArgumentParser(f"{COMMAND} report", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="folder of a run or an evaluation")
    parser.add_argument("--out", type=Path, help="file to write; default: report.html in the (first) folder")
    given = parser.parse_args(arguments)
    name = "report.html" if len(given.runs) == 1 else "comparison.html"
    target = given.out or given.runs[0] / name
    if given.runs[0].is_dir() and not target.parent.is_dir():
        raise UsageError(f"--out: no such folder: {target.parent}")
    from service.report.page import write_page  # here, because plotly and pandas take seconds to load

    write_page(given.runs, target)
    print(target)
