"""Workers that take a set time and make nothing: what is left is what their distribution costs."""

import time
from typing import Any


class SimulatedWorker:
    """Answers every call after a set time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def generate(self, unit: Any, state: Any) -> tuple[int, int]:
        """As long as score and reference together, of which there are half as many workers each."""
        time.sleep(2 * self.seconds)
        return 0, 0

    def score(self, rollouts: Any) -> int:
        """A reward worker's share."""
        time.sleep(self.seconds)
        return 0

    def logprobs(self, rollouts: Any, state: Any) -> int:
        """A reference worker's share."""
        time.sleep(self.seconds)
        return 0
