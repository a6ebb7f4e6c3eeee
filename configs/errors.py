"""Errors meant for users: what is wrong, where, and how to fix it."""


class UsageError(Exception):
    """A run that cannot start as requested: bad config, missing file, wrong column. Exit code 2.

    `problems` has one sentence per problem, so that all can be fixed at once.
    """

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence per problem, kept in `args` because nothing else of an exception reaches another process."""
        return self.args

    def __str__(self) -> str:
        return "\n".join(self.args)


class RunError(Exception):
    """A run that started and failed: a worker died, a deadline passed, a check failed. Exit code 1."""
