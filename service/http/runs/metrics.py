"""Figures of runs for Prometheus: how many there are in each state, and how those at work are doing."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.http.runs.service import Runs
from service.http.runs.store import STATES
from service.run.step_log import newest_step

SHOWN = {
    "reward": "ppo/mean_scores",
    "toxicity": "toxicity/mean",
    "kl": "objective/kl",
    "rouge_l": "watch/rougeL",
    "tokens_per_second": "time/tokens_per_second",
    "step_seconds": "time/step",
}
"""Names of the newest step's metrics here, and in the run's steps."""


class RunFigures(Collector):
    """Looks at the record and the newest steps when it is asked. Only runs that have not ended have series."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    def collect(self) -> Iterator[Metric]:
        """Gauges by state, and by run."""
        records = self.runs.registry.newest()
        states = GaugeMetricFamily("seqrlhf_runs", "Runs", labels=["state"])
        for state in STATES:
            states.add_metric([state], sum(record.state == state for record in records))
        yield states
        newest = {record.id: newest_step(self.runs.folder(record.id)) for record in records if not record.ended}
        for name, metric in ({"step": "step"} | SHOWN).items():
            gauge = GaugeMetricFamily(f"seqrlhf_run_{name}", f"Newest {metric} of a run", labels=["run"])
            for run, step in newest.items():
                if step and step.get(metric) is not None:
                    gauge.add_metric([run], step[metric])
            yield gauge


def run_figures(runs: Runs) -> bytes:
    """In Prometheus' format."""
    registry = CollectorRegistry()
    registry.register(RunFigures(runs))
    return generate_latest(registry)
