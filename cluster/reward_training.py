"""A reward model from preferences on Ray Train: each model of the plan in turn, then their measures."""

from pathlib import Path

from torch import distributed

from cluster.ray_train import TrainJob, run
from cluster.reward_plan import RewardPlan, body
from cluster.reward_result import write_result
from configs.schema import Config
from learner.settings import RewardModelSettings


def run_reward_training(config: Config, folder: Path) -> None:
    """Train, on Ray or in this process, and write the result to the folder, to which all workers need access.

    Raises `UsageError` if the workers do not fit the cluster, `RunError` if training fails.
    """
    run(TrainJob("training the reward model", "reward_training", _train), config, folder)


def _train(config: Config, folder: Path, device: str) -> None:
    from learner.preferences.reward_model import fit  # here, because trl takes a second to load

    plan = RewardPlan.of(config)
    settings = RewardModelSettings(body(config), config.reward_training, device)
    held_out = plan.reader.read(plan.split.held_out)
    for training in plan.trainings():
        fit(settings, training, held_out, folder)
    if not distributed.is_initialized() or distributed.get_rank() == 0:
        write_result(plan, folder, device)
