"""How much memory a run will take, about, from the shapes of its models alone."""

from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from cluster.layout import ROLES, workers_of
from configs.schema import Config
from learner.pretrained import DTYPES, META, choose_dtype, device_of

LIBRARIES = 570e6
"""Bytes of a process that has loaded torch, transformers and peft and run a tiny model once: 568-588 MB measured."""


def estimate(config: Config) -> dict[str, float]:
    """Bytes that one worker of each role takes at its most, for a resolved config.

    Within 30% of the peaks of real processes on a CPU (the quickstart's models, and FLAN-T5-base with RoBERTa-base).
    """
    policy, reward = _shape(config.policy.model, AutoModelForSeq2SeqLM), _shape(config.reward.model)
    width = {role: _bytes_per_weight(config, role) for role in ROLES}
    tokens, rollout = config.data.max_prompt_tokens + config.rollout.max_new_tokens, config.rollout
    algorithm = config.algorithm
    logits = 4.0 * policy["vocabulary"] * rollout.max_new_tokens  # of one completion, in float32
    hidden = tokens * policy["width"] * policy["layers"]
    rows = algorithm.microbatch_size or algorithm.minibatch_size
    return {
        # Past keys and values of every layer; the distribution function in double precision.
        "rollout": LIBRARIES
        + width["rollout"] * policy["weights"]
        + rollout.unit_size * (2 * width["rollout"] * hidden + 24 * policy["vocabulary"] + 2 * logits),
        "reward": LIBRARIES
        + width["reward"] * reward["weights"]
        + rollout.unit_size * 8 * 4 * reward["width"] * min(tokens, 512),
        "reference": LIBRARIES + width["reference"] * policy["weights"] + rollout.unit_size * 2 * logits,
        # Logits, their log-softmax and the gradients of both; about twelve activations a layer.
        "learner": LIBRARIES + width["learner"] * policy["weights"] + 4 * rows * logits + 12 * 4 * rows * hidden,
    }


def total(config: Config, each: dict[str, float]) -> float:
    """Bytes of all workers that a resolved config starts with, and of the driver."""
    return LIBRARIES + sum(amount * workers_of(config, role)[0] for role, amount in each.items())


def _shape(name: str, kind: type = AutoModelForSequenceClassification) -> dict[str, float]:
    """Numbers of weights, vocabulary, width and layers, without the weights."""
    config = AutoConfig.from_pretrained(name)
    with META:
        model = kind.from_config(config)
    vocabulary, width = model.get_input_embeddings().weight.shape
    # Models that are made of two others have a config of each.
    parts = [config, *(part for part in (getattr(config, "encoder", None), getattr(config, "decoder", None)) if part)]
    layers = ("num_hidden_layers", "num_decoder_layers", "decoder_layers")
    return {
        "weights": sum(p.numel() for p in model.parameters()),
        "vocabulary": vocabulary,
        "width": max(width, *(getattr(part, "hidden_size", 0) or 0 for part in parts)),
        "layers": sum(getattr(part, key, 0) or 0 for part in parts for key in layers),
    }


def _bytes_per_weight(config: Config, role: str) -> int:
    device = device_of(getattr(config.cluster.resources, role))
    setting = config.reward.dtype if role == "reward" else config.policy.dtype
    return 4 if DTYPES["float32"] == choose_dtype(setting, device) else 2
