"""The policy: a frozen encoder-decoder model, LoRA adapters on it and a value head.

Owns the one definition of a log-probability, shared by learner and reference. Knows nothing of rewards or algorithms.
"""

from typing import Any, NamedTuple

import torch
from peft import get_peft_model_state_dict
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM
from transformers.activations import NewGELUActivation
from transformers.modeling_outputs import BaseModelOutput, ModelOutput

from configs.policy import PolicyConfig
from learner.adapter import read_value_head
from learner.distribution import sampled_logprobs, unpack
from learner.family import decoder_inputs, decoder_prefix, encoder_options
from learner.lora import with_adapter
from learner.pretrained import load_model
from learner.seeds import seed_from
from learner.tensors import buckets, pad_cat, width
from learner.types import Forward, PolicyState, Rollouts, Tensors

CPU = torch.device("cpu")


class Encoded(NamedTuple):
    """What completions are conditioned on: P distinct prompts, encoded, for B sequences, and how those begin."""

    states: Tensor  # [P, S, d_model]
    mask: Tensor  # [P, S]
    prompt_index: Tensor  # [B], index of each sequence's prompt
    prefix: Tensor  # [B, C], what the decoder reads before the completion: the start token and any forced ones
    kind: type[ModelOutput] = BaseModelOutput  # the encoder's own, of which some decoders read further fields

    def rows(self) -> Tensor:
        """One row per sequence, [B, S, d_model]."""
        return self.states.index_select(
            0, self.prompt_index
        )  # its gradient has the same bits for any number of threads

    def row_mask(self) -> Tensor:
        """One row of the mask per sequence, [B, S]."""
        return self.mask[self.prompt_index]

    def output(self) -> ModelOutput:
        """The encoder's output with one row per sequence, as the model's decoder takes it."""
        return self.kind(last_hidden_state=self.rows())

    def select(self, rows: Tensor) -> "Encoded":
        """Some of the sequences, trimmed to their longest prompt."""
        kept, prompt_index = self.prompt_index[rows].unique(return_inverse=True)
        end = width(self.mask[kept])
        return Encoded(self.states[kept, :end], self.mask[kept, :end], prompt_index, self.prefix[rows], self.kind)


