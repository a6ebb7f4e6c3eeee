"""A service's applications on Ray Serve: one for each kind of model."""

from dataclasses import dataclass

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

KINDS = ("summaries", "scores")
"""Kinds of models, by what they return."""


@dataclass(frozen=True)
class Apps:
    """The applications of a service. Other services on the same cluster have other names, and keep theirs."""

    service: str

    def name(self, kind: str) -> str:
        """Name of the application of a kind."""
        return f"seqrlhf-{self.service}-{kind}"

    def running_replicas(self) -> dict[str, int]:
        """Number of running replicas by kind. Blocks on the cluster: do not call it on an event loop's thread."""
        try:
            apps = serve.status().applications
        except (RayError, RayServeException):
            apps = {}  # Serve's controller is gone
        found = {kind: apps[self.name(kind)].deployments.values() for kind in KINDS if self.name(kind) in apps}
        return {kind: sum(d.replica_states.get("RUNNING", 0) for d in found.get(kind, ())) for kind in KINDS}

    def stop(self) -> None:
        """Stop the replicas of this service, also of an earlier process, and Serve itself if it runs nothing else.

        Serve would otherwise keep importing code from the folder of the process that started it.
        """
        running, own = set(serve.status().applications), set(map(self.name, KINDS))
        if running <= own:
            serve.shutdown()
            return
        for app in running & own:
            serve.delete(app)
