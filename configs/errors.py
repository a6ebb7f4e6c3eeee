"""Errors meant for people: what is wrong, where, and what to do."""


class UsageError(Exception):
    """A run that cannot start as asked: bad config, missing file, wrong column. Exit code 2.

    `problems` holds one sentence for each thing that is wrong, so that all can be mended at once.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class RunError(Exception):
    """A run that started and failed: a worker died, a deadline passed, a check did not hold. Exit code 1."""
