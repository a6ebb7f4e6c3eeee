"""The cluster: how a run joins or starts one, what there is in it, and the pools on it."""

import math
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray._private.services import canonicalize_bootstrap_address
from ray.exceptions import RayError

from cluster.layout import Machine, check_fit, describe
from cluster.pools.dispatcher import Dispatcher
from cluster.pools.interface import Pools, Supervisor
from cluster.pools.worker_group import Crew
from configs.errors import RunError
from configs.schema import Config

AHEAD = 512
"""Units of an evaluation that wait for workers: more than there are workers, less than fills the object store."""


class RayPool:
    """The Ray actors of one role, as the driver sees them."""

    def __init__(self, role: str, dispatcher: Dispatcher) -> None:
        self.role, self.dispatcher = role, dispatcher

    @property
    def workers(self) -> int:
        """How many are wanted now."""
        return self.dispatcher.crews[self.role].wanted

    def submit(self, method: str, *args: Any, about: str, results: int = 1) -> Any:
        """Queue the call."""
        handles = self.dispatcher.submit(self.role, method, args, results, about)
        return handles if results > 1 else handles[0]


@contextmanager
def connected(address: str | None, dashboard: bool = False) -> Iterator[list[Machine]]:
    """Join the cluster or start a local one, with a dashboard as jobs need it; gives its machines, and leaves it at
    the end.

    Raises `RunError` where there is no cluster at the address.
    """
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        prepare_token(address)
        # For a local Ray of our own; where there is a cluster already, the argument means nothing.
        ray.init(address=address, include_dashboard=dashboard, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        raise RunError(f"cluster.address: no Ray cluster at {address!r}: {error}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_terminate)  # Ray's own handler ends the process without a word
    # What many workers read is read where the object store has it: Ray copies tensors into every process otherwise.
    # Only the driver's, since no worker writes to its arguments; on a read-only page it could not.
    ray.util.register_serializer(torch.Tensor, serializer=torch.Tensor.numpy, deserializer=torch.from_numpy)
    try:
        yield [_machine(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def _machine(resources: dict[str, float]) -> Machine:
    return Machine(resources.get("CPU", 0), resources.get("GPU", 0), resources.get("memory", math.inf))


def about() -> str:
    """The cluster that was joined: version, size, and whether it asks for a token."""
    nodes, total = sum(node["Alive"] for node in ray.nodes()), ray.cluster_resources()
    token = "asks for a token" if os.environ.get("RAY_AUTH_MODE") == "token" else "OPEN to whoever reaches its ports"
    return (
        f"Ray {ray.__version__}, {nodes} node(s) with {total.get('CPU', 0):g} CPU, {total.get('GPU', 0):g} GPU; {token}"
    )


def prepare_token(address: str | None) -> None:
    """Have a cluster that is started here ask for a token that this process and those it starts have, and nobody else.

    Ray itself would leave one in the home directory, readable by all, and with it there the next `ray start` of this
    user asks for it too, while no client sends it.
    """
    file = Path.home() / ".ray" / "auth_token"
    if file.is_file():
        if file.stat().st_uid == os.getuid():
            file.chmod(0o600)
        return
    # Ray's own way to tell whether it will join a cluster or start one; no public function does.
    starts = canonicalize_bootstrap_address(address) is None
    if starts and os.environ.get("RAY_AUTH_MODE", "token") == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@contextmanager
def open_ray_pools(config: Config, supervisor: Supervisor, classes: Mapping[str, str]) -> Iterator[Pools]:
    """Start all workers side by side, on a cluster that has room for them; they end with this.

    Raises `UsageError` where they do not fit the cluster, before any is started.
    """
    with connected(config.cluster.address) as machines:
        config = check_fit(config, machines)
        supervisor.say(f"workers: {describe(config)}")
        crews = {role: Crew(role, path, config, supervisor.say) for role, path in classes.items()}
        dispatcher = Dispatcher(config, crews, supervisor)
        dispatcher.tend()
        pools = {role: RayPool(role, dispatcher) for role in classes}
        yield Pools(
            **pools,
            get=dispatcher.get,
            put=ray.put,
            retries=dispatcher.retries,
            busy=dispatcher.busy,
            processes=dispatcher.processes,
            ahead=AHEAD,
        )
