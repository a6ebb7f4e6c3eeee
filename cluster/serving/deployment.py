"""Starts the replicas of both models on Ray Serve."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.config import AutoscalingConfig, ProxyLocation
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from cluster.layout import LayoutRequest, RoleLayout, resolve
from cluster.placement import Machine
from cluster.pools.interface import WorkerSpec
from cluster.serving.apps import KINDS, Apps, applications
from cluster.serving.client import TRIES, ModelClient, adapter_version
from cluster.serving.replicas import PolicyReplica, ReplicaSettings, RewardReplica
from configs.errors import RunError, UsageError
from configs.installation import CODE
from configs.schema import Config
from learner.adapter import BASE
from workers.data.languages import Languages
from workers.inference.summarizer import SummaryRequest
from workers.reward.items import Item
from workers.settings import ScorerSettings, SummarizerSettings, SummaryFormat

POLL = 0.2
"""Seconds between checks of applications that are starting or stopping."""
HEALTH_CHECK = 1.0
"""Seconds between health checks of a replica; a dead one is replaced at the next check."""
GRACE = 5.0
"""Seconds that a stopping replica may take to finish; requests it drops are repeated."""
REFUSED = f"{UsageError.__module__}.{UsageError.__qualname__}: "
"""Prefix of Serve's message if a replica refused its settings; Serve passes on messages, not exceptions."""


@contextmanager
def serving_models(config: Config, machines: Sequence[Machine], service: str) -> Iterator[ModelClient]:
    """Replicas of both models on the joined cluster, in place of any that an earlier process of this service left.

    They stop on exit. Raises `RunError` if they do not start or are not placed within `cluster.start_timeout`,
    `UsageError` if a model refuses its settings.
    """
    apps = Apps(service)
    try:
        yield _start(config, machines, apps)
    except RayServeException as error:
        raise RunError(f"the models cannot be served: {error}") from error
    finally:
        with suppress(RayError, RayServeException):  # the cluster is gone
            apps.stop()


def _start(config: Config, machines: Sequence[Machine], names: Apps) -> ModelClient:
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    counts = {"rollout": config.serve.summary_replicas, "reward": config.serve.score_replicas}
    workers = config.workers.model_copy(update=counts)
    layout = resolve(replace(LayoutRequest.of(config), workers=workers), machines)
    policy, reward = layout["rollout"], layout["reward"]
    summarizer = WorkerSpec("workers.inference.summarizer:Summarizer", summarizer_settings(config, policy.device))
    scorer = WorkerSpec("workers.inference.scorer:Scorer", ScorerSettings(config.reward, reward.device))
    apps = {
        "summaries": _application("summaries", PolicyReplica, summarizer, policy, config),
        "scores": _application("scores", RewardReplica, scorer, reward, config),
    }
    names.stop()
    serve.start(proxy_location=ProxyLocation.Disabled)
    targets = [serve.RunTarget(app, names.name(kind), route_prefix=None) for kind, app in apps.items()]
    handles = serve.run_many(targets, wait_for_applications_running=False)
    client = ModelClient(names, dict(zip(apps, handles, strict=True)), config.serve.limits.timeout)
    _wait(names, config.cluster.start_timeout)
    first = (adapter_version(config.policy.adapter or BASE), SummaryRequest("")), (Item(""),)
    for handle, request in zip(handles, first, strict=True):
        _ask_first(handle, request, config.cluster.call_timeout)
    return client


def _ask_first(handle: DeploymentHandle, request: tuple[Any, ...], timeout: float) -> None:
    """Wait for an answer, by another replica if one dies meanwhile.

    A handle's first request blocks on the cluster: on the event loop it would hold up all others while Ray is down.
    """
    for left in reversed(range(TRIES)):
        try:
            handle.remote(*request).result(timeout_s=timeout)
            return
        except RayTaskError as error:
            raise error.cause from None  # what the replica raised
        except RayError as error:
            if not left:
                raise RunError(
                    f"the models cannot be served: {TRIES} replicas died at their first request ({error})"
                ) from error


