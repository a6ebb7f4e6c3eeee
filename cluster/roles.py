"""The worker of each role: its class, and its settings taken from a run's config and layout."""

from collections.abc import Callable, Mapping

from cluster.layout import Layout
from cluster.pools.interface import WorkerSpec
from configs.schema import Config
from learner.settings import LearnerSettings, PreferenceSettings
from workers.settings import ReferenceSettings, RewardSettings, RolloutSettings

SpecFactory = Callable[[Config, Layout], Mapping[str, WorkerSpec]]
"""Makes the worker specs of a run, by role."""


def worker_specs(config: Config, layout: Layout) -> dict[str, WorkerSpec]:
    """The worker specs of a run, by role."""
    return {
        "rollout": WorkerSpec("workers.rollout.worker:RolloutWorker", rollout_settings(config, layout)),
        "reward": WorkerSpec("workers.reward.worker:RewardWorker", reward_settings(config, layout)),
        "reference": WorkerSpec("workers.reference:ReferenceWorker", reference_settings(config, layout)),
        "learner": WorkerSpec("learner.learner:Learner", learner_settings(config, layout)),
    }


def rollout_settings(config: Config, layout: Layout) -> RolloutSettings:
    """Settings of a rollout worker."""
    return RolloutSettings(config.policy, config.rollout, config.seed, _full_logprobs(config), layout["rollout"].device)


def reward_settings(config: Config, layout: Layout) -> RewardSettings:
    """Settings of a reward worker."""
    return RewardSettings(config.reward, config.evaluation, layout["reward"].device)


def reference_settings(config: Config, layout: Layout) -> ReferenceSettings:
    """Settings of a reference worker."""
    return ReferenceSettings(
        config.policy, config.seed, _full_logprobs(config), layout["reference"].device, config.rollout.temperature
    )


def learner_settings(config: Config, layout: Layout) -> LearnerSettings:
    """Settings of a learner."""
    return LearnerSettings(
        policy=config.policy,
        algorithm=config.algorithm,
        batch_size=config.rollout.batch_size,
        max_new_tokens=config.rollout.max_new_tokens,
        seed=config.seed,
        run_ahead=config.run_ahead,
        temperature=config.rollout.temperature,
        device=layout["learner"].device,
    )


def preference_specs(config: Config, layout: Layout) -> dict[str, WorkerSpec]:
    """The one spec of a run that learns from preferences; `config.steps` is the number of its steps."""
    settings = PreferenceSettings(
        policy=config.policy,
        dpo=config.dpo,
        steps=config.steps,
        seed=config.seed,
        temperature=config.rollout.temperature,
        device=layout["learner"].device,
    )
    return {"learner": WorkerSpec("learner.preferences.learner:PreferenceLearner", settings)}


def _full_logprobs(config: Config) -> bool:
    return config.algorithm.kl_estimator == "full"
