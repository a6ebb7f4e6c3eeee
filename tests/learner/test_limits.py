"""How long a text may be: exactly as long as the model can read."""

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    LEDConfig,
    M2M100Config,
    MarianConfig,
    PegasusConfig,
    T5Config,
)

from configs.errors import UsageError
from learner.family import end_ids
from learner.model_limits import check_vocabulary, completion_positions, prompt_positions

SIZES = {"vocab_size": 60, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
         "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}  # fmt: skip
SHORT = SIZES | {"max_position_embeddings": 24}
T5 = {"vocab_size": 60, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
MODELS = {
    "T5": (T5Config(**T5, decoder_start_token_id=0), None, None),
    "BART": (BartConfig(**SHORT), 24, 24),
    "Pegasus": (PegasusConfig(**SHORT), 24, 24),
    "Marian": (MarianConfig(**SHORT, pad_token_id=0), 24, 24),
    "LED": (LEDConfig(**SIZES, attention_window=8, max_encoder_position_embeddings=32,
                      max_decoder_position_embeddings=16), 32, 16),
    "M2M100, which computes them as needed": (M2M100Config(**SHORT), None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_as_many_tokens_can_be_read_and_written_and_no_more(name):
    config, prompt, completion = MODELS[name]
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    assert (prompt_positions(model), completion_positions(model)) == (prompt, completion)

    def run(source: int, target: int) -> torch.Tensor:
        return model(input_ids=torch.ones(1, source).long(), decoder_input_ids=torch.ones(1, target).long()).logits

    assert run(prompt or 50, completion or 50).isfinite().all()
    if prompt and completion:
        with pytest.raises((IndexError, RuntimeError)):
            run(4, completion + 1)
        if name != "LED":  # whose encoder fills up to whole windows
            with pytest.raises((IndexError, RuntimeError)):
                run(prompt + 1, 4)


class Tokenizer:
    def __init__(self, eos=None, **tokens):
        self.eos_token_id, self.tokens, self.mask_token = eos, tokens, "mask"

    def get_vocab(self):
        return self.tokens


@pytest.fixture(scope="module")
def model():
    return AutoModelForSeq2SeqLM.from_config(T5Config(**T5, decoder_start_token_id=0, eos_token_id=None))


@pytest.mark.parametrize(
    ("tokenizers", "generations", "configs", "expected"),
    [
        (1, 1, 1, (1,)),
        (None, None, 1, (1,)),
        (None, [2, 3], None, (2, 3)),
        (1, [1, 7], None, (1, 7)),
        (1, 7, 8, (7,)),
        (1, None, 8, (8,)),
        (1, None, None, (1,)),
        (None, [], None, ()),
        (None, 99_999, 60, ()),
        (None, None, None, ()),
    ],
)
def test_the_ends_are_all_that_are_named_and_that_the_model_can_give(model, tokenizers, generations, configs, expected):
    model.generation_config.eos_token_id, model.config.eos_token_id = generations, configs
    if expected:
        assert end_ids("policy.model", model, Tokenizer(eos=tokenizers)) == expected
    else:
        with pytest.raises(UsageError, match=r"policy.model: neither the tokenizer nor the model defines an end"):
            end_ids("policy.model", model, Tokenizer(eos=tokenizers))


def test_a_mask_needs_no_embedding_and_every_other_token_does(model):
    """Some of BART's models have none for it."""
    check_vocabulary("policy.model", model, Tokenizer(word=59, mask=60))
    with pytest.raises(
        UsageError, match=r"the tokenizer has token id 60, but the model has embeddings for 60 tokens only"
    ):
        check_vocabulary("policy.model", model, Tokenizer(word=60, mask=61))
