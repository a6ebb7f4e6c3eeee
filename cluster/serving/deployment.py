"""The models that answer people, on Ray Serve: how their replicas are started, and calls to them.

All they compute are functions of what they are asked, so that a question may be asked again at any time.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.config import AutoscalingConfig, ProxyLocation
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from cluster.layout import Machine, resolve, workers_of
from cluster.serving.replicas import Replica, Scores, Summaries
from configs.errors import RunError, UsageError
from configs.installation import CODE
from configs.schema import Config
from configs.service import Limits
from workers.inference.summarizer import BASE, Question, Verdict

LOOK = 0.2
"""Seconds between two looks at what is starting or ending."""
HEALTH = 1.0
"""Seconds between two looks at a replica, after which one that died is replaced."""
GRACE = 5.0
"""Seconds that a replica which is to end may take over its last answers; what it does not come to is asked again."""
REFUSED = f"{UsageError.__module__}.{UsageError.__qualname__}: "
"""How Serve, which has texts only, tells of a replica that refused its config."""
TRIES = 2
"""Replicas that may die over a question before that is told: it could kill one after the other."""


class TooSlow(Exception):
    """There was no answer in time."""


class Unavailable(Exception):
    """No replica is there to answer, or those that were died over it."""


KINDS: dict[str, tuple[type[Replica], str]] = {"summaries": (Summaries, "rollout"), "scores": (Scores, "reward")}
"""What is offered, and the role whose resources a replica gets."""


class Models:
    """What can be asked of the models."""

    def __init__(self, handles: Mapping[str, DeploymentHandle], limits: Limits) -> None:
        self.handles, self.limits = handles, limits

    async def summarize(self, adapter: str, question: Question) -> str:
        """The summary by an adapter: `base`, or a folder, which must not be of a client's choosing.

        Raises `TooLong`; `UsageError` where there is no adapter, or one of another model; and what `score` raises.
        """
        return await self._ask("summaries", _version(adapter), question)

    async def score(self, text: str) -> Verdict:
        """The reward model's verdict. Raises `TooSlow` or `Unavailable`."""
        return await self._ask("scores", text)

    async def _ask(self, kind: str, *question: Any) -> Any:
        try:
            async with asyncio.timeout(self.limits.timeout):
                return await self._answer(kind, question)
        except TimeoutError:
            told = f"no answer within {self.limits.timeout:g} s (serve.limits.timeout)"
            ready = await asyncio.to_thread(self.ready)
            raise TooSlow(told) if ready[kind] else Unavailable(f"{told}: no replica of {kind} is there") from None

    async def _answer(self, kind: str, question: tuple[Any, ...]) -> Any:
        """The answer, of another replica where one dies over it."""
        for left in reversed(range(TRIES)):
            response = self.handles[kind].remote(*question)
            try:
                return await response
            except RayTaskError as error:
                raise error.cause from None  # what the replica raised
            except DeploymentUnavailableError as error:
                raise Unavailable(f"no replica of {kind} is there, and none can be started") from error
            except RayError as error:
                if not left:
                    raise Unavailable(f"{TRIES} replicas of {kind} died over it") from error
            except asyncio.CancelledError:
                response.cancel()  # nobody waits for it any more
                raise

    def ready(self) -> dict[str, int]:
        """Replicas that are running, by kind. Waits for the cluster: not for an event loop's own thread."""
        try:
            apps = serve.status().applications
        except (RayError, RayServeException):
            apps = {}  # who would know of them is not there
        found = {kind: apps[_app(kind)].deployments.values() for kind in KINDS if _app(kind) in apps}
        return {kind: sum(d.replica_states.get("RUNNING", 0) for d in found.get(kind, ())) for kind in KINDS}

    def stop(self) -> None:
        """End the replicas."""
        _clear()


def start_models(config: Config, machines: Sequence[Machine]) -> Models:
    """Start replicas of both models on the cluster that was joined, in the place of those of an earlier service.

    Raises `RunError` where they do not start, or find no place within `cluster.start_timeout`, and `UsageError` where a
    model refuses its config.
    """
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    counts = {"rollout": config.serve.summary_replicas, "reward": config.serve.score_replicas}
    config = resolve(config.model_copy(update={"workers": config.workers.model_copy(update=counts)}), machines)
    _clear()
    serve.start(proxy_location=ProxyLocation.Disabled)
    targets = [serve.RunTarget(_application(config, kind), _app(kind), route_prefix=None) for kind in KINDS]
    handles = serve.run_many(targets, wait_for_applications_running=False)
    models = Models(dict(zip(KINDS, handles, strict=True)), config.serve.limits)
    _wait(models, config.cluster.start_timeout)
    return models


def _application(config: Config, kind: str) -> serve.Application:
    replica, role = KINDS[kind]
    needs, settings, root = getattr(config.cluster.resources, role), config.serve, str(Path.cwd())
    fewest, most = workers_of(config, role)
    deployment = serve.deployment(
        name=kind,
        ray_actor_options={
            "num_cpus": needs.cpus,
            "num_gpus": needs.gpus,
            "runtime_env": {"env_vars": {"PYTHONPATH": str(CODE)}},  # for a Serve that somebody else has begun
        },
        # All that may wait, wait in the replicas: those that Serve holds back it offers again every half second only.
        max_ongoing_requests=max(settings.limits.queue, settings.batch_size),
        autoscaling_config=AutoscalingConfig(
            min_replicas=fewest,
            max_replicas=most,
            target_ongoing_requests=settings.batch_size,
            upscale_delay_s=config.cluster.grow_after,
            downscale_delay_s=config.cluster.shrink_after,
        ),
        health_check_period_s=HEALTH,
        max_constructor_retry_count=config.cluster.attempts,
        graceful_shutdown_wait_loop_s=LOOK,
        graceful_shutdown_timeout_s=GRACE,
        logging_config=LoggingConfig(enable_access_log=False),
    )
    return deployment(replica).bind(config, needs.threads, root)


def _wait(models: Models, patience: float) -> None:
    """Until both models are there."""
    until = time.monotonic() + patience
    while True:
        apps = [serve.status().applications[_app(kind)] for kind in KINDS]
        if all(app.status == "RUNNING" for app in apps):
            return
        failed = [d.message for app in apps for d in app.deployments.values() if d.status == "DEPLOY_FAILED"]
        late = [f"they found no place within {patience:g} s (cluster.start_timeout)"] * (time.monotonic() > until)
        if reasons := failed + late:
            models.stop()
            reason = reasons[0].strip().splitlines()[-1]
            if reason.startswith(REFUSED):
                raise UsageError(reason.removeprefix(REFUSED))
            raise RunError(f"the models cannot be served: {reason}")
        time.sleep(LOOK)


def _clear() -> None:
    """End the replicas of this service or an earlier one, and Serve with them where it has nothing else to do.

    It would go on looking for code in the folder of whoever began it.
    """
    there, own = set(serve.status().applications), set(map(_app, KINDS))
    if there <= own:
        serve.shutdown()
        return
    for app in there & own:
        serve.delete(app)


def _app(kind: str) -> str:
    return f"seqrlhf-{kind}"


def _version(adapter: str) -> str:
    """The adapter and when it was written: one that was written anew is another one."""
    if adapter == BASE:
        return f"{BASE}@"
    folder = Path(adapter).absolute()
    try:
        return f"{folder}@{(folder / 'adapter_model.safetensors').stat().st_mtime_ns}"
    except OSError as error:
        raise UsageError(f"{adapter}: holds no adapter: {error.strerror}") from error
