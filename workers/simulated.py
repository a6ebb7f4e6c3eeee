"""Workers that take a fixed time and compute nothing, which leaves the cost of distributing work."""

import time
from typing import Any


class SimulatedWorker:
    """Answers every call after a fixed time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def generate(self, unit: Any, state: Any) -> tuple[int, int]:
        """Takes as long as `score` and `logprobs` together, which have half as many workers each."""
        time.sleep(2 * self.seconds)
        return 0, 0

    def score(self, rollouts: Any) -> int:
        """The work of a reward worker."""
        time.sleep(self.seconds)
        return 0

    def logprobs(self, rollouts: Any, state: Any) -> int:
        """The work of a reference worker."""
        time.sleep(self.seconds)
        return 0
