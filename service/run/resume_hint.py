"""How to go on with a run that ended early."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.run_files import CONFIG
from configs.errors import UsageError
from service.run.progress import Display


@contextmanager
def resume_hint(path: Path, command: str, display: Display) -> Iterator[None]:
    """If the context ends early, print the command that resumes it."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if (path / CONFIG).exists() and not isinstance(error, UsageError):
            display.say(f"progress is saved; resume with: {command} --resume {path}")
        raise
