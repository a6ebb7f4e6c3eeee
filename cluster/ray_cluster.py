"""Joins or starts a Ray cluster, and describes it."""

import math
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import ray
import torch
from ray._private.services import canonicalize_bootstrap_address

from cluster.placement import Machine
from configs.errors import RunError

CONNECT = 10.0
"""Seconds within which a cluster must accept a connection."""
AGENT_PORT, AGENT_PATIENCE = 52365, 90.0
"""Ray's default port of a node's job agent, and the seconds that an agent takes at most to follow a killed Ray."""
RECONNECT, FOREVER = "RAY_gcs_rpc_server_reconnect_timeout_s", 10 * 365 * 24 * 3600
"""Ray's setting of the seconds for which a process tries to reach a lost head before it ends."""


@contextmanager
def connected(address: str | None, serves: bool = False) -> Iterator[list[Machine]]:
    """Join the cluster at the address, or start a local one; yields its machines, and disconnects at the end.

    For a process that `serves`, a local cluster accepts jobs, and the loss of a cluster's head does not end the
    process. Raises `RunError` if no cluster is at the address, or none can be started.
    """
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        _check_reachable(address)
        prepare_token(address)
        with _serving(address) if serves else nullcontext():
            # `include_dashboard` applies to a cluster started here; Ray ignores it when joining one.
            ray.init(address=address, include_dashboard=serves, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises exceptions of every kind
        given = address or os.environ.get("RAY_ADDRESS")
        problem = f"cluster.address: no Ray cluster at {given!r}" if given else "Ray could not be started"
        raise RunError(f"{problem}: {error}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_terminate)  # Ray's own handler ends the process silently
    # Workers read the driver's tensors in place in the object store; by default Ray copies them into every process.
    # The pages are read-only, which suffices: no worker writes to its arguments.
    ray.util.register_serializer(torch.Tensor, serializer=torch.Tensor.numpy, deserializer=torch.from_numpy)
    try:
        yield [_machine(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Raises `OSError` if nothing listens at the address: Ray would try for minutes."""
    if found := canonicalize_bootstrap_address(address):
        host, _, port = found.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
        except OSError as error:
            raise OSError(f"nothing answers at {found} ({error.strerror or error})") from error


@contextmanager
def _serving(address: str | None) -> Iterator[None]:
    """Settings of Ray for a process that serves, which it reads while the context joins or starts a cluster."""
    if canonicalize_bootstrap_address(address) is None:
        _wait_for_agent_port()
        yield
    else:
        os.environ[RECONNECT] = str(FOREVER)  # Ray would end this process a minute after the head is lost
        try:
            yield
        finally:
            del os.environ[RECONNECT]
    # The thread that prints messages of the cluster to standard output; it spins once the head is lost.
    ray._private.worker.global_worker.threads_stopped.set()


def _wait_for_agent_port() -> None:
    """Wait a while for the port of a node's job agent, which that of a killed Ray may still hold.

    The agent asks for its port only once, and without it no job starts.
    """
    until = time.monotonic() + AGENT_PATIENCE
    while time.monotonic() < until:
        with suppress(OSError):
            socket.create_server(("", AGENT_PORT)).close()
            return
        time.sleep(0.5)


def _machine(resources: dict[str, float]) -> Machine:
    return Machine(resources.get("CPU", 0), resources.get("GPU", 0), resources.get("memory", math.inf))


def about() -> str:
    """The joined cluster in one line: version, size, and whether it requires a token."""
    nodes, total = sum(node["Alive"] for node in ray.nodes()), ray.cluster_resources()
    token = "requires a token" if os.environ.get("RAY_AUTH_MODE") == "token" else "OPEN to anyone who reaches its ports"
    return (
        f"Ray {ray.__version__}, {nodes} node(s) with {total.get('CPU', 0):g} CPU, {total.get('GPU', 0):g} GPU; {token}"
    )


def prepare_token(address: str | None) -> None:
    """Protect a cluster that is started here by a token that only this process and its children know.

    Ray itself would write a token into the home directory, readable by everyone. From then on every `ray start` of this
    user would require it, while no client would send it.
    """
    file = Path.home() / ".ray" / "auth_token"
    if file.is_file():
        if file.stat().st_uid == os.getuid():
            file.chmod(0o600)
        return
    # How Ray itself decides whether to join a cluster or start one; it has no public function for this.
    starts = canonicalize_bootstrap_address(address) is None
    if starts and os.environ.get("RAY_AUTH_MODE", "token") == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
