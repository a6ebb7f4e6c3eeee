"""Rollout workers: completions sampled from the policy."""

from dataclasses import replace

import torch
from transformers import AutoTokenizer

from configs.decoding import BeamSearch
from learner.family import end_ids
from learner.model_limits import check_vocabulary
from learner.policy import Encoded, Policy
from learner.types import OldPass, PolicyState, Rollouts, WorkUnit
from workers.rollout.beam_search import beam_search
from workers.rollout.sampling import AnyDecoder, Completions, reached_end, sample
from workers.rollout.t5_decoder import T5Decoder
from workers.settings import RolloutSettings


class RolloutWorker:
    """Hosts the policy and samples from the version it is given."""

    def __init__(self, settings: RolloutSettings) -> None:
        self.config, self.full = settings.rollout, settings.full_logprobs
        self.tokenizer = AutoTokenizer.from_pretrained(settings.policy.model)
        device, temperature = torch.device(settings.device), settings.rollout.temperature
        self.policy = Policy(settings.policy, settings.seed, device, temperature)
        check_vocabulary("policy.model", self.policy.network, self.tokenizer)
        self.ends = end_ids("policy.model", self.policy.network, self.tokenizer)
        self.decoder = T5Decoder.of(self.policy) or AnyDecoder(self.policy)

    @torch.no_grad()
    def generate(self, unit: WorkUnit, state: PolicyState) -> tuple[Rollouts, OldPass]:
        """One completion per prompt, sampled from the distribution that the settings name, and a pass over them.

        The update starts from this pass, which shares the encoder's work with the sampling.
        """
        self.policy.load(state)
        encoded = self.policy.encode(unit.prompt_ids, unit.prompt_mask, unit.decoder_prefix)
        rollouts = self._rollouts(unit, state, sample(self.decoder, encoded, unit, self.config, self.ends))
        forced = self.policy.teacher_forced(encoded, rollouts, self.full)
        return rollouts, OldPass(unit.key, forced.logprobs, forced.values, forced.full)

    @torch.no_grad()
    def summarize(self, unit: WorkUnit, state: PolicyState) -> Rollouts:
        """Completions for reports by the unit's decoding, without a pass to learn from and without `min_cut`."""
        self.policy.load(state)
        encoded = self.policy.encode(unit.prompt_ids, unit.prompt_mask, unit.decoder_prefix)
        if isinstance(unit.decoding, BeamSearch):
            return self._search(unit, state, encoded, unit.decoding)
        uncut = self.config.model_copy(update={"min_cut": None})
        return self._rollouts(unit, state, sample(self.decoder, encoded, unit, uncut, self.ends))

    def _search(self, unit: WorkUnit, state: PolicyState, encoded: Encoded, decoding: BeamSearch) -> Rollouts:
        ids, mask = beam_search(self.policy, encoded, decoding, self.config.max_new_tokens, self.ends)
        whole = torch.zeros(*ids.shape, 0, dtype=torch.uint8)
        found = self._rollouts(unit, state, Completions(ids, mask, torch.zeros(ids.shape), whole))
        return replace(found, logprobs=self.policy.teacher_forced(encoded, found).logprobs)

    def _rollouts(self, unit: WorkUnit, state: PolicyState, found: Completions) -> Rollouts:
        texts = [
            self.tokenizer.decode(row[keep], skip_special_tokens=True)
            for row, keep in zip(found.ids, found.mask, strict=True)
        ]
        ended = reached_end(found.ids, found.mask, self.ends)
        return Rollouts(unit, state.version, *found, ended, tuple(texts))
