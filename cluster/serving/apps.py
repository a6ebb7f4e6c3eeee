"""A service's applications on Ray Serve: one for each kind of model."""

from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException

KINDS = ("summaries", "scores")
"""Kinds of models, by what they return."""


def applications() -> dict[str, dict[str, Any]]:
    """All applications on Ray Serve by name, as its REST API describes them."""
    # Not serve.status(): it pickles classes on the way, which takes up to a second of this process each time.
    client = _get_global_client(raise_if_no_controller_running=False)
    return client.get_serve_details()["applications"] if client else {}


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
            apps = applications()
        except (RayError, RayServeException):
            apps = {}  # Serve's controller is gone
        return {kind: _running(apps.get(self.name(kind), {"deployments": {}})) for kind in KINDS}

    def stop(self) -> None:
        """Stop the replicas of this service, also of an earlier process, and Serve itself if it runs nothing else.

        Serve would otherwise keep importing code from the folder of the process that started it.
        """
        running, own = set(applications()), set(map(self.name, KINDS))
        if running <= own:
            serve.shutdown()
            return
        for app in running & own:
            serve.delete(app)


def _running(app: dict[str, Any]) -> int:
    states = [replica["state"] for deployment in app["deployments"].values() for replica in deployment["replicas"]]
    return states.count("RUNNING")
