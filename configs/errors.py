"""Errors meant for people: what is wrong, where, and what to do."""


class UsageError(Exception):
    """A run that cannot start as asked: bad config, missing file, wrong column. Exit code 2.

    `problems` holds one sentence for each thing that is wrong, so that all can be mended at once.
    """

    @property
    def problems(self) -> tuple[str, ...]:
        """What it was made of; also in another process, to which an exception's arguments are what is sent."""
        return self.args

    def __str__(self) -> str:
        return "\n".join(self.args)


class RunError(Exception):
    """A run that started and failed: a worker died, a deadline passed, a check did not hold. Exit code 1."""
