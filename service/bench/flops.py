"""Floating-point operations of a step, counted from the models' shapes, and the machine's peak rate."""

import time

import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from cluster.layout import LayoutRequest, resolve
from cluster.placement import Machine
from configs.reward_parts import PairReward
from configs.schema import Config
from learner.pretrained import choose_dtype

SIZE, TIMES = 1024, 20


class StepFlops:
    """Floating-point operations of a config's steps, assuming that all workers run on this machine."""

    def __init__(self, config: Config) -> None:
        with torch.device("meta"):
            policy = AutoModelForSeq2SeqLM.from_config(AutoConfig.from_pretrained(config.policy.model))
            self.rewards = [_classifier(config, field, model.model) for field, model in config.reward.models()]
        encoder, embeddings = policy.get_encoder(), policy.get_input_embeddings().weight.numel()
        self.encoder = _weights(encoder) - embeddings
        self.decoder = _weights(policy.get_decoder()) - embeddings + policy.get_output_embeddings().weight.numel()
        self.group_size, self.epochs = config.algorithm.completions_per_prompt, config.algorithm.ppo_epochs
        device = torch.device(resolve(LayoutRequest.of(config), [Machine.here()])["learner"].device)
        dtype = choose_dtype(config.policy.dtype, device)
        self.dtype = str(dtype).removeprefix("torch.")
        self.rate = matmul_rate(dtype, device) * (Machine.here().gpus or Machine.here().cpus)

    def operations(self, prompt: int, new: int) -> float:
        """Operations of a step: `prompt` tokens, counted once per completion, and `new` completion tokens.

        Two per weight and token in a forward pass, and two more for the gradient of a layer's input; frozen weights
        have no gradient of their own. Sampling, its teacher-forced pass, the reference and the reward are forward
        passes. Cross-attention's projections of encoder states are counted per completion token.
        """
        passes = 2 + 2 * self.epochs  # rollout, reference; forward and backward of each epoch
        encoder = passes * self.encoder * prompt / self.group_size
        decoder = (passes + 1) * self.decoder * new
        reward = sum(weights * (new + (prompt if reads_prompt else 0)) for weights, reads_prompt in self.rewards)
        return 2.0 * (encoder + decoder + reward)

    def utilisation(self, prompt: int, new: int, seconds: float) -> float:
        """Share of the machine's peak rate that the step achieved."""
        return self.operations(prompt, new) / (self.rate * seconds)


def _classifier(config: Config, field: str, name: str) -> tuple[int, bool]:
    """Weights of a part's classifier, and whether it reads prompts, too."""
    part = config.reward.parts[field.split(".")[2]]
    model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(name))
    reads_prompt = isinstance(part, PairReward) or part.text == "prompt+completion"
    return _weights(model) - model.get_input_embeddings().weight.numel(), reads_prompt


def _weights(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def matmul_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations per second of a square matrix product on one core or one GPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    a, b = (torch.rand(SIZE, SIZE, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(TIMES):
        began = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - began)
    torch.set_num_threads(threads)
    return 2 * SIZE**3 / best
