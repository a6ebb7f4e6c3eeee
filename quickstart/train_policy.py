"""Trains tiny policies, such as the quickstart's T5, by teacher forcing on generated text.

Every batch has fresh text (one pass over many generated rows), which leaves nothing to memorise, so dropout is off; the
shipped config has FLAN-T5's 0.1 for fine-tuning.
"""

import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

PROMPT = "Summarize the following conversation.\n\n{dialogue}\n\nSummary:\n"
BATCH_SIZE = 16
BUCKET_BATCHES = 32  # number of batches whose rows are sorted by length together
PEAK_LR = 3e-3
WARMUP_STEPS = 200
SEED = 11

SHAPE = {"d_model": 96, "d_kv": 24, "num_heads": 4, "d_ff": 192, "num_layers": 2, "num_decoder_layers": 2}

Example = tuple[list[int], list[int]]
"""Token ids of a prompt and of its completion."""
Batch = dict[str, Tensor]


def new_policy(vocab_size: int, shape: dict[str, int] = SHAPE) -> T5ForConditionalGeneration:
    """A small model of FLAN-T5's architecture, with an untied head."""
    config = T5Config(
        vocab_size=vocab_size,
        **shape,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.1,
        relative_attention_num_buckets=32,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        tie_word_embeddings=False,  # read by T5Config as: do not scale the decoder's outputs
        architectures=["T5ForConditionalGeneration"],
    )
    torch.manual_seed(SEED)
    policy = T5ForConditionalGeneration._from_config(config, attn_implementation="eager")  # faster on a CPU
    # transformers 5 ties the head of a T5 made from a config, whatever the config says. Small initial weights keep the
    # first logits near zero. This must come before training: a head trained while tied cannot be separated later.
    policy.lm_head.weight = nn.Parameter(0.05 * torch.randn(vocab_size, config.d_model))
    return policy


def _padded(rows: list[list[int]], fill: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def tokenized(tokenizer: PreTrainedTokenizerFast, pairs: list[tuple[str, str]]) -> list[Example]:
    """The tokens of `pairs` of prompt and completion."""
    prompts, completions = (tokenizer(list(texts)).input_ids for texts in zip(*pairs, strict=True))
    return list(zip(prompts, completions, strict=True))


def batches(rows: list[Example], pad: int) -> list[Batch]:
    """Batches bucketed by length, which saves padding, and shuffled within each bucket."""
    made: list[Batch] = []
    bucket = BATCH_SIZE * BUCKET_BATCHES
    for start in range(0, len(rows), bucket):
        order = sorted(range(start, min(start + bucket, len(rows))), key=lambda i: (len(rows[i][0]), i))
        chunks = [order[at : at + BATCH_SIZE] for at in range(0, len(order), BATCH_SIZE)]
        for at in torch.randperm(len(chunks)).tolist():
            ids = _padded([rows[i][0] for i in chunks[at]], pad)
            labels = _padded([rows[i][1] for i in chunks[at]], -100)
            made.append({"input_ids": ids, "attention_mask": (ids != pad).long(), "labels": labels})
    return made


def _learning_rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def train_policy(policy: PreTrainedModel, rows: list[Example]) -> None:
    """Train the policy by one pass over the rows; prints the loss every 100 steps."""
    policy.eval()  # no dropout
    todo = batches(rows, policy.config.pad_token_id)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, len(todo)))
    began, total = time.monotonic(), 0.0
    for step, batch in enumerate(todo, start=1):
        loss = policy(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        total += loss.item()
        if step % 100 == 0 or step == len(todo):
            mean, seconds = total / (step % 100 or 100), time.monotonic() - began
            print(f"policy {step}/{len(todo)}: loss {mean:.3f}, {seconds:.0f} s")
            total = 0.0


def save_policy(policy: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the policy as an ordinary model directory."""
    policy.generation_config = GenerationConfig(pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
    policy.save_pretrained(folder)
    # T5Config always writes `true`; this head is not tied, so `false` as in FLAN-T5's config.
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8")) | {"tie_word_embeddings": False}
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    tokenizer.save_pretrained(folder)
