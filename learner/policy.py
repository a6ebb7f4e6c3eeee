"""The policy: a frozen encoder-decoder model, LoRA adapters on it and a value head.

Owns the one definition of a log-probability that learner and reference share. Knows nothing of rewards or algorithms.
"""

from typing import NamedTuple

import torch
from peft import get_peft_model_state_dict
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM
from transformers.activations import NewGELUActivation
from transformers.modeling_outputs import BaseModelOutput

from configs.policy import PolicyConfig
from learner.adapter import read_value_head
from learner.lora import with_adapter
from learner.pretrained import load_model
from learner.seeds import seed_from
from learner.tensors import buckets, pad_cat, width
from learner.types import Forward, PolicyState, Tensors

CPU = torch.device("cpu")


class Encoded(NamedTuple):
    """The encoder's part of a pass: P different prompts for B sequences."""

    states: Tensor  # [P, S, d_model]
    mask: Tensor  # [P, S]
    place: Tensor  # [B], which of the P each sequence has

    def rows(self) -> Tensor:
        """A sequence each, [B, S, d_model]."""
        return self.states.index_select(0, self.place)  # whose gradient has the same bits for any number of threads

    def row_mask(self) -> Tensor:
        """The same of the mask, [B, S]."""
        return self.mask[self.place]

    def select(self, rows: Tensor) -> "Encoded":
        """That of some of the sequences, as wide as the longest prompt of these."""
        kept, place = self.place[rows].unique(return_inverse=True)
        end = width(self.mask[kept])
        return Encoded(self.states[kept, :end], self.mask[kept, :end], place)


