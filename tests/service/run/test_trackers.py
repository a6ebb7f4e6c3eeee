"""Trackers are a setting: missing ones are named, and one that fails does not end the run."""

import importlib.util

import pytest

import ray_job
from service.run.trackers import Trackers
from tests.conftest import small_arguments, small_config


def test_a_tracker_that_is_not_installed_is_named_with_its_remedy(capsys):
    absent = [name for name in ("wandb", "mlflow", "trackio") if importlib.util.find_spec(name) is None]
    if not absent:
        pytest.skip("all trackers are installed")
    assert ray_job.main(small_arguments(trackers=f'["{absent[0]}"]')) == 2
    assert (
        f"trackers: {absent[0]} is not installed; install it with: pip install {absent[0]}" in capsys.readouterr().err
    )


class Broken:
    """A tracker whose server has gone away."""

    def __init__(self):
        self.asked = 0

    def log(self, values, step):
        self.asked += 1
        raise ConnectionError("no route to host")


def test_one_that_fails_is_reported_once_and_dropped(tmp_path):
    said = []
    trackers = Trackers(small_config(), tmp_path, said.append)
    trackers.open["wandb"] = broken = Broken()
    for step in range(3):
        trackers.log({"objective/kl": 0.0}, step)
    trackers.close()
    assert broken.asked == 1 and said == ["trackers: wandb failed and is no longer used: no route to host"]


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_metrics_reach_a_tracker_that_is_installed(name, tmp_path, monkeypatch):
    for key, value in {"WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
                       "TRACKIO_DIR": str(tmp_path / "trackio")}.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    pytest.importorskip(name)  # after that: trackio looks where to write when it is loaded
    assert ray_job.main(small_arguments(trackers=f'["{name}"]', out=tmp_path / "run", steps=1)) == 0
    if name == "mlflow":
        import mlflow

        [run] = mlflow.search_runs(experiment_names=["seqrlhf"], output_format="list")
        assert run.data.metrics["objective/kl"] == 0 and run.data.params["steps"] == "1"
    elif name == "wandb":
        assert list((tmp_path / "run/wandb").glob("offline-run-*"))
    else:
        assert list((tmp_path / "trackio").glob("seqrlhf*.db"))
