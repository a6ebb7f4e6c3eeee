"""The languages of prompts and completions (NLLB, mBART, M2M100), and any other way that completions begin."""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import MBartTokenizer, PreTrainedTokenizerBase

from configs.errors import UsageError
from learner.targets import tokens_of


class Languages(NamedTuple):
    """Language codes as the tokenizer names them; None: not given."""

    source: str | None = None
    target: str | None = None


UNSAID = Languages()
"""Neither is given."""


def language_id(field: str, tokenizer: PreTrainedTokenizerBase, code: str) -> int:
    """Id of the token that stands for a language. Raises `UsageError` naming `field` if there is none."""
    if not hasattr(tokenizer, "src_lang"):
        raise UsageError(f"{field}: the tokenizer ({type(tokenizer).__name__}) knows no languages; leave it null")
    tokens = getattr(tokenizer, "lang_code_to_token", {})  # M2M100: en -> __en__
    if code not in tokens and code not in tokenizer.all_special_tokens:
        raise UsageError(
            f"{field}: {code!r} is not a language of the tokenizer ({type(tokenizer).__name__}), which writes them "
            f"like {tokenizer.src_lang!r}"
        )
    return tokenizer.convert_tokens_to_ids(tokens.get(code, code))


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], sources: Sequence[str | None]) -> list[list[int]]:
    """Token ids of each text, marked with its language if that is given. Raises `UsageError` for an unknown one."""
    ids: list[list[int]] = [[]] * len(texts)
    for source in dict.fromkeys(sources):
        if source is not None:
            language_id("data.src_lang", tokenizer, source)
            tokenizer.src_lang = source
        rows = [row for row, other in enumerate(sources) if other == source]
        # All in one call: fast tokenizers are fast only on batches.
        for row, found in zip(rows, tokenizer([texts[row] for row in rows])["input_ids"], strict=True):
            ids[row] = found
    return ids


def decoder_prefix(
    own: Sequence[int], tokenizer: PreTrainedTokenizerBase, target: str | None, text: str
) -> tuple[int, ...]:
    """What the decoder reads before a completion in the language `target` that begins with `text`.

    `own` is what it reads by the model's config. () if nothing is asked for: that is the model's own affair.
    Raises `UsageError` for an unknown language.
    """
    if target is None and not text:
        return ()
    start, *forced = own
    if target is not None:
        forced = [language_id("data.tgt_lang", tokenizer, target)]
        if isinstance(tokenizer, MBartTokenizer):  # whose decoder starts with the language
            start, forced = forced[0], []
    return (start, *forced, *tokens_of(tokenizer, text))
