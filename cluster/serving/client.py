"""Client of the models on Ray Serve.

An answer is a function of its request, so that a request may be repeated at any time.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from cluster.serving.apps import Apps
from configs.errors import UsageError
from learner.adapter import BASE
from workers.inference.scorer import Verdict
from workers.inference.summarizer import SummaryRequest
from workers.reward.items import Item

TRIES = 2
"""Replicas that may die while answering a request before it fails: a bad request could kill them all."""
PATIENCE = 5.0
"""Seconds to wait for the cluster to report its replicas."""


class TooSlow(Exception):
    """No answer within the time limit."""


class Unavailable(Exception):
    """No replica is running, or too many died while answering the request."""


class ModelClient:
    """Requests summaries from the policy and verdicts from the reward."""

    def __init__(self, apps: Apps, handles: Mapping[str, DeploymentHandle], timeout: float) -> None:
        """`timeout` is in seconds, per request."""
        self.apps, self.handles, self.timeout = apps, handles, timeout

    async def summarize(self, adapter: str, request: SummaryRequest) -> str:
        """The summary by an adapter: `base`, or a folder, whose path must not come from a client.

        Raises `TooLong`; `UsageError` if the adapter is missing or of another model; `TooSlow` or `Unavailable`.
        """
        return await self._request("summaries", adapter_version(adapter), request)

    async def score(self, item: Item) -> Verdict:
        """The reward's verdict. Raises `TooSlow` or `Unavailable`."""
        return await self._request("scores", item)

    async def _request(self, kind: str, *request: Any) -> Any:
        try:
            async with asyncio.timeout(self.timeout):
                return await self._answer(kind, request)
        except TimeoutError:
            raise await self._late(kind) from None

    async def _late(self, kind: str) -> TooSlow | Unavailable:
        """Why there was no answer in time."""
        reason = f"no answer within {self.timeout:g} s (serve.limits.timeout)"
        try:
            async with asyncio.timeout(PATIENCE):
                running = (await asyncio.to_thread(self.ready))[kind]
        except TimeoutError:
            return Unavailable(f"{reason}: the cluster does not respond")
        return TooSlow(reason) if running else Unavailable(f"{reason}: no replica of {kind} is running")

    async def _answer(self, kind: str, request: tuple[Any, ...]) -> Any:
        """The answer, by another replica if one dies while answering."""
        for left in reversed(range(TRIES)):
            response = self.handles[kind].remote(*request)
            try:
                return await response
            except RayTaskError as error:
                raise error.cause from None  # what the replica raised
            except DeploymentUnavailableError as error:
                raise Unavailable(f"no replica of {kind} is running, and none can be started") from error
            except RayError as error:
                if not left:
                    raise Unavailable(f"{TRIES} replicas of {kind} died while answering the request") from error
            except asyncio.CancelledError:
                response.cancel()  # no one is waiting for the answer
                raise

    def ready(self) -> dict[str, int]:
        """Number of running replicas by kind. Blocks on the cluster: do not call it on an event loop's thread."""
        return self.apps.running_replicas()


def adapter_version(adapter: str) -> str:
    """The adapter with its modification time, so that a rewritten adapter counts as a different one."""
    if adapter == BASE or not Path(adapter).exists():  # a name on the hub, or none at all: the replica says so
        return f"{adapter}@"
    folder = Path(adapter).absolute()
    try:
        return f"{folder}@{(folder / 'adapter_model.safetensors').stat().st_mtime_ns}"
    except OSError as error:
        raise UsageError(f"{adapter}: holds no adapter: {error.strerror}") from error
