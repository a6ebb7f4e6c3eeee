"""Adapters of several shapes in one model compute what each computed in its own."""

import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM

from configs.errors import UsageError
from configs.policy import Lora, PolicyConfig
from learner.adapter import Adapter, read_adapter, read_shape, save_adapter
from learner.lora import check_fits, common_shape, fit, lora_config, new_shape, unreached
from learner.policy import Policy
from learner.pretrained import META
from learner.types import PolicyState


def write_adapter(folder, seed, safe=True, **shape):
    torch.manual_seed(seed)
    base = AutoModelForSeq2SeqLM.from_pretrained("quickstart/policy", dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(task_type="SEQ_2_SEQ_LM", **shape))
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "lora_embedding" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder, safe_serialization=safe)
    return str(folder)


def logits(model, unit):
    with torch.no_grad():
        ids, mask = unit.prompt_ids, unit.prompt_mask.long()
        return model.eval()(input_ids=ids, attention_mask=mask, decoder_input_ids=ids[:, :5]).logits


def test_each_adapter_computes_what_it_did_in_its_own_shape(tmp_path, unit):
    folders = [
        write_adapter(tmp_path / "narrow", 1, r=2, lora_alpha=8, target_modules=["q"]),
        write_adapter(tmp_path / "wide", 2, r=8, lora_alpha=4, target_modules=["v", "k"], use_rslora=True),
    ]
    read = [read_adapter("policy.adapter", folder) for folder in folders]
    lora = common_shape(read)
    assert lora.r == 8 and set(lora.target_modules) == {"q", "v", "k"}
    policy = Policy(PolicyConfig(model="quickstart/policy", lora=lora, dtype="float32"), seed=0)
    start = policy.state(0)
    for version, (folder, adapter) in enumerate(zip(folders, read, strict=True), start=1):
        policy.load(PolicyState(version, fit(adapter, start.adapter, lora), start.value_head))
        base = AutoModelForSeq2SeqLM.from_pretrained("quickstart/policy", dtype=torch.float32)
        bare = logits(base, unit)
        expected = logits(PeftModel.from_pretrained(base, folder), unit)
        torch.testing.assert_close(logits(policy.network, unit), expected, rtol=1e-4, atol=1e-4)
        assert (expected - bare).abs().max() > 0.1, "it is no other adapter's, nor the bare model's"
    policy.load(PolicyState(9, fit(Adapter(read[0].shape, {}), start.adapter, lora), start.value_head))
    torch.testing.assert_close(logits(policy.network, unit), bare)


def test_an_adapter_in_its_own_shape_keeps_its_bits(tmp_path):
    folder = write_adapter(tmp_path, 1, r=4, lora_alpha=8, target_modules=["q", "v"])
    adapter = read_adapter("policy.adapter", folder)
    lora = common_shape([adapter, adapter])
    fitted = fit(adapter, {name: torch.zeros_like(t) for name, t in adapter.tensors.items()}, lora)
    assert all(torch.equal(fitted[name], tensor) for name, tensor in adapter.tensors.items())


def test_an_adapter_of_another_model_is_refused(tmp_path):
    folder = write_adapter(tmp_path, 1, r=4, target_modules=["q"])
    adapter = read_adapter("policy.adapter", folder)
    lora = common_shape([adapter])
    with pytest.raises(UsageError, match="for another model"):
        fit(adapter, {}, lora)
    with pytest.raises(UsageError, match="for another model"):
        fit(adapter, {name: torch.zeros(4, 3) for name in adapter.tensors}, lora)


KINDS = {
    "rank and alpha patterns": {
        "r": 4, "lora_alpha": 8, "target_modules": ["q", "v"], "rank_pattern": {"decoder.*q": 2, "v": 6},
        "alpha_pattern": {"encoder.*": 32},
    },
    "targets by a regular expression": {"r": 4, "target_modules": r"decoder\.block\.1\..*\.(q|wo)"},
    "some layers only": {"r": 4, "target_modules": ["q"], "layers_to_transform": [1], "layers_pattern": "block"},
    "layers left out": {"r": 4, "target_modules": ["q", "k"], "exclude_modules": r"encoder\..*"},
    "a scale that is no whole number": {"r": 4, "lora_alpha": 0.5, "target_modules": ["q"]},
    "rank-stabilised": {"r": 4, "lora_alpha": 8, "target_modules": ["q"], "use_rslora": True},
    "drawn from a normal distribution": {"r": 4, "target_modules": ["q"], "init_lora_weights": "gaussian"},
    "an embedding of positions": {"r": 4, "target_modules": ["relative_attention_bias", "q"]},
    "an embedding that is shared": {"r": 4, "target_modules": ["shared", "q"]},
    "the head": {"r": 4, "target_modules": ["lm_head", "q"]},
}  # fmt: skip