class Policy(nn.Module):
    """The policy of whatever `PolicyState` was loaded last.

    Dropout is off throughout, so that old and new log-probabilities differ by the update alone.
    """

    def __init__(self, config: PolicyConfig, seed: int, device: torch.device = CPU) -> None:
        """Raises `UsageError` for a model or an adapter that cannot be the policy; on `META` too, in a moment."""
        super().__init__()
        # On a CPU, where a decode step has one query row, plain products beat the fused kernel.
        eager = {"attn_implementation": "eager"}
        base = load_model(AutoModelForSeq2SeqLM, "policy.model", config.model, device, config.dtype, **eager)
        base = _with_fused_gelu(base)
        torch.manual_seed(seed_from(seed, "policy"))
        self.peft = with_adapter(base, config)
        self.network = self.peft.get_base_model()  # the same layers without peft's wrapper around forward()
        self.value_head = nn.Linear(_width(base), 1)
        self.value_head_kept = bool(config.adapter) and read_value_head(
            "policy.adapter", config.adapter, self.value_head
        )
        self.eval().to(device)
        self.adapter = self._saved_tensors()
        self._version: int | None = None

    def trainable(self) -> dict[str, nn.Parameter]:
        """LoRA tensors and value head by name, in the order in which the optimizer holds them."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def load(self, state: PolicyState, cached: bool = True) -> None:
        """Become the policy of `state`; free where it was loaded last and, as `cached` says, not changed since."""
        if not cached or state.version != self._version:
            _overwrite(self.adapter, state.adapter)
            _overwrite(self.value_head.state_dict(), state.value_head)
            self._version = state.version

    def state(self, version: int) -> PolicyState:
        """A copy of what is trained, on the CPU."""
        return PolicyState(version, _copy(self.adapter), _copy(self.value_head.state_dict()))

    def encode(self, prompt_ids: Tensor, prompt_mask: Tensor) -> Encoded:
        """The encoder's pass over the prompts [B, S]; over neighbours that are the same, as those of a group, once."""
        prompt_ids, prompt_mask = prompt_ids.to(self.device), prompt_mask.to(self.device)
        _, place, copies = torch.cat([prompt_ids, prompt_mask], dim=1).unique_consecutive(
            dim=0, return_inverse=True, return_counts=True
        )
        first = copies.cumsum(0) - copies
        prompt_ids, prompt_mask = prompt_ids[first], prompt_mask[first]
        found = [(rows, self._encode(prompt_ids[rows], prompt_mask[rows])) for rows in buckets(prompt_mask.sum(1))]
        states = pad_cat([of for _, of in found], prompt_ids.shape[1])
        return Encoded(states[torch.cat([rows for rows, _ in found]).argsort()], prompt_mask, place)

    def _encode(self, prompt_ids: Tensor, prompt_mask: Tensor) -> Tensor:
        """Hidden states [P, S, d_model], without the columns that are padding in every row."""
        end = width(prompt_mask)
        encoder = self.network.get_encoder()
        return encoder(input_ids=prompt_ids[:, :end], attention_mask=prompt_mask[:, :end].long()).last_hidden_state

    def decode(self, encoded: Encoded, completion_ids: Tensor) -> Forward:
        """The decoder's teacher-forced pass: column t is about completion token t given the prompt and those before it.

        The decoder reads the completion shifted right by one behind its start token, which is no part of a completion.
        """
        completion_ids = completion_ids.to(self.device)
        start = completion_ids.new_full((len(completion_ids), 1), self.start_token_id)
        out = self.network(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded.rows()),
            attention_mask=encoded.row_mask().long(),
            decoder_input_ids=torch.cat([start, completion_ids[:, :-1]], dim=1),
            output_hidden_states=True,
            use_cache=False,
        )
        full = out.logits.float().log_softmax(dim=-1)
        logprobs = full.gather(2, completion_ids.unsqueeze(2)).squeeze(2)
        values = self.value_head(out.decoder_hidden_states[-1].float()).squeeze(2)
        return Forward(logprobs, full, values)

    @torch.no_grad()
    def recall(self, encoded: Encoded, completion_ids: Tensor, mask: Tensor, full: bool = False) -> Forward:
        """The pass over completions of different lengths, on the CPU, nothing of it to be learned from.

        `full` says whether the log-probabilities of all tokens are wanted; else they are [B, T, 0].
        """
        parts, rows = [], buckets(mask.sum(dim=1))
        for some in rows:
            part = self.decode(encoded.select(some.to(self.device)), completion_ids[some, : width(mask[some])])
            parts.append(Forward(*[x.cpu() for x in part._replace(full=part.full[:, :, : None if full else 0])]))
        order = torch.cat(rows).argsort()
        return Forward(*[pad_cat(list(column), mask.shape[1])[order] for column in zip(*parts, strict=True)])

    def forward(self, prompt_ids: Tensor, prompt_mask: Tensor, completion_ids: Tensor) -> Forward:
        """Encoder and decoder: the one definition of a log-probability."""
        return self.decode(self.encode(prompt_ids, prompt_mask), completion_ids)

    def _saved_tensors(self) -> Tensors:
        """The adapter's own tensors, by the names that peft saves them by."""
        saved = get_peft_model_state_dict(self.peft, save_embedding_layers=False)
        named = {name.removeprefix("peft.").replace(".default", ""): p for name, p in self.trainable().items()}
        if missing := set(saved) - set(named):
            raise ValueError(f"policy.adapter: {min(missing)} is saved but not trained; only LoRA tensors can be sent")
        return {name: named[name].data for name in saved}

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


def _with_fused_gelu(model: nn.Module) -> nn.Module:
    """T5's activation as one operation in place of eight; the same function but for rounding."""
    for module in model.modules():
        if isinstance(getattr(module, "act", None), NewGELUActivation):
            module.act = nn.GELU(approximate="tanh")
    return model


def _width(base: nn.Module) -> int:
    return base.get_output_embeddings().in_features


def _overwrite(own: Tensors, given: Tensors) -> None:
    """Raises `ValueError` where the names differ, `RuntimeError` where a shape does."""
    if set(own) != set(given):
        raise ValueError(f"the state is of another adapter: {min(set(own) ^ set(given))} is in one of both only")
    for name, tensor in own.items():
        tensor.copy_(given[name])


def _copy(tensors: Tensors) -> Tensors:
    return {name: t.detach().to("cpu", copy=True) for name, t in tensors.items()}
