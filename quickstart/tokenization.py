"""The two tokenizers: Unigram with byte fallback for the policy, byte-level BPE for the reward model.

The Unigram vocabulary is counted here, since the build must be deterministic and the Unigram trainer of `tokenizers` is
not.
"""

import math
from collections import Counter

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

POLICY_SPECIALS = ["<pad>", "</s>", "<unk>"]
POLICY_PIECES = 861  # besides the specials and the 256 byte tokens: 1,120 entries in all
POLICY_WORDS = 756  # nearly every word of a summary is one token, which makes it easy to copy
REWARD_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
REWARD_ENTRIES = 1400


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """Splits off newlines, punctuation and whole speaker tags; words keep the space before them."""
    marks = Regex(r"\n|[.,:!?;]| ?#Person\d#")
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(marks, "isolated"), pre_tokenizers.Metaspace(prepend_scheme="first")]
    )


def _pieces(texts: list[str]) -> list[tuple[str, float]]:
    """Characters, the most frequent whole words and the first BPE merges, with the log of their share in the texts."""
    splitter = _pre_tokenizer()
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    pieces = [chr(code) for code in range(33, 127)] + ["\n", "▁"]
    pieces += [word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:POLICY_WORDS]]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = splitter
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=POLICY_PIECES, show_progress=False))
    pieces += sorted(bpe.get_vocab(), key=bpe.token_to_id)
    pieces = list(dict.fromkeys(pieces))[:POLICY_PIECES]
    counts = Counter(token for encoding in bpe.encode_batch(texts) for token in encoding.tokens)
    total = counts.total()
    return [(piece, math.log((max(words[piece], counts[piece]) + 0.5) / total)) for piece in pieces]


def policy_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A T5-like tokenizer that can encode any text: what has no piece falls back to bytes."""
    pieces = _pieces(texts)
    floor = min(score for _, score in pieces) - 10.0
    entries = [(token, 0.0) for token in POLICY_SPECIALS]
    entries += [(f"<0x{byte:02X}>", floor) for byte in range(256)]
    tokenizer = Tokenizer(models.Unigram(entries + pieces, unk_id=2, byte_fallback=True))
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first"), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def reward_tokenizer(texts: list[str], max_length: int) -> PreTrainedTokenizerFast:
    """A RoBERTa-like tokenizer, byte-level, so that it too can encode any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=REWARD_ENTRIES,
        special_tokens=REWARD_SPECIALS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
