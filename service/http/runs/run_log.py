"""What a run printed."""

import re
from collections import deque
from pathlib import Path

from cluster.jobs import LOG_LINES, Jobs
from cluster.run_files import LOG
from service.http.runs.paths import RunPaths
from service.http.runs.store import RunRecord

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def run_log(jobs: Jobs, record: RunRecord, paths: RunPaths) -> str:
    """The last lines that a run printed, without colours: from its job, or if that is gone, from its folder."""
    printed = jobs.log(record.job).encode("utf-8", "replace").decode()  # it may hold lone surrogates
    return ANSI.sub("", printed) or last_lines(paths.folder(record.id) / LOG)


def last_lines(file: Path) -> str:
    """The last lines of a text file; empty if there is none."""
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            return "".join(deque(lines, LOG_LINES))
    except OSError:
        return ""
