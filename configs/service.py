"""The settings of the service: `ray_job.py serve`."""

from pydantic import Field

from configs.base import Section
from configs.cluster import Count


class Limits(Section):
    """What one client may ask for, so that nobody else goes without."""

    body_bytes: int = Field(1_000_000, ge=1)
    """Largest body of a request; more is refused (413)."""
    texts: int = Field(64, ge=1)
    """Texts in one request; more are refused (422)."""
    chars: int = Field(20_000, ge=1)
    """Characters of a text; more are refused (422)."""
    queue: int = Field(256, ge=1)
    """Texts that may wait for or be under way in a kind of model; beyond that clients are told to come again (429)."""
    runs: int = Field(16, ge=1)
    """Runs that may wait or be at work; beyond that clients are told to come again (429)."""
    timeout: float = Field(60, gt=0)
    """Seconds that a summary or score may take before the client is told that it took too long (504)."""


class Serve(Section):
    """The service over HTTP and its page."""

    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs `serve.keys`."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0: any that is free."""
    folder: str = "runs"
    """Where runs and the record of them are; on a cluster a folder that all machines see."""
    keys: str | None = None
    """File with the hashes of keys, as `ray_job.py key` writes it; null: all on this machine may do everything."""
    hosts: tuple[str, ...] = ()
    """Further names that the service is reached by, such as seqrlhf.example.org."""
    presets: tuple[str, ...] = (
        "quickstart",
        "quickstart_grouped_ppo",
        "quickstart_grpo",
        "quickstart_rloo",
        "quickstart_reinforce_pp",
        "flan_t5_detox",
    )
    """Presets and YAML files that runs may be based on. Their models and data, and no others, can be asked for."""
    summary_replicas: Count = "1-2"
    """Replicas of the policy that answer: a number, or a span in which it follows the requests."""
    score_replicas: Count = "1-2"
    """The same of the reward model."""
    batch_size: int = Field(16, ge=1)
    """Texts that a replica takes up together."""
    batch_wait: float = Field(0.01, ge=0)
    """Seconds that it waits for further ones."""
    adapters: int = Field(8, ge=1)
    """Adapters that a replica of the policy keeps at hand."""
    limits: Limits = Limits()
    """What one client may ask for."""