def summarizer_settings(config: Config, device: str = "cpu") -> SummarizerSettings:
    """Settings of a policy replica's model."""
    return SummarizerSettings(policy=config.policy, format=summary_format(config), seed=config.seed, device=device)


def summary_format(config: Config) -> SummaryFormat:
    """Prompt, lengths, beginning and distribution of a run's summaries.

    Raises `UsageError` if each row of the data has a language of its own: a request has none.
    """
    data, rollout = config.data, config.rollout
    for setting in ("src_lang", "tgt_lang"):
        if getattr(data, f"{setting}_column") and not getattr(data, setting):
            raise UsageError(
                f"data.{setting}: summaries need one; only rows of the data have it (data.{setting}_column)"
            )
    return SummaryFormat(
        data.template,
        data.max_prompt_tokens,
        rollout.max_new_tokens,
        rollout.sampling,
        Languages(data.src_lang, data.tgt_lang),
        data.target_prefix,
    )


def _application(kind: str, replica: type, model: WorkerSpec, layout: RoleLayout, config: Config) -> serve.Application:
    settings, cluster, folder = config.serve, config.cluster, str(Path.cwd())
    deployment = serve.deployment(
        name=kind,
        ray_actor_options={
            "num_cpus": layout.cpus,
            "num_gpus": layout.gpus,
            "runtime_env": {"env_vars": {"PYTHONPATH": str(CODE)}},  # Serve may have been started elsewhere
        },
        # All requests queue in the replicas: Serve retries those that it holds back only every half second.
        max_ongoing_requests=max(settings.limits.queue, settings.batch_size),
        autoscaling_config=AutoscalingConfig(
            min_replicas=layout.fewest,
            max_replicas=layout.most,
            target_ongoing_requests=settings.batch_size,
            upscale_delay_s=cluster.grow_after,
            downscale_delay_s=cluster.shrink_after,
        ),
        health_check_period_s=HEALTH_CHECK,
        max_constructor_retry_count=cluster.attempts,
        graceful_shutdown_wait_loop_s=POLL,
        graceful_shutdown_timeout_s=GRACE,
        logging_config=LoggingConfig(enable_access_log=False),
    )
    own = ReplicaSettings(
        folder, layout.threads, settings.batch_size, settings.batch_wait, cluster.call_timeout, settings.adapters
    )
    return deployment(replica).bind(model, own)


def _lateness(deployments: Sequence[Mapping[str, Any]], timeout: float) -> str:
    """What keeps the models waiting: the states of their replicas, and what Serve says."""
    states = Counter(replica["state"].lower() for found in deployments for replica in found["replicas"])
    replicas = ", ".join(f"{count} {state}" for state, count in states.items()) or "none yet"
    said = "; ".join(" ".join(found["message"].split()) for found in deployments if found["message"])
    return f"they were not placed within {timeout:g} s (cluster.start_timeout); replicas: {replicas}; {said}"


def _wait(names: Apps, timeout: float) -> None:
    """Wait until both models are running. Raises as `serving_models` does."""
    until = time.monotonic() + timeout
    while True:
        apps = [found for kind in KINDS if (found := applications().get(names.name(kind)))]
        if len(apps) == len(KINDS) and all(app["status"] == "RUNNING" for app in apps):
            return
        deployments = [deployment for app in apps for deployment in app["deployments"].values()]
        failed = [found["message"] for found in deployments if found["status"] == "DEPLOY_FAILED"]
        late = [_lateness(deployments, timeout)] * (time.monotonic() > until)
        if reasons := failed + late:
            reason = reasons[0].strip().splitlines()[-1]
            if reason.startswith(REFUSED):
                raise UsageError(reason.removeprefix(REFUSED))
            raise RunError(f"the models cannot be served: {reason}")
        time.sleep(POLL)
