"""docs/models.md names the families that are tested, and those that are refused for a reason that still holds."""

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    BigBirdPegasusConfig,
    FSMTConfig,
    FSMTTokenizer,
    NllbMoeConfig,
    PreTrainedConfig,
    ProphetNetConfig,
    SwitchTransformersConfig,
)

from cluster.preflight.models import check_policy
from configs.errors import UsageError
from learner.family import REFUSED, check_family
from learner.model_limits import completion_positions
from tests.conftest import small_config
from tests.families import SIZES
from tests.models_page import PAGE, with_tables

SMALL = SIZES | {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
                 "decoder_start_token_id": 2}  # fmt: skip
PROPHETNET = ProphetNetConfig(
    vocab_size=40, hidden_size=16, num_encoder_layers=2, num_decoder_layers=2, num_encoder_attention_heads=2,
    num_decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, pad_token_id=0, ngram=2,
)  # fmt: skip


def test_the_tables_are_those_of_the_tests():
    text = PAGE.read_text(encoding="utf-8")
    assert with_tables(text) == text, "python -m tests.models_page"


def small_fsmt() -> PreTrainedConfig:
    return FSMTConfig(**{k: v for k, v in SMALL.items() if k != "vocab_size"}, langs=["en", "de"], src_vocab_size=40,
                      tgt_vocab_size=40)  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_family_is_refused_by_name(kind, tmp_path):
    config = {"fsmt": small_fsmt, "prophetnet": lambda: PROPHETNET,
              "bigbird_pegasus": lambda: BigBirdPegasusConfig(**SMALL)}[kind]()  # fmt: skip
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UsageError, match=f"policy.model: {tmp_path} is a {kind} model, which cannot be used: "):
        check_policy(small_config(policy__model=tmp_path))


@pytest.fixture
def ids():
    return torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(0))


def logits(model, ids, target):
    with torch.no_grad():
        return model.eval()(input_ids=ids, decoder_input_ids=target, use_cache=False).logits


def test_prophetnets_tokens_depend_on_those_that_follow(ids):
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(PROPHETNET)
    torch.nn.init.normal_(model.get_output_embeddings().weight, std=0.5)
    assert not torch.allclose(logits(model, ids, ids)[:, :4], logits(model, ids, ids[:, :4]), atol=1e-4)


def test_nllb_moes_texts_depend_on_those_beside_them_where_experts_have_less_room_than_tokens(ids, tmp_path):
    torch.manual_seed(0)
    config = NllbMoeConfig(**SMALL, num_experts=2, encoder_sparse_step=1, decoder_sparse_step=1,
                           moe_eval_capacity_token_fraction=0.3)  # fmt: skip
    model = AutoModelForSeq2SeqLM.from_config(config)
    torch.nn.init.normal_(model.get_output_embeddings().weight, std=0.5)
    assert not torch.allclose(logits(model, ids, ids)[1:], logits(model, ids[1:], ids[1:]), atol=1e-4)
    with pytest.raises(UsageError, match="set moe_eval_capacity_token_fraction to 1"):
        check_family("policy.model", "here", config)


def test_switchs_completions_are_no_longer_than_its_experts_have_room():
    config = SwitchTransformersConfig(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_decoder_layers=2,
                                      num_heads=2, num_experts=2, expert_capacity=3, num_sparse_encoder_layers=1,
                                      num_sparse_decoder_layers=1, decoder_start_token_id=0)  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    torch.nn.init.normal_(model.get_output_embeddings().weight, std=0.5)
    assert completion_positions(model) == 3 and completion_positions(model, prefix=2) == 2
    prompt, target = torch.arange(3, 12)[None], torch.arange(3, 23)[None]
    cache, steps = None, []
    with torch.no_grad():
        whole = model(input_ids=prompt, decoder_input_ids=target, use_cache=False).logits
        states = model.get_encoder()(input_ids=prompt)
        for token in target.unbind(1):
            out = model(encoder_outputs=states, decoder_input_ids=token[None], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            steps.append(out.logits)
    one_by_one = torch.cat(steps, dim=1)
    torch.testing.assert_close(one_by_one[:, :3], whole[:, :3], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(one_by_one, whole, atol=1e-4), "further tokens find no room in one pass"


def test_bigbird_pegasus_reads_otherwise_after_a_short_text(ids):
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(BigBirdPegasusConfig(**SMALL, block_size=4, num_random_blocks=1))
    encoder = model.eval().get_encoder()
    long = ids[:1].repeat(1, 12)
    with torch.no_grad():
        before, _, after = (encoder(input_ids=x).last_hidden_state for x in (long, ids, long))
    assert not torch.allclose(before, after, atol=1e-4)


def test_fsmt_encodes_targets_as_sources():
    assert "_switch_to_target_mode" not in vars(FSMTTokenizer)
