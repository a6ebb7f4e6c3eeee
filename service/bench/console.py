"""The supervisor of pools in a benchmark."""

from collections.abc import Callable

from cluster.pools.interface import Supervisor


class ConsoleSupervisor(Supervisor):
    """Prints the pools' messages; never rescales them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
