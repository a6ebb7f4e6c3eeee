"""Settings of the service: `ray_job.py serve`."""

from pydantic import Field

from configs.base import Section
from configs.cluster import Count


class LimitsConfig(Section):
    """Limits on requests, so that no client can block the others."""

    body_bytes: int = Field(1_000_000, ge=1)
    """Largest request body in bytes; a larger one gets 413."""
    texts: int = Field(64, ge=1)
    """Texts per request; more get 422."""
    chars: int = Field(20_000, ge=1)
    """Characters per text; more get 422."""
    queue: int = Field(256, ge=1)
    """Texts waiting or being processed, per kind of model; further requests get 429 with Retry-After."""
    runs: int = Field(16, ge=1)
    """Runs waiting or running; further requests get 429 with Retry-After."""
    timeout: float = Field(60, gt=0)
    """Seconds that a summary or score may take; after that the request gets 504."""


class ServeConfig(Section):
    """The HTTP service and its page."""

    host: str = "127.0.0.1"
    """Address to listen on; any but a loopback address requires `serve.keys`."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0: any free port."""
    folder: str = "runs"
    """Folder for runs and their records; on a cluster it must be shared by all machines."""
    keys: str | None = None
    """File with hashes of keys, written by `ray_job.py key`; null: no keys, every local user has all scopes."""
    hosts: tuple[str, ...] = ()
    """Additional host names that the service is reached by, such as seqrlhf.example.org."""
    presets: tuple[str, ...] = (
        "quickstart",
        "quickstart_grouped_ppo",
        "quickstart_grpo",
        "quickstart_rloo",
        "quickstart_reinforce_pp",
        "flan_t5_detox",
    )
    """Presets and YAML files that runs can be based on. Runs can use the models and data that these name, no others."""
    summary_replicas: Count = "1-2"
    """Replicas of the policy: a number, or a range within which it scales with the load."""
    score_replicas: Count = "1-2"
    """Replicas of the reward model, likewise."""
    batch_size: int = Field(16, ge=1)
    """Largest batch of texts that a replica processes at once."""
    batch_wait: float = Field(0.01, ge=0)
    """Seconds that a replica waits for a batch to fill."""
    adapters: int = Field(8, ge=1)
    """Adapters that a replica of the policy keeps loaded."""
    limits: LimitsConfig = LimitsConfig()
    """Limits on requests."""
