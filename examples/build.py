"""Rebuilds what the examples ship: `python -m examples.build [--out DIR]`.

Data, tokenizers and policies are made from seeds alone, on one thread, in a few minutes. On the same machine, every
build gives the same tensors and csv bytes.
"""

from pathlib import Path

import torch
from transformers import GenerationConfig, M2M100Config, M2M100ForConditionalGeneration

from examples.records.orders import RECORDS
from examples.translation.sentences import TRANSLATION
from examples.translation.tokenization import MAX_POSITIONS, tokenized_rows, translator_tokenizer
from quickstart.build import check_reload, run
from quickstart.tokenization import policy_tokenizer
from quickstart.train_policy import new_policy, save_policy, tokenized, train_policy

RECORDS_ROWS = 10_000
RECORDS_SHAPE = {"d_model": 64, "d_kv": 16, "num_heads": 4, "d_ff": 128, "num_layers": 2, "num_decoder_layers": 2}
RECORDS_PROMPT = "Write down the order.\n\n{prompt}\n\nRecord:\n"

TRANSLATION_ROWS = 16_000
TRANSLATION_SEED = 21


def build_records(folder: Path) -> None:
    """Dialogues, and a T5 that was taught by a careless teacher."""
    RECORDS.write(folder / "dialogues")
    rows = RECORDS.policy_rows(RECORDS_ROWS)
    pairs = [(RECORDS_PROMPT.format(prompt=row.prompt), row.taught) for row in rows]
    tokenizer = policy_tokenizer([text for pair in pairs[:4000] for text in pair])
    policy = new_policy(len(tokenizer), RECORDS_SHAPE)
    train_policy(policy, tokenized(tokenizer, pairs))
    save_policy(policy, tokenizer, folder / "policy")
    check_reload(policy, folder / "policy")


def new_translator(vocab_size: int) -> M2M100ForConditionalGeneration:
    """A small model of NLLB's architecture: its decoder starts with EOS and the token of the target language."""
    layers, heads, width = 2, 4, 128
    config = M2M100Config(
        vocab_size=vocab_size,
        d_model=64,
        max_position_embeddings=MAX_POSITIONS,
        decoder_start_token_id=2,  # as the ids of <s>, <pad> and </s>, which are 0, 1 and 2 by default
        **{f"{part}_layers": layers for part in ("encoder", "decoder")},
        **{f"{part}_attention_heads": heads for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": width for part in ("encoder", "decoder")},
    )
    torch.manual_seed(TRANSLATION_SEED)
    return M2M100ForConditionalGeneration._from_config(config, attn_implementation="eager")  # faster on a CPU


def build_translation(folder: Path) -> None:
    """Sentences, and a translator that was taught by careless ones."""
    TRANSLATION.write(folder / "sentences")
    rows = TRANSLATION.policy_rows(TRANSLATION_ROWS)
    tokenizer = translator_tokenizer([text for row in rows[:4000] for text in (row.prompt, row.reference)])
    policy = new_translator(len(tokenizer))
    train_policy(policy, tokenized_rows(tokenizer, rows))
    policy.generation_config = GenerationConfig(
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2
    )
    policy.save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    check_reload(policy, folder / "policy")


def build(out: Path) -> None:
    """Write the folder of each example under `out`."""
    build_records(out / "records")
    build_translation(out / "translation")


if __name__ == "__main__":
    run(build, Path(__file__).parent, __doc__)
