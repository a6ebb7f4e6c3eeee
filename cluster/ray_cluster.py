"""The Ray cluster: joining or starting one, and what it has."""

import math
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
import torch
from ray._private.services import canonicalize_bootstrap_address
from ray.exceptions import RayError

from cluster.placement import Machine
from configs.errors import RunError


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
