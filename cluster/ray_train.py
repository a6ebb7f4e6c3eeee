"""A function in as many processes as a config requests, by Ray Train."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from transformers.utils import logging

from cluster.layout import LayoutRequest, resolve
from cluster.placement import Machine, fits, total
from cluster.ray_cluster import connected
from configs.errors import RunError, UsageError
from configs.load import validate
from configs.schema import Config
from learner.pretrained import one_line

Train = Callable[[Config, Path, str], None]
"""Config, folder and device -> writes its result to the folder. It begins at its newest checkpoint there."""


@dataclass(frozen=True)
class TrainJob:
    """What is run, and in how many processes."""

    title: str  # for messages
    section: str  # of the config, which has a setting `workers`
    train: Train


def run(job: TrainJob, config: Config, folder: Path) -> None:
    """Train, on Ray or in this process; all workers need access to the folder.

    Raises `UsageError` if the workers do not fit the cluster, `RunError` if training fails.
    """
    folder = folder.resolve()
    if config.cluster.backend == "inline":
        _run_here(job, config, folder)
        return
    with connected(config.cluster.address) as machines:
        try:
            _trainer(job, config, folder, machines).fit()
        except UsageError:
            raise
        except Exception as error:  # Ray Train has an exception type for each kind of failure
            reason = [line for line in str(error).splitlines() if line.strip()][-1]
            raise RunError(f"{job.title} failed: {reason}") from error


def _run_here(job: TrainJob, config: Config, folder: Path) -> None:
    device = resolve(LayoutRequest.of(config), [Machine.here()])["learner"].device
    try:
        _train(job.train, config, folder, device)
    except (UsageError, RunError, OSError):
        raise
    except Exception as error:  # a model of another kind may fail in any way
        raise RunError(f"{job.title} failed: {one_line(error)}") from error


def _trainer(job: TrainJob, config: Config, folder: Path, machines: Sequence[Machine]) -> TorchTrainer:
    share = _share(config, machines)
    return TorchTrainer(
        train_loop,
        train_loop_config={
            "train": job.train,
            "config": config.model_dump(mode="json"),
            "folder": str(folder),
            "root": str(Path.cwd()),
            "device": "cuda" if share[1] else "cpu",
        },
        scaling_config=_scaling(job.section, getattr(config, job.section).workers, share, machines),
        torch_config=TorchConfig(backend="nccl" if share[1] else "gloo"),
        # The loss of one worker stops all of them; they restart from the newest checkpoint.
        run_config=RunConfig(
            name="train",
            storage_path=str(folder / "ray"),
            failure_config=FailureConfig(max_failures=config.cluster.attempts - 1),
        ),
    )


def _share(config: Config, machines: Sequence[Machine]) -> tuple[float, float]:
    """CPUs and GPUs of a worker: as many as a learner has, but a whole GPU if a learner has any share of one."""
    learner = resolve(LayoutRequest.of(config), machines)["learner"]
    cpus = learner.threads if config.cluster.resources.learner.cpus == "auto" else learner.cpus
    return cpus, int(learner.gpus > 0)


def _scaling(section: str, workers: int, share: tuple[float, float], machines: Sequence[Machine]) -> ScalingConfig:
    cpus, gpus = share
    if not fits([share] * workers, machines):
        raise UsageError(
            f"{section}.workers: {workers} workers with {cpus:g} CPU and {gpus:g} GPU each do not fit the "
            f"cluster, which has {total(machines)}; lower {section}.workers or cluster.resources.learner.cpus"
        )
    resources = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
    return ScalingConfig(num_workers=workers, use_gpu=bool(gpus), resources_per_worker=resources)


def train_loop(settings: dict) -> None:
    """Train in one worker of Ray Train; `settings` is its `train_loop_config`."""
    os.chdir(settings["root"])  # Ray Train changes the current folder, but paths of models and data may be relative
    _train(settings["train"], validate(settings["config"]), Path(settings["folder"]), settings["device"])


def _train(train: Train, config: Config, folder: Path, device: str) -> None:
    logging.set_verbosity_error()
    torch.set_num_threads(config.cluster.resources.learner.threads)
    train(config, folder, device)
