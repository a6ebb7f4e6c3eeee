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

from cluster.serving.apps import running_replicas, stop_apps
from configs.errors import UsageError
from learner.adapter import BASE
from workers.inference.scorer import Verdict
from workers.inference.summarizer import SummaryRequest

TRIES = 2
"""Replicas that may die while answering a request before it fails: a bad request could kill them all."""


class TooSlow(Exception):
    """No answer within the time limit."""


class Unavailable(Exception):
    """No replica is running, or too many died while answering the request."""


class ModelClient:
    """Requests summaries from the policy and verdicts from the reward model."""

    def __init__(self, handles: Mapping[str, DeploymentHandle], timeout: float) -> None:
        """`timeout` is in seconds, per request."""
        self.handles, self.timeout = handles, timeout

    async def summarize(self, adapter: str, request: SummaryRequest) -> str:
        """The summary by an adapter: `base`, or a folder, whose path must not come from a client.

        Raises `TooLong`; `UsageError` if the adapter is missing or of another model; `TooSlow` or `Unavailable`.
        """
        return await self._request("summaries", adapter_version(adapter), request)

    async def score(self, text: str) -> Verdict:
        """The reward model's verdict. Raises `TooSlow` or `Unavailable`."""
        return await self._request("scores", text)

    async def _request(self, kind: str, *request: Any) -> Any:
        try:
            async with asyncio.timeout(self.timeout):
                return await self._answer(kind, request)
        except TimeoutError:
            reason = f"no answer within {self.timeout:g} s (serve.limits.timeout)"
            if (await asyncio.to_thread(self.ready))[kind]:
                raise TooSlow(reason) from None
            raise Unavailable(f"{reason}: no replica of {kind} is running") from None

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
        return running_replicas()

    def stop(self) -> None:
        """Stop the replicas."""
        stop_apps()


def adapter_version(adapter: str) -> str:
    """The adapter with its modification time, so that a rewritten adapter counts as a different one."""
    if adapter == BASE:
        return f"{BASE}@"
    folder = Path(adapter).absolute()
    try:
        return f"{folder}@{(folder / 'adapter_model.safetensors').stat().st_mtime_ns}"
    except OSError as error:
        raise UsageError(f"{adapter}: holds no adapter: {error.strerror}") from error
