"""Settings of the service: `ray_job.py serve`."""

import re

from pydantic import Field, field_validator

from configs.base import Section
from configs.cluster import Count

ROUTES = (
    "runs",
    "presets",
    "models",
    "campaigns",
    "summaries",
    "scores",
    "page",
    "annotate",
    "docs",
    "openapi.json",
    "health",
    "ready",
    "metrics",
)
"""The first parts of the service's own paths."""


class LimitsConfig(Section):
    """Limits on requests. Those on texts and runs hold for each key, so that one cannot starve the others."""

    body_bytes: int = Field(1_000_000, ge=1)
    """Maximum size of a request body; larger ones get 413."""
    texts: int = Field(64, ge=1)
    """Maximum texts per request; more get 422."""
    chars: int = Field(20_000, ge=1)
    """Maximum characters per text; longer ones get 422."""
    queue: int = Field(256, ge=1)
    """Maximum texts of a key waiting or in progress, per kind of model; further requests get 429."""
    runs: int = Field(8, ge=1)
    """Maximum runs of a key waiting or at work; further requests get 429."""
    runs_at_work: int = Field(16, ge=1)
    """Maximum runs of all keys at work; further ones stay queued, and the keys take turns."""
    campaigns: int = Field(16, ge=1)
    """Maximum campaigns of a key that are not closed; further requests get 429."""
    streams: int = Field(32, ge=1)
    """Maximum event streams of a key; further ones get 429."""
    timeout: float = Field(60, gt=0)
    """Seconds that a summary or score may wait for its turn, and then take, before the request gets 504."""


class ServeConfig(Section):
    """The HTTP service and its page."""

    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own requires `serve.keys`."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0: any free port."""
    folder: str = "runs"
    """Folder of the runs and their records; on a cluster, one that all machines share."""
    keys: str | None = None
    """File with hashed API keys, written by `ray_job.py key`; null: full access for all users of this machine."""
    hosts: tuple[str, ...] = ()
    """Additional host names of the service, such as seqrlhf.example.org."""
    root_path: str = ""
    """Path under which a proxy serves it, such as /seqrlhf, whether or not the proxy removes it from requests."""
    presets: tuple[str, ...] = (
        "quickstart",
        "quickstart_grouped_ppo",
        "quickstart_grpo",
        "quickstart_rloo",
        "quickstart_reinforce_pp",
        "flan_t5_detox",
    )
    """Presets and YAML files that runs may be based on. Requests can use only their models and data."""
    reward_models: tuple[str, ...] = ()
    """Further classifiers that requests may name in a reward, also in that of a running run: directories that all
    machines have under the same path, or hub names."""
    summary_replicas: Count = "1-2"
    """Policy replicas that answer requests: a number, or a span within which it scales with the load."""
    score_replicas: Count = "1-2"
    """Reward model replicas: a number or a span."""
    batch_size: int = Field(32, ge=1)
    """Maximum texts that a replica processes together."""
    batch_wait: float = Field(0.01, ge=0)
    """Seconds that a replica waits for more texts."""
    adapters: int = Field(8, ge=1)
    """Adapters that a policy replica keeps in memory."""
    limits: LimitsConfig = LimitsConfig()
    """Limits on requests."""

    @field_validator("root_path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if not re.fullmatch(r"(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*", value):
            raise ValueError("must be empty or a path such as /seqrlhf, without a slash at the end")
        if value and value.split("/")[1] in ROUTES:
            raise ValueError(f"must not start as a path of the service itself does: /{', /'.join(ROUTES)}")
        return value
