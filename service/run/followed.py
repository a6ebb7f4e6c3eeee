"""Shows a log that workers write, on whichever machine they run."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from service.run.phase import Phase
from service.run.progress import Display

POLL_SECONDS = 0.3
"""Interval at which the workers' log is read."""
Line = dict[str, Any]


@contextmanager
def followed(
    read: Callable[[], Sequence[Line]], show: Callable[[Line, Phase], str | None], display: Display, phase: Phase
) -> Iterator[None]:
    """While the context is open, print what `show` makes of each new line that `read` returns; it moves the phase."""
    done, seen = threading.Event(), len(read())
    follower = threading.Thread(target=_follow, args=(read, show, seen, done, display, phase))
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()


def _follow(
    read: Callable[[], Sequence[Line]],
    show: Callable[[Line, Phase], str | None],
    seen: int,
    done: threading.Event,
    display: Display,
    phase: Phase,
) -> None:
    while True:
        last = done.wait(POLL_SECONDS)
        lines = read()
        # The file shrinks when a worker is lost and training returns to a checkpoint.
        for line in lines[min(seen, len(lines)) :]:
            if text := show(line, phase):
                display.say(text)
        seen = len(lines)
        if last:
            return
