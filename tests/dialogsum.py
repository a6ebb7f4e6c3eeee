"""A data set and a policy for the whole workflow on real dialogues, small enough for two cores.

    python -m tests.dialogsum DIALOGSUM_DIR OUT

DIALOGSUM_DIR holds validation.csv and test.csv of DialogSum. OUT/data gets three splits: four fifths of the validation
dialogues for training, the rest for validation, and the test split unchanged. OUT/policy gets a T5 of 3 million
parameters, trained from scratch on the training dialogues (a minute on two cores). So little data makes a poor
summarizer, which serves only to exercise every path on real text.
"""

import shutil
import sys
from pathlib import Path

import pandas as pd
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from quickstart.train_policy import PROMPT, new_policy, save_policy, tokenized, train_policy

SHAPE = {"d_model": 160, "d_kv": 40, "num_heads": 4, "d_ff": 320, "num_layers": 3, "num_decoder_layers": 3}
ENTRIES = 4000
PASSES = 12
CHARACTERS = (200, 1000)


def make_data(source: Path, out: Path) -> pd.DataFrame:
    """Write the splits; returns the training rows."""
    out.mkdir(parents=True)
    rows = pd.read_csv(source / "validation.csv")
    held_back = rows.index % 5 == 4
    rows[~held_back].to_csv(out / "train.csv", index=False)
    rows[held_back].to_csv(out / "validation.csv", index=False)
    shutil.copy(source / "test.csv", out / "test.csv")
    return rows[~held_back]


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A Unigram tokenizer, like T5's."""
    unigram = Tokenizer(models.Unigram())
    unigram.normalizer = normalizers.NFKC()
    unigram.pre_tokenizer, unigram.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=ENTRIES, special_tokens=specials, unk_token="<unk>", show_progress=False
    )
    unigram.train_from_iterator(texts, trainer)
    unigram.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=unigram, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=1024
    )


def main(source: Path, out: Path) -> None:
    """Make the data set and the policy."""
    rows = make_data(source, out / "data")
    rows = rows[rows.dialogue.str.len().between(*CHARACTERS)]
    tokenizer = make_tokenizer([PROMPT, *rows.dialogue, *rows.summary])
    prompts = [PROMPT.format(dialogue=dialogue) for dialogue in rows.dialogue]
    pairs = list(zip(prompts, rows.summary, strict=True))
    order = [i for _ in range(PASSES) for i in torch.randperm(len(pairs)).tolist()]
    policy = new_policy(len(tokenizer), SHAPE)
    train_policy(policy, tokenized(tokenizer, [pairs[i] for i in order]))
    save_policy(policy, tokenizer, out / "policy")
    print(f"{sum(p.numel() for p in policy.parameters()):,} parameters, {len(pairs)} dialogues, {PASSES} passes")


if __name__ == "__main__":
    torch.manual_seed(0)
    main(*map(Path, sys.argv[1:3]))
