"""No long phase is silent: on a terminal, in a log, or in the status file."""

import io
import json
import threading

import pytest
from rich.console import Console

from service.run.phase import Phase
from service.run.progress import Display, read_status


class Log(io.StringIO):
    """A stream with an event for when a word has been written so many times."""

    def __init__(self, word: str, times: int = 1) -> None:
        super().__init__()
        self.word, self.times, self.written = word, times, threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        if self.getvalue().count(self.word) >= self.times:
            self.written.set()
        return count


@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_a_phase_of_unknown_length_is_reported_again_and_again(terminal):
    log = Log("loading models", times=3)
    with Display(Console(file=log, force_terminal=terminal), every=0.05).phase("loading models"):
        assert log.written.wait(20), log.getvalue()


def test_a_phase_reports_its_progress_and_the_time_left(tmp_path):
    log = Log("evaluating after 1/4")
    display = Display(Console(file=log, width=200), every=0.05)
    display.folder = tmp_path
    items = display.track(range(4), 4, "evaluating after")
    next(items)
    assert read_status(tmp_path)["phase"] == "evaluating after" and read_status(tmp_path)["seconds_left"] is None
    next(items)
    assert log.written.wait(20), log.getvalue()
    status = read_status(tmp_path)
    assert (status["done"], status["total"]) == (1, 4) and status["seconds_left"] >= 0
    assert list(items) == [2, 3] and "evaluating after: done in" in log.getvalue()
    line = next(line for line in log.getvalue().splitlines() if line.startswith("evaluating after 1/4"))
    assert "s so far" in line and "s left" in line


def test_the_pace_is_measured_from_where_the_phase_began():
    phase = Phase("training", total=10, done=6)
    assert phase.seconds_left is None
    phase.began = phase._since = phase.began - 30
    phase.advance()
    assert phase.seconds_left == pytest.approx(3 * 30, rel=0.01) and str(phase).startswith("training 7/10")


def test_a_missing_or_unwritable_folder_stops_nothing(tmp_path):
    display = Display(Console(file=io.StringIO()))
    for folder in (tmp_path / "none", tmp_path):
        (tmp_path / ".status.json.writing").mkdir(exist_ok=True)
        display.folder = folder
        with display.phase("loading"):
            pass
    assert read_status(tmp_path) is None
    (tmp_path / "status.json").write_text("{")
    assert read_status(tmp_path) is None
    (tmp_path / "status.json").write_text(json.dumps({"phase": "training"}))
    assert read_status(tmp_path) == {"phase": "training"}


def test_a_line_about_something_else_does_not_suppress_the_report_of_a_phase():
    log = Log("loading models")
    display = Display(Console(file=log), every=60)
    with display.phase("loading models"):
        display.say("two workers")
        assert log.written.wait(20), log.getvalue()