def test_an_adapter_of_the_head_fits_a_base_in_another_type(tmp_path):
    """Beside it lies the head as it was trained with, which a run in bfloat16 has rounded."""
    folder = write_adapter(tmp_path, 1, r=4, target_modules=["lm_head", "q"])
    config = PolicyConfig(model="quickstart/policy", adapter=folder, dtype="bfloat16")
    assert Policy(config, seed=0).network.lm_head.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_computes_the_same_where_it_starts_a_run_and_where_it_is_compared(kind, tmp_path, unit):
    """As peft does. Those of embeddings, which peft saves the base's weights beside, were refused."""
    folder = write_adapter(tmp_path, 3, **KINDS[kind])
    base = AutoModelForSeq2SeqLM.from_pretrained("quickstart/policy", dtype=torch.float32)
    bare = logits(base, unit)
    expected = logits(PeftModel.from_pretrained(base, folder), unit)
    assert (expected - bare).abs().max() > 0.05
    started = Policy(PolicyConfig(model="quickstart/policy", adapter=folder, dtype="float32"), seed=0)
    torch.testing.assert_close(logits(started.network, unit), expected, rtol=1e-4, atol=1e-4)
    adapter = read_adapter("policy.adapter", folder)
    check_fits(adapter, "policy.adapter", PolicyConfig(model="quickstart/policy"))
    wide = Adapter(new_shape(Lora(r=7, alpha=3, target_modules=("k",))), {})
    lora = common_shape([adapter, wide])
    policy = Policy(PolicyConfig(model="quickstart/policy", lora=lora, dtype="float32"), seed=0)
    start = policy.state(0)
    policy.load(PolicyState(1, fit(adapter, start.adapter, lora), start.value_head))
    torch.testing.assert_close(logits(policy.network, unit), expected, rtol=1e-4, atol=1e-4)


def renamed(tensors, old, new):
    return {name.replace(old, new): tensor for name, tensor in tensors.items()}


