"""Beam search, for reports only: what it finds is no sample, so nothing is learned from it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from configs.decoding import BeamSearch
from learner.policy import Encoded, Policy


@torch.no_grad()
def beam_search(
    policy: Policy, encoded: Encoded, config: BeamSearch, length: int, ends: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Completions of at most `length` tokens by transformers' `generate`; ids and mask [B, T], on the CPU.

    The processors of the model's generation config apply, as for anyone who loads the adapter and calls `generate`.
    """
    found = policy.network.generate(
        encoder_outputs=encoded.output(),
        attention_mask=encoded.row_mask().long(),
        num_beams=config.num_beams,
        length_penalty=config.length_penalty,
        max_new_tokens=length,
        eos_token_id=list(ends),
        decoder_input_ids=encoded.prefix,
        do_sample=False,
        num_return_sequences=1,
        return_dict_in_generate=False,
    )
    ids = found[:, encoded.prefix.shape[1] :].cpu()
    at_end = torch.isin(ids, torch.tensor(ends)).long()
    return ids, at_end.cumsum(dim=1) - at_end == 0
