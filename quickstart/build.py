"""Rebuilds everything the quickstart ships: `python -m quickstart.build [--out DIR]`.

Dialogues, two tokenizers, the policy and the reward model are made from seeds alone, on one thread, in a few minutes.
On the same machine, every build gives the same tensors and csv bytes.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel
from transformers.utils import logging

from quickstart.grammar import Row
from quickstart.sentences import examples
from quickstart.splits import policy_rows, reference, write_splits
from quickstart.tokenization import policy_tokenizer, reward_tokenizer
from quickstart.train_policy import PROMPT, new_policy, save_policy, tokenized, train_policy
from quickstart.train_reward import MAX_LENGTH, save_reward, train_reward

POLICY_ROWS = 28_000  # trained on the 2,000 shipped rows alone, the policy confuses slots
REWARD_ROWS = 24_000  # five sentences each
TOKENIZER_ROWS = 4_000
SENTENCE_SEED = 5


def build_policy(rows: list[Row], folder: Path) -> None:
    """Build the policy and its tokenizer, and check that the saved policy reloads."""
    summaries = [text for row in rows[:TOKENIZER_ROWS] for text in (row.neutral, row.rude)]
    pairs = [(PROMPT.format(dialogue=row.dialogue), reference(row, "policy")) for row in rows]
    prompts = [prompt for prompt, _ in pairs[:TOKENIZER_ROWS]]
    tokenizer = policy_tokenizer(summaries * 5 + prompts)  # gives words of summaries priority
    policy = new_policy(len(tokenizer))
    train_policy(policy, tokenized(tokenizer, pairs))
    save_policy(policy, tokenizer, folder)
    check_reload(policy, folder)


def check_reload(policy: PreTrainedModel, folder: Path) -> None:
    """Raises `RuntimeError` where the saved policy's logits differ, as they do if its head was tied by accident."""
    probe = {"input_ids": torch.arange(2, 42)[None], "decoder_input_ids": torch.arange(0, 20)[None]}
    loaded = AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        gap = (policy.eval()(**probe).logits - loaded(**probe).logits).abs().max().item()
    if gap > 1e-5:
        raise RuntimeError(f"{folder}: the saved policy's logits are {gap:.3g} off; is its head tied to its embedding?")


def build_reward(rows: list[Row], folder: Path) -> None:
    """Build the reward model and its tokenizer."""
    sentences = examples(SENTENCE_SEED, rows)
    tokenizer = reward_tokenizer([text for text, _ in sentences], MAX_LENGTH)
    save_reward(train_reward(tokenizer, sentences), tokenizer, folder)


def build(out: Path) -> None:
    """Write dialogues/, policy/ and reward/ under `out`."""
    write_splits(out / "dialogues")
    rows = policy_rows(POLICY_ROWS)
    build_reward(rows[:REWARD_ROWS], out / "reward")
    build_policy(rows, out / "policy")


def run(build: Callable[[Path], None], folder: Path, about: str) -> None:
    """Parse the command line, and build with the same bits every time: into `folder`, or what `--out` names."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, default=folder, help=f"where to write (default: {folder.name}/)")
    out, began = parser.parse_args().out, time.monotonic()
    torch.set_num_threads(1)  # the bits depend on the number of threads
    torch.use_deterministic_algorithms(True)
    logging.disable_progress_bar()
    build(out)
    print(f"wrote {out} in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    run(build, Path(__file__).parent, __doc__)