BROKEN = {
    "a stray prefix": (lambda t: renamed(t, "base_model.model.", "base_model.model.model."),
                       r"it lacks 12 of their 12 tensors .* has 12 that belong to none of them"),
    "half of its tensors": (lambda t: dict(list(t.items())[::2]), r"lacks 6 of their 12 tensors"),
    "none of them": (lambda t: {"x": torch.zeros(1)}, r"lacks 12 of their 12 tensors"),
    "one of another shape": (lambda t: {n: x[:1] if "encoder.block.0" in n else x for n, x in t.items()},
                             r"was trained for another model than quickstart/policy"),
    "not a number": (lambda t: {n: x * torch.nan for n, x in t.items()}, r"contains non-finite numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_an_adapter_whose_tensors_are_not_those_of_its_layers_is_refused(case, tmp_path):
    """It gave a bare or half-loaded policy, without a word."""
    folder = write_adapter(tmp_path, 1, r=4, target_modules=["q"])
    change, message = BROKEN[case]
    file = tmp_path / "adapter_model.safetensors"
    save_file({n: t.contiguous() for n, t in change(load_file(file)).items()}, file, metadata={"format": "pt"})
    with pytest.raises(UsageError, match=f"policy.adapter: .*{message}"):
        Policy(PolicyConfig(model="quickstart/policy", adapter=folder, dtype="float32"), seed=0)


UNSUPPORTED = {
    "use_dora": ({"use_dora": True}, "it was created with use_dora"),
    "PiSSA": ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changed the weights of its base model"),
    "OLoRA": ({"init_lora_weights": "olora"}, "init_lora_weights 'olora' changed the weights"),
    "modules_to_save": ({"modules_to_save": ["lm_head"]}, "it was created with modules_to_save"),
    "biases": ({"bias": "lora_only"}, "it trains biases"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_is_no_plain_lora_adapter_is_refused_by_name(case, tmp_path):
    """Some were right in training and wrong in evaluation: KL 143 for 12.6."""
    options, message = UNSUPPORTED[case]
    folder = write_adapter(tmp_path / "odd", 1, r=4, target_modules=["q"], **options)
    with pytest.raises(UsageError, match=f"policy.adapter: .* is not a plain LoRA adapter: {message}"):
        read_adapter("policy.adapter", folder)
    with pytest.raises(UsageError, match="cannot be loaded as an adapter"):
        read_adapter("policy.adapter", str(tmp_path))


def test_another_kind_of_adapter_is_refused_by_name(tmp_path):
    base = AutoModelForSeq2SeqLM.from_pretrained("quickstart/policy")
    get_peft_model(base, IA3Config(target_modules=["k"], feedforward_modules=[])).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="its peft_type is IA3"):
        read_adapter("policy.adapter", str(tmp_path))
    file = tmp_path / "adapter_config.json"
    for config, message in [
        (AdaLoraConfig(target_modules=["q"], total_step=9), "its peft_type is ADALORA"),
        (None, "None"),
    ]:
        config.save_pretrained(tmp_path) if config else file.write_text("{}")
        with pytest.raises(UsageError, match=f"is not a plain LoRA adapter: .*{message}"):
            read_shape("policy.adapter", str(tmp_path))


def test_other_weights_beside_an_adapter_are_refused(tmp_path):
    """peft would put them into the base."""
    folder = write_adapter(tmp_path, 1, r=4, target_modules=["lm_head"])
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    assert "base_model.model.lm_head.base_layer.weight" in tensors
    tensors["base_model.model.lm_head.base_layer.weight"] += 1
    save_file(tensors, file, metadata={"format": "pt"})
    config = PolicyConfig(model="quickstart/policy", adapter=folder, dtype="float32")
    adapter = read_adapter("policy.adapter", folder)
    for refuse in (lambda: Policy(config, seed=0), lambda: check_fits(adapter, "policy.adapter", config)):
        with pytest.raises(
            UsageError, match=r"1 that belong to none of them \(base_model.model.lm_head.base_layer.weight\)"
        ):
            refuse()


def test_layers_that_no_gradient_comes_to_are_found():
    """T5 reads its embedding by the names of encoder and decoder: an adapter of `shared` stayed 0."""

    def policy(*targets):
        lora = Lora(target_modules=targets)
        return Policy(PolicyConfig(model="quickstart/policy", lora=lora), seed=0, device=META).peft

    assert unreached(policy("q", "shared")) == ["shared"]
    assert unreached(policy("q", "v", "relative_attention_bias", "lm_head", "wi_0", "embed_tokens")) == []


def test_an_adapters_value_head_is_kept(tmp_path):
    """It was lost, and a new one learned."""
    policy = Policy(PolicyConfig(model="quickstart/policy", dtype="float32"), seed=0)
    state = policy.state(0)
    state.value_head["weight"] += 1
    save_adapter(state, lora_config(PolicyConfig(model="quickstart/policy")), "quickstart/policy", tmp_path)
    config = PolicyConfig(model="quickstart/policy", adapter=str(tmp_path), dtype="float32")
    warm = Policy(config, seed=9)
    assert warm.value_head_kept and torch.equal(warm.value_head.weight, state.value_head["weight"])
    (tmp_path / "value_head.safetensors").unlink()
    new = Policy(config, seed=9)
    assert not new.value_head_kept and not torch.equal(new.value_head.weight, state.value_head["weight"])
    for tensors, message in [({"weight": torch.zeros(1, 3)}, "belongs to another policy"), (None, "cannot be read")]:
        if tensors:
            save_file(tensors, tmp_path / "value_head.safetensors")
        else:
            (tmp_path / "value_head.safetensors").write_bytes(b"{")
        with pytest.raises(UsageError, match=f"policy.adapter: .*value_head.safetensors.*{message}"):
            Policy(config, seed=9, device=META)