class Policy(nn.Module):
    """The policy of the `PolicyState` loaded last.

    Dropout is always off, so that old and new log-probabilities differ only by the update.
    """

    def __init__(self, config: PolicyConfig, seed: int, device: torch.device = CPU, temperature: float = 1.0) -> None:
        """Raises `UsageError` for an unusable model or adapter; on `META` this takes only a moment.

        `temperature` divides all logits: it belongs to the policy, as in trl.
        """
        super().__init__()
        self.temperature = temperature
        # On a CPU, where a decode step has one query row, plain products beat the fused kernel.
        eager = {"attn_implementation": "eager"}
        base = load_model(AutoModelForSeq2SeqLM, "policy.model", config.model, device, config.dtype, **eager)
        base = _with_fused_gelu(base)
        torch.manual_seed(seed_from(seed, "policy"))
        self.peft = with_adapter(base, config)
        self.network = self.peft.get_base_model()  # the same layers without peft's wrapper around forward()
        self.decoder_prefix = decoder_prefix("policy.model", self.network.config, self.network.generation_config)
        self.value_head = nn.Linear(_width(base), 1)
        self.value_head_kept = bool(config.adapter) and read_value_head(
            "policy.adapter", config.adapter, self.value_head
        )
        self.eval().to(device)
        self.adapter = self._saved_tensors()
        self._version: int | None = None

    def trainable(self) -> dict[str, nn.Parameter]:
        """LoRA tensors and value head by name, in the optimizer's order."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def load(self, state: PolicyState, cached: bool = True) -> None:
        """Load the weights of `state`; if `cached`, only if its version is not the one loaded last."""
        if not cached or state.version != self._version:
            _overwrite(self.adapter, state.adapter)
            _overwrite(self.value_head.state_dict(), state.value_head)
            self._version = state.version

    def state(self, version: int) -> PolicyState:
        """A copy of the trained tensors, on the CPU."""
        return PolicyState(version, _copy(self.adapter), _copy(self.value_head.state_dict()))

    def encode(self, prompt_ids: Tensor, prompt_mask: Tensor, prefix: Tensor | None = None) -> Encoded:
        """Encode the prompts [B, S]; equal neighbours, such as a group's, are encoded once.

        `prefix`: how the decoder begins each sequence, [B, C]; without one, or with C = 0, as the model's config says.
        """
        own = self.decoder_prefix if prefix is None or not prefix.shape[1] else None
        prefix = prefix if own is None else torch.tensor(own).expand(len(prompt_ids), -1)
        prompt_ids, prompt_mask = prompt_ids.to(self.device), prompt_mask.to(self.device)
        _, prompt_index, copies = torch.cat([prompt_ids, prompt_mask], dim=1).unique_consecutive(
            dim=0, return_inverse=True, return_counts=True
        )
        first = copies.cumsum(0) - copies
        prompt_ids, prompt_mask = prompt_ids[first], prompt_mask[first]
        parts = [(rows, self._encode(prompt_ids[rows], prompt_mask[rows])) for rows in buckets(prompt_mask.sum(1))]
        states = pad_cat([part.last_hidden_state for _, part in parts], prompt_ids.shape[1])
        states = states[torch.cat([rows for rows, _ in parts]).argsort()]
        return Encoded(states, prompt_mask, prompt_index, prefix.to(self.device), type(parts[0][1]))

    def _encode(self, prompt_ids: Tensor, prompt_mask: Tensor) -> ModelOutput:
        """Hidden states [P, S, d_model], without the columns that are padding in every row."""
        end = width(prompt_mask)
        mask = prompt_mask[:, :end].long()
        return self.network.get_encoder()(
            input_ids=prompt_ids[:, :end], attention_mask=mask, **encoder_options(self.network, mask)
        )

    def decode(self, encoded: Encoded, completion_ids: Tensor, sampling_mask: Tensor | None = None) -> Forward:
        """Teacher-forced decoder pass: column t is for completion token t, given the prompt and the tokens before it.

        The decoder reads the completion shifted right by one, after its prefix, which is not part of a completion.
        Probabilities are renormalised over the tokens of the `sampling_mask`, if there is one.
        """
        completion_ids = completion_ids.to(self.device)
        out = self.network(
            encoder_outputs=encoded.output(),
            attention_mask=encoded.row_mask().long(),
            **decoder_inputs(self.network, torch.cat([encoded.prefix, completion_ids[:, :-1]], dim=1)),
            output_hidden_states=True,
            use_cache=False,
        )
        first = encoded.prefix.shape[1] - 1  # where the first token of the completion is predicted
        logits = out.logits[:, first:].float()
        kept = None if sampling_mask is None else unpack(sampling_mask.to(self.device), logits.shape[-1])
        full = sampled_logprobs(logits, self.temperature, kept)
        logprobs = full.gather(2, completion_ids.unsqueeze(2)).squeeze(2)
        values = self.value_head(out.decoder_hidden_states[-1][:, first:].float()).squeeze(2)
        return Forward(logprobs, full, values)

    @torch.no_grad()
    def teacher_forced(self, encoded: Encoded, rollouts: Rollouts, full: bool = False) -> Forward:
        """Teacher-forced pass over completions of different lengths, without gradients; results are on the CPU.

        `full`: also return the log-probabilities of all tokens; otherwise they are [B, T, 0].
        """
        mask = rollouts.completion_mask
        parts, row_buckets = [], buckets(mask.sum(dim=1))
        for rows in row_buckets:
            ids, kept = (x[rows, : width(mask[rows])] for x in (rollouts.completion_ids, rollouts.sampling_mask))
            part = self.decode(encoded.select(rows.to(self.device)), ids, kept)
            parts.append(Forward(*[x.cpu() for x in part._replace(full=part.full[:, :, : None if full else 0])]))
        order = torch.cat(row_buckets).argsort()
        return Forward(*[pad_cat(list(column), mask.shape[1])[order] for column in zip(*parts, strict=True)])

    def forward(
        self,
        prompt_ids: Tensor,
        prompt_mask: Tensor,
        completion_ids: Tensor,
        prefix: Tensor | None = None,
        sampling_mask: Tensor | None = None,
    ) -> Forward:
        """Encoder and decoder: the one definition of a log-probability."""
        return self.decode(self.encode(prompt_ids, prompt_mask, prefix), completion_ids, sampling_mask)

    def _saved_tensors(self) -> Tensors:
        """The adapter's tensors, under the names peft saves them by."""
        saved = get_peft_model_state_dict(self.peft, save_embedding_layers=False)
        named = {name.removeprefix("peft.").replace(".default", ""): p for name, p in self.trainable().items()}
        if missing := set(saved) - set(named):
            raise ValueError(f"policy.adapter: {min(missing)} is saved but not trained; use LoRA tensors only")
        return {name: named[name].data for name in saved}

    @torch.no_grad()
    def fingerprint(self) -> list[float]:
        """Log-probabilities of eight fixed tokens: different for other weights, nearly equal on other hardware."""
        ids = torch.arange(1, 9).unsqueeze(0)
        return self(ids, torch.ones_like(ids, dtype=torch.bool), ids).logprobs.squeeze(0).tolist()

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.value_head.weight.device

    def parameter_counts(self) -> dict[str, int]:
        """Trainable and total parameters of the model with its adapter, and trainable ones with the value head."""
        trainable, total = self.peft.get_nb_trainable_parameters()
        head = sum(p.numel() for p in self.value_head.parameters())
        return {"trainable": trainable, "total": total, "trainable_with_value_head": trainable + head}


def describe(policy: Policy, fingerprint: list[float]) -> dict[str, Any]:
    """Facts of a policy for a run's records: parameter counts, data type, fingerprint of its frozen weights."""
    dtype = str(policy.network.dtype).removeprefix("torch.")
    kept = policy.value_head_kept
    return {**policy.parameter_counts(), "dtype": dtype, "fingerprint": fingerprint, "value_head_kept": kept}


def _with_fused_gelu(model: nn.Module) -> nn.Module:
    """Make T5's activation one operation instead of eight; the same function except for rounding."""
    for module in model.modules():
        if isinstance(getattr(module, "act", None), NewGELUActivation):
            module.act = nn.GELU(approximate="tanh")
    return model


def _width(base: nn.Module) -> int:
    return base.get_output_embeddings().weight.shape[1]


def _overwrite(own: Tensors, given: Tensors) -> None:
    """Raises `ValueError` if the names differ, `RuntimeError` if a shape does."""
    if set(own) != set(given):
        raise ValueError(f"the state belongs to another adapter: {min(set(own) ^ set(given))} is in only one of them")
    for name, tensor in own.items():
        tensor.copy_(given[name])


def _copy(tensors: Tensors) -> Tensors:
    return {name: t.detach().to("cpu", copy=True) for name, t in tensors.items()}
