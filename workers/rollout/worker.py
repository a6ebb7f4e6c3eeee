"""Rollout workers: completions sampled from the policy."""

import torch
from transformers import AutoTokenizer

from configs.rollout import RolloutConfig
from learner.family import end_ids
from learner.model_limits import check_vocabulary
from learner.policy import Encoded, Policy
from learner.types import OldPass, PolicyState, Rollouts, WorkUnit
from workers.rollout.sampling import AnyDecoder, reached_end, sample
from workers.rollout.t5_decoder import T5Decoder
from workers.settings import RolloutSettings


class RolloutWorker:
    """Hosts the policy and samples from the version it is given."""

    def __init__(self, settings: RolloutSettings) -> None:
        self.config, self.full = settings.rollout, settings.full_logprobs
        self.tokenizer = AutoTokenizer.from_pretrained(settings.policy.model)
        self.policy = Policy(settings.policy, settings.seed, torch.device(settings.device))
        check_vocabulary("policy.model", self.policy.network, self.tokenizer)
        self.ends = end_ids("policy.model", self.policy.network, self.tokenizer)
        self.decoder = T5Decoder.of(self.policy) or AnyDecoder(self.policy)

    @torch.no_grad()
    def generate(self, unit: WorkUnit, state: PolicyState) -> tuple[Rollouts, OldPass]:
        """One completion per prompt, sampled at temperature 1 from the whole vocabulary, and a pass over them.

        The update starts from this pass, which shares the encoder's work with the sampling.
        """
        self.policy.load(state)
        encoded = self.policy.encode(unit.prompt_ids, unit.prompt_mask, unit.decoder_prefix)
        rollouts = self._sample(unit, state, encoded, self.config)
        forced = self.policy.teacher_forced(encoded, rollouts.completion_ids, rollouts.completion_mask, self.full)
        return rollouts, OldPass(unit.key, forced.logprobs, forced.values, forced.full)

    @torch.no_grad()
    def summarize(self, unit: WorkUnit, state: PolicyState) -> Rollouts:
        """Completions for reports, without a pass to learn from and without `min_cut`; greedy for a greedy unit."""
        self.policy.load(state)
        uncut = self.config.model_copy(update={"min_cut": None})
        encoded = self.policy.encode(unit.prompt_ids, unit.prompt_mask, unit.decoder_prefix)
        return self._sample(unit, state, encoded, uncut)

    def _sample(self, unit: WorkUnit, state: PolicyState, encoded: Encoded, rollout: RolloutConfig) -> Rollouts:
        ids, mask, logprobs = sample(self.decoder, encoded, unit, rollout, self.ends)
        texts = [
            self.tokenizer.decode(row[keep], skip_special_tokens=True) for row, keep in zip(ids, mask, strict=True)
        ]
        return Rollouts(unit, state.version, ids, mask, logprobs, reached_end(ids, mask, self.ends), tuple(texts))
