"""Estimated memory of a run, from the shapes of its models alone."""

import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from cluster.layout import ROLES, Layout
from configs.schema import Config
from learner.pretrained import DTYPES, META, choose_dtype

LIBRARIES = 570e6
"""Bytes used by a process that has loaded torch, transformers and peft and run a tiny model: 568-588 MB measured."""


def estimate(config: Config, layout: Layout) -> dict[str, float]:
    """Peak bytes of one worker, by role.

    Within 30% of measured peaks on a CPU (the quickstart's models, and FLAN-T5-base with RoBERTa-base).
    """
    policy = _shape(config.policy.model, AutoModelForSeq2SeqLM)
    width = {role: _bytes_per_weight(config.policy.dtype, layout[role].device) for role in ROLES}
    tokens, rollout = config.data.max_prompt_tokens + config.rollout.max_new_tokens, config.rollout
    algorithm = config.algorithm
    logits = 4.0 * policy["vocabulary"] * rollout.max_new_tokens  # of one completion, in float32
    hidden = tokens * policy["width"] * policy["layers"]
    rows = algorithm.microbatch_size or algorithm.minibatch_size
    return {
        # Past keys and values of every layer; the cumulative distribution in double precision.
        "rollout": LIBRARIES
        + width["rollout"] * policy["weights"]
        + rollout.unit_size * (2 * width["rollout"] * hidden + 24 * policy["vocabulary"] + 2 * logits),
        "reward": LIBRARIES + _of_rewards(config, layout["reward"].device, min(tokens, 512)),
        "reference": LIBRARIES + width["reference"] * policy["weights"] + rollout.unit_size * 2 * logits,
        # Logits, their log-softmax and the gradients of both; about twelve activations per layer.
        "learner": LIBRARIES + width["learner"] * policy["weights"] + 4 * rows * logits + 12 * 4 * rows * hidden,
    }


def total(layout: Layout, per_worker: dict[str, float]) -> float:
    """Peak bytes of the driver and all workers that a run starts with."""
    return LIBRARIES + sum(amount * layout[role].fewest for role, amount in per_worker.items())


def _shape(name: str, kind: type = AutoModelForSequenceClassification) -> dict[str, float]:
    """Numbers of weights, vocabulary entries, hidden units and layers, found without loading weights."""
    config = AutoConfig.from_pretrained(name)
    with META:
        model = kind.from_config(config)
    vocabulary, width = model.get_input_embeddings().weight.shape
    # Models composed of an encoder and a decoder model have a config for each.
    parts = [config, *(part for part in (getattr(config, "encoder", None), getattr(config, "decoder", None)) if part)]
    layers = ("num_hidden_layers", "num_decoder_layers", "decoder_layers")
    return {
        "weights": sum(p.numel() for p in model.parameters()),
        "vocabulary": vocabulary,
        "width": max(width, *(getattr(part, "hidden_size", 0) or 0 for part in parts)),
        "layers": sum(getattr(part, key, 0) or 0 for part in parts for key in layers),
    }


def _of_rewards(config: Config, device: str, tokens: int) -> float:
    """Bytes of the reward's classifiers, and of the activations of the widest: they run one after another."""
    models = [model for _, model in config.reward.models()]
    shapes = [_shape(model.model) for model in models]
    pairs = zip(models, shapes, strict=True)
    weights = sum(_bytes_per_weight(model.dtype, device) * shape["weights"] for model, shape in pairs)
    return weights + config.rollout.unit_size * 8 * 4 * tokens * max((shape["width"] for shape in shapes), default=0)


def _bytes_per_weight(dtype: str, device: str) -> int:
    return 4 if DTYPES["float32"] == choose_dtype(dtype, torch.device(device)) else 2
