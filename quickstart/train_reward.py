"""Trains the tiny RoBERTa that distinguishes insults from complaints."""

import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForSequenceClassification

from quickstart.sentences import HATE, NOTHATE, Example

MAX_POSITIONS = 258  # RoBERTa counts positions from pad_token_id + 1, so two of them are lost
MAX_LENGTH = MAX_POSITIONS - 2
BATCH_SIZE = 32
BUCKET_BATCHES = 32
PEAK_LR = 1e-3
LABEL_SMOOTHING = 0.05  # keeps the logits, which are the reward in RL, small
SEED = 12


def new_classifier(vocab_size: int) -> RobertaForSequenceClassification:
    """A small RoBERTa, with the labels of the hate-speech classifiers it stands in for."""
    config = RobertaConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=MAX_POSITIONS,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        id2label={NOTHATE: "nothate", HATE: "hate"},
        label2id={"nothate": NOTHATE, "hate": HATE},
    )
    torch.manual_seed(SEED)
    return RobertaForSequenceClassification._from_config(config, attn_implementation="eager")  # faster on a CPU


def _batches(tokenizer: PreTrainedTokenizerFast, examples: list[Example]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(input ids, attention mask, labels) of batches bucketed by length, in random order within each bucket."""
    ids = tokenizer([text for text, _ in examples], truncation=True).input_ids
    mixed = torch.randperm(len(ids)).tolist()
    made = []
    bucket = BATCH_SIZE * BUCKET_BATCHES
    for start in range(0, len(ids), bucket):
        order = sorted(mixed[start : start + bucket], key=lambda i: (len(ids[i]), i))
        chunks = [order[at : at + BATCH_SIZE] for at in range(0, len(order), BATCH_SIZE)]
        for at in torch.randperm(len(chunks)).tolist():
            padded = tokenizer.pad({"input_ids": [ids[i] for i in chunks[at]]}, return_tensors="pt")
            labels = torch.tensor([examples[i][1] for i in chunks[at]])
            made.append((padded["input_ids"], padded["attention_mask"], labels))
    return made


def train_reward(tokenizer: PreTrainedTokenizerFast, examples: list[Example]) -> RobertaForSequenceClassification:
    """A new classifier after one pass over the examples."""
    classifier = new_classifier(len(tokenizer)).train()
    batches = _batches(tokenizer, examples)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=PEAK_LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / len(batches)))
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    began, total = time.monotonic(), 0.0
    for step, (ids, mask, labels) in enumerate(batches, start=1):
        loss = criterion(classifier(input_ids=ids, attention_mask=mask).logits, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        total += loss.item()
        if step % 200 == 0 or step == len(batches):
            mean, seconds = total / (step % 200 or 200), time.monotonic() - began
            print(f"reward {step}/{len(batches)}: loss {mean:.3f}, {seconds:.0f} s")
            total = 0.0
    return classifier.eval()


def save_reward(model: RobertaForSequenceClassification, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the classifier as an ordinary model directory."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
