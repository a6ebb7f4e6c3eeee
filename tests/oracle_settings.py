"""What a golden case's config.json means in this project's settings, and what of trl is deliberately not had."""

from typing import Any

KL_PENALTIES = {"kl": "k1", "abs": "abs", "mse": "k2", "full": "full"}
DIRECT = {  # trl's name: ours
    "learning_rate": "learning_rate", "ppo_epochs": "ppo_epochs", "gamma": "gamma", "lam": "gae_lambda",
    "cliprange": "clip_range", "cliprange_value": "value_clip_range", "vf_coef": "vf_coef",
    "max_grad_norm": "max_grad_norm",
}  # fmt: skip
READ = {*DIRECT, "adap_kl_ctrl", "init_kl_coef", "target", "horizon", "kl_penalty", "score_clip", "use_score_scaling",
        "use_score_norm", "early_stopping", "target_kl", "ratio_threshold", "mini_batch_size",
        "gradient_accumulation_steps", "batch_size", "backward_batch_size",
        "global_backward_batch_size", "global_batch_size"}  # fmt: skip
NOT_HAD = {  # the only value that is taken, and why there is no other
    "whiten_rewards": (False, "trl's lets advantages depend on how far the batch is padded"),
    "is_encoder_decoder": (True, "decoder-only models are not supported"),
    "world_size": (1, "one learner computes the update"),
}
WITHOUT_EFFECT = {  # logging, memory, names; the permutations stand for seed
    "compare_steps", "dataset_num_proc", "exp_name", "forward_batch_size", "gradient_checkpointing", "is_peft_model",
    "log_with", "model_name", "optimize_cuda_cache", "optimize_device_cache", "query_dataset", "remove_unused_columns",
    "reward_model", "seed", "steps", "task_name", "total_ppo_epochs", "tracker_project_name",
    "tracker_kwargs", "accelerator_kwargs", "project_kwargs", "push_to_hub_if_best_kwargs",
}  # fmt: skip
ADAM = {"amsgrad": False, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0}


class Refused(Exception):
    """A case that asks for what this project does not have."""


def algorithm_settings(settings: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
    """The `algorithm` section. Raises `Refused` naming the setting that is not had."""
    ppo = settings["ppo"]
    _refuse(settings, steps)
    kl = {"type": "fixed", "coef": ppo["init_kl_coef"]}
    if ppo["adap_kl_ctrl"]:
        kl |= {"type": "adaptive", "target": ppo["target"], "horizon": ppo["horizon"]}
    return {
        "type": "ppo", **{ours: ppo[theirs] for theirs, ours in DIRECT.items()}, "kl": kl,
        "target_kl": ppo["target_kl"] if ppo["early_stopping"] else None,
        "kl_estimator": KL_PENALTIES[ppo["kl_penalty"]],
        "minibatch_size": ppo["mini_batch_size"] * ppo["gradient_accumulation_steps"],
        "scores": {
            "divide_by_std": ppo["use_score_scaling"],
            "subtract_mean": ppo["use_score_scaling"] and ppo["use_score_norm"],  # the second does nothing alone
            "clip": ppo["score_clip"],
        },
    }  # fmt: skip


def _refuse(settings: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    ppo, departs = settings["ppo"], set(settings["departs"])
    for name, (value, reason) in NOT_HAD.items():
        if ppo.get(name, value) != value:
            raise Refused(f"{name}={ppo[name]}: {reason}")
    if unknown := set(ppo) - READ - set(NOT_HAD) - WITHOUT_EFFECT:
        raise Refused(f"unknown settings: {', '.join(sorted(unknown))}")
    if settings["dtype"] not in ("float32", "bfloat16"):
        raise Refused(f"dtype={settings['dtype']}: float32 or bfloat16")
    if ppo["kl_penalty"] not in KL_PENALTIES:
        raise Refused(f"kl_penalty={ppo['kl_penalty']}: unknown")
    if ppo["max_grad_norm"] is not None and "clip_fix" not in departs:
        raise Refused("max_grad_norm without departs.clip_fix: stock trl clips only the first step of its life")
    # Score scaling fails in stock trl: whatever repair the case made is what this project computes.
    known = {"clip_fix", "separate_ref"}
    if (other := departs - known) and not ppo["use_score_scaling"]:
        raise Refused(f"departs.{', departs.'.join(sorted(other))}: unknown")
    if settings["reference"] != "adapter disabled" and "separate_ref" not in departs:
        raise Refused("reference without departs.separate_ref: stock trl ignores it")
    for name, value in ADAM.items():
        if settings["adam"].get(name, value) != value:
            raise Refused(f"adam.{name}={settings['adam'][name]}: Adam is torch's with its defaults")
    if settings["adam"].get("lr", ppo["learning_rate"]) != ppo["learning_rate"]:
        raise Refused("adam.lr differs from ppo.learning_rate")
    for step in steps:
        if len(step["adam_grad_norms"]) * ppo["gradient_accumulation_steps"] != len(step["minibatch_indices"]):
            raise Refused("gradient_accumulation_steps: accelerate forced a step of Adam at every minibatch")
