"""Prometheus metrics of runs: their number by state, and the newest step of each run that has not ended."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.http.runs.service import RunService
from service.http.runs.store import STATES
from service.run.step_log import newest_step

GAUGES = {
    "step": "step",
    "reward": "reward/mean",
    "toxicity": "watch/toxicity",
    "kl": "objective/kl",
    "rouge_l": "watch/rougeL",
    "tokens_per_second": "time/tokens_per_second",
    "step_seconds": "time/step",
}
"""Gauges `seqrlhf_run_*` and the metrics of the newest step that they show."""


class RunMetrics(Collector):
    """Reads records and newest steps whenever Prometheus scrapes. Runs that have ended have no series."""

    def __init__(self, runs: RunService) -> None:
        self.runs = runs

    def collect(self) -> Iterator[Metric]:
        """Numbers of runs by state, then gauges by run."""
        records = self.runs.store.newest()
        states = GaugeMetricFamily("seqrlhf_runs", "Runs", labels=["state"])
        for state in STATES:
            states.add_metric([state], sum(record.state == state for record in records))
        yield states
        newest = {record.id: newest_step(self.runs.folder(record.id)) for record in records if not record.ended}
        for name, metric in GAUGES.items():
            gauge = GaugeMetricFamily(f"seqrlhf_run_{name}", f"Newest {metric} of a run", labels=["run"])
            for run, step in newest.items():
                if step and isinstance(step.get(metric), int | float):
                    gauge.add_metric([run], step[metric])
            yield gauge


def run_metrics(runs: RunService) -> bytes:
    """The metrics of runs in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(RunMetrics(runs))
    return generate_latest(registry)
