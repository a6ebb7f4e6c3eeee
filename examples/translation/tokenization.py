"""The translator's tokenizer: NLLB's own class, with a vocabulary of whole words and three languages."""

import json

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import NllbTokenizer

from examples.rows import Row
from examples.translation.languages import KORISH, VELTAN
from quickstart.train_policy import Example

ENGLISH = "eng_Latn"
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
MAX_POSITIONS = 128
ENTRIES = 1200  # more than there are words


def translator_tokenizer(texts: list[str]) -> NllbTokenizer:
    """Byte-pair encoding, trained until the words of the texts are single tokens."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    alphabet = [chr(code) for code in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=ENTRIES, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return NllbTokenizer(
        vocab=model["vocab"],
        merges=merges,
        extra_special_tokens=[ENGLISH, VELTAN, KORISH],
        src_lang=ENGLISH,
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
    )


def tokenized_rows(tokenizer: NllbTokenizer, rows: list[Row]) -> list[Example]:
    """The tokens of each row's prompt, and of what it is taught after the token of its language."""
    prompts = tokenizer([row.prompt for row in rows]).input_ids
    targets: list[list[int]] = []
    for row in rows:
        tokenizer.tgt_lang = row.topic
        targets.append(tokenizer(text_target=row.taught)["input_ids"])
    tokenizer.tgt_lang = None
    return list(zip(prompts, targets, strict=True))
