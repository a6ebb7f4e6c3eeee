"""The policy: a frozen encoder-decoder model, LoRA adapters on it and a value head.

Owns the one definition of a log-probability that learner and reference share. Knows nothing of rewards or algorithms.
"""

from typing import NamedTuple

import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM

from configs import schema
from learner.adapter import lora_config
from learner.pretrained import choose_dtype
from learner.seeds import seed_from
from learner.types import PolicyState, Tensors

CPU = torch.device("cpu")


class Forward(NamedTuple):
    """One teacher-forced pass."""

    logprobs: Tensor  # [B, T], log p of each completion token
    logits: Tensor  # [B, T, V], float32
    values: Tensor  # [B, T], of the state in which each token is chosen


class Policy(nn.Module):
    """The policy of whatever `PolicyState` was loaded last.

    Dropout is off throughout, so that old and new log-probabilities differ by the update alone.
    """

    def __init__(self, config: schema.Policy, seed: int, device: torch.device = CPU) -> None:
        super().__init__()
        dtype = choose_dtype(config.dtype, device)
        # On a CPU, where a decode step has one query row, plain products beat the fused kernel.
        base = AutoModelForSeq2SeqLM.from_pretrained(config.model, dtype=dtype, attn_implementation="eager")
        torch.manual_seed(seed_from(seed, "policy"))
        self.peft = _with_adapter(base, config)
        self.network = self.peft.get_base_model()  # the same layers without peft's wrapper around forward()
        self.value_head = nn.Linear(_width(base), 1)
        self.eval().to(device)
        self._version: int | None = None

    def trainable(self) -> dict[str, nn.Parameter]:
        """LoRA tensors and value head by name, in the order in which the optimizer holds them."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def load(self, state: PolicyState, cached: bool = True) -> None:
        """Become the policy of `state`; free where it was loaded last and, as `cached` says, not changed since."""
        if not cached or state.version != self._version:
            set_peft_model_state_dict(self.peft, dict(state.adapter))
            self.value_head.load_state_dict(state.value_head)
            self._version = state.version

    def state(self, version: int) -> PolicyState:
        """A copy of what is trained, on the CPU."""
        return PolicyState(
            version,
            _copy(get_peft_model_state_dict(self.peft, save_embedding_layers=False)),
            _copy(self.value_head.state_dict()),
        )

    def encode(self, prompt_ids: Tensor, prompt_mask: Tensor) -> Tensor:
        """Hidden states of the encoder, [B, S, d_model]."""
        return self.network.get_encoder()(input_ids=prompt_ids, attention_mask=prompt_mask.long()).last_hidden_state

    def forward(self, prompt_ids: Tensor, prompt_mask: Tensor, completion_ids: Tensor) -> Forward:
        """Teacher-forced pass: column t is about completion token t given the prompt and the tokens before it.

        The decoder reads the completion shifted right by one behind its start token, which is no part of a completion.
        """
        prompt_ids, prompt_mask, completion_ids = (x.to(self.device) for x in (prompt_ids, prompt_mask, completion_ids))
        start = completion_ids.new_full((len(completion_ids), 1), self.start_token_id)
        out = self.network(
            input_ids=prompt_ids,
            attention_mask=prompt_mask.long(),
            decoder_input_ids=torch.cat([start, completion_ids[:, :-1]], dim=1),
            output_hidden_states=True,
            use_cache=False,
        )
        logits = out.logits.float()
        logprobs = logits.log_softmax(dim=-1).gather(2, completion_ids.unsqueeze(2)).squeeze(2)
        values = self.value_head(out.decoder_hidden_states[-1].float()).squeeze(2)
        return Forward(logprobs, logits, values)

    @torch.no_grad()
    def fingerprint(self) -> list[float]:
        """Log-probabilities of eight fixed tokens: other weights give others, other hardware nearly the same."""
        ids = torch.arange(1, 9).unsqueeze(0)
        return self(ids, torch.ones_like(ids, dtype=torch.bool), ids).logprobs.squeeze(0).tolist()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.value_head.weight.device

    @property
    def start_token_id(self) -> int:
        """What the decoder reads before the first token."""
        return self.network.config.decoder_start_token_id

    def parameter_counts(self) -> dict[str, int]:
        """Trainable and total parameters of the model with its adapter, and trainable ones with the value head."""
        trainable, total = self.peft.get_nb_trainable_parameters()
        head = sum(p.numel() for p in self.value_head.parameters())
        return {"trainable": trainable, "total": total, "trainable_with_value_head": trainable + head}


def _with_adapter(base: nn.Module, config: schema.Policy) -> PeftModel:
    if config.adapter:
        return PeftModel.from_pretrained(base, config.adapter, is_trainable=True)
    return get_peft_model(base, lora_config(config))


def _width(base: nn.Module) -> int:
    return base.get_output_embeddings().in_features


def _copy(tensors: Tensors) -> Tensors:
    return {name: t.detach().to("cpu", copy=True) for name, t in tensors.items()}
