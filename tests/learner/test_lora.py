"""Adapters of several shapes in one model compute what each computed in its own."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSeq2SeqLM

from configs.errors import UsageError
from configs.schema import Policy as PolicyConfig
from learner.lora import common_shape, fit, read_adapter
from learner.policy import Policy
from learner.types import PolicyState


def write_adapter(folder, seed, safe=True, **shape):
    torch.manual_seed(seed)
    base = AutoModelForSeq2SeqLM.from_pretrained("quickstart/policy", dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(task_type="SEQ_2_SEQ_LM", **shape))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
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
    read = [read_adapter(folder) for folder in folders]
    lora = common_shape([shape for shape, _ in read])
    assert lora.r == 8 and set(lora.target_modules) == {"q", "v", "k"}
    policy = Policy(PolicyConfig(model="quickstart/policy", lora=lora, dtype="float32"), seed=0)
    start = policy.state(0)
    for version, (folder, (shape, tensors)) in enumerate(zip(folders, read, strict=True), start=1):
        policy.load(PolicyState(version, fit(tensors, shape, start.adapter, lora), start.value_head))
        base = AutoModelForSeq2SeqLM.from_pretrained("quickstart/policy", dtype=torch.float32)
        bare = logits(base, unit)
        expected = logits(PeftModel.from_pretrained(base, folder), unit)
        torch.testing.assert_close(logits(policy.network, unit), expected, rtol=1e-4, atol=1e-4)
        assert (expected - bare).abs().max() > 0.1, "it is no other adapter's, nor the bare model's"
    policy.load(PolicyState(9, fit({}, read[0][0], start.adapter, lora), start.value_head))
    torch.testing.assert_close(logits(policy.network, unit), bare)


def test_an_adapter_in_its_own_shape_keeps_its_bits(tmp_path):
    folder = write_adapter(tmp_path, 1, r=4, lora_alpha=8, target_modules=["q", "v"])
    shape, tensors = read_adapter(folder)
    lora = common_shape([shape, shape])
    fitted = fit(tensors, shape, {name: torch.zeros_like(t) for name, t in tensors.items()}, lora)
    assert all(torch.equal(fitted[name], tensor) for name, tensor in tensors.items())


def test_an_adapter_of_another_model_is_refused(tmp_path):
    folder = write_adapter(tmp_path, 1, r=4, target_modules=["q"])
    shape, tensors = read_adapter(folder)
    lora = common_shape([shape])
    with pytest.raises(UsageError, match="of another model"):
        fit(tensors, shape, {}, lora)
    with pytest.raises(UsageError, match="of another model"):
        fit(tensors, shape, {name: torch.zeros(4, 3) for name in tensors}, lora)


def test_what_is_no_plain_lora_adapter_is_refused(tmp_path):
    folder = write_adapter(tmp_path / "dora", 1, r=4, target_modules=["q"], use_dora=True)
    with pytest.raises(UsageError, match="without use_dora"):
        read_adapter(folder)
    with pytest.raises(UsageError, match="cannot be loaded as an adapter"):
        read_adapter(str(tmp_path))
