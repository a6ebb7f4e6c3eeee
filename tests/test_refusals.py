"""What a worker would refuse is refused before any starts; preflight, doctor and a real start give the same message."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2ForSequenceClassification,
    RobertaModel,
)

import ray_job
from cluster.pools.opening import open_pools
from cluster.preflight.preflight import preflight
from configs.errors import UsageError
from configs.load import load_config
from tests.conftest import small_arguments

POLICY, REWARD = "quickstart/policy", "quickstart/reward"


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def copied(source, folder):
    shutil.copytree(source, folder)
    return folder


def longer_tokenizer(source, folder):
    """Tokens were added, but the model's embeddings were not resized."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.add_tokens([f"[new{i}]" for i in range(200)])
    tokenizer.save_pretrained(copied(source, folder))


def endless(folder):
    copied(POLICY, folder)
    edit(folder / "config.json", eos_token_id=None)
    edit(folder / "generation_config.json", eos_token_id=None)
    edit(folder / "tokenizer_config.json", eos_token=None)


def short_bart(folder):
    """A BART with 48 positions, where dialogues have some hundred tokens."""
    tokenizer = AutoTokenizer.from_pretrained(POLICY)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
             "encoder_attention_heads": 2, "decoder_attention_heads": 2}  # fmt: skip
    config = BartConfig(vocab_size=len(tokenizer), max_position_embeddings=48, pad_token_id=0, bos_token_id=1,
                        eos_token_id=1, decoder_start_token_id=1, **sizes)  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def truncated(folder):
    file = copied(POLICY, folder) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def without_a_layer(folder):
    file = copied(POLICY, folder) / "model.safetensors"
    tensors = {n: t for n, t in load_file(file).items() if n != "decoder.block.1.layer.0.SelfAttention.q.weight"}
    save_file(tensors, file, metadata={"format": "pt"})


def without_a_head(folder):
    """A model without a classification head."""
    RobertaModel.from_pretrained(REWARD).save_pretrained(folder)
    AutoTokenizer.from_pretrained(REWARD).save_pretrained(folder)
    edit(folder / "config.json", id2label={"0": "nothate", "1": "hate"}, label2id={"nothate": 0, "hate": 1})


def without_padding(folder):
    tokenizer = AutoTokenizer.from_pretrained(REWARD)
    names = {"id2label": {0: "nothate", 1: "hate"}, "label2id": {"nothate": 0, "hate": 1}}
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, **names)
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    edit(folder / "tokenizer_config.json", pad_token=None)


def adapter(folder, change=lambda tensors: tensors, **options):
    torch.manual_seed(0)
    base = AutoModelForSeq2SeqLM.from_pretrained(POLICY)
    shape = LoraConfig(r=2, task_type="SEQ_2_SEQ_LM", **{"target_modules": ["q"], **options})
    get_peft_model(base, shape).save_pretrained(folder)
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def no_targets(folder):
    adapter(folder)
    edit(folder / "adapter_config.json", target_modules=None)


CASES = {
    "a policy with a larger tokenizer": (
        lambda folder: longer_tokenizer(POLICY, folder), ["--policy.model={}"],
        "policy.model: the tokenizer has token id 1319, but the model has embeddings for 1120 tokens only"),
    "a reward with a larger tokenizer": (
        lambda folder: longer_tokenizer(REWARD, folder), ["--reward.parts.classifier.model={}"],
        "reward.parts.classifier.model: the tokenizer has token id"),
    "a policy that would never end": (
        endless, ["--policy.model={}"],
        "policy.model: neither the tokenizer nor the model defines an end-of-sequence token"),
    "a policy whose file was cut off": (truncated, ["--policy.model={}"], "policy.model: {} cannot be loaded: "),
    "a policy that lacks a weight": (
        without_a_layer, ["--policy.model={}"],
        "policy.model: {} lacks weights of T5ForConditionalGeneration (decoder.block.1.layer.0"),
    "a reward that is no classifier yet": (
        without_a_head, ["--reward.parts.classifier.model={}"],
        "lacks weights of RobertaForSequenceClassification (classifier."),
    "a reward without a pad token": (
        without_padding, ["--reward.parts.classifier.model={}"],
        "reward.parts.classifier.model: its tokenizer has no pad"),
    "a second judge without a pad token": (
        without_padding,
        ['--evaluation.second_judge={{"type": "classifier", "model": "{}", "label": "nothate"}}'],
        "evaluation.second_judge.model: its tokenizer has no pad token"),
    "an adapter with a stray prefix": (
        lambda folder: adapter(folder, lambda t: {n.replace("model.", "model.x.", 1): v for n, v in t.items()}),
        ["--policy.adapter={}"], "policy.adapter: {}: does not fit the LoRA layers of quickstart/policy: "),
    "an adapter that is no plain LoRA": (
        lambda folder: adapter(folder, use_dora=True), ["--policy.adapter={}"],
        "policy.adapter: {} is not a plain LoRA adapter: it was created with use_dora"),
    "an adapter of no layers": (
        no_targets, ["--policy.adapter={}"], "policy.adapter: {} is not a plain LoRA adapter: it has no target_"),
    "a layer of another kind": (
        None, ["--policy.lora.target_modules=q,dropout"], "policy.lora.target_modules: quickstart/policy cannot be"),
}  # fmt: skip
PREFLIGHT_ONLY = {
    "prompts longer than the positions": (
        short_bart, ["--policy.model={}", "--policy.lora.target_modules=q_proj"],
        "data.max_prompt_tokens: {} has positions for 48 tokens, and a prompt has"),
    "completions longer than the positions": (
        short_bart, ["--policy.model={}", "--policy.lora.target_modules=q_proj", "--rollout.max_new_tokens=49"],
        "rollout.max_new_tokens: 49, but {} has positions for 48 tokens; lower it"),
    "an adapter of a layer that never learns": (
        lambda folder: adapter(folder, target_modules=["shared"]), ["--policy.adapter={}"],
        "policy.adapter: shared never receives a gradient in quickstart/policy"),
    "a layer that never learns": (
        None, ["--policy.lora.target_modules=q,shared"],
        "policy.lora.target_modules: shared never receives a gradient in quickstart/policy"),
}  # fmt: skip
WEIGHTS_ONLY = {
    "a label taken the wrong way": (
        None, ["--reward.parts.classifier.label=hate"],
        "label_is: reward.parts.classifier.probe.better ('Thank you so"),
    "a weight that turns the reward round": (
        None, ["--reward.parts.classifier.weight=-1"], "reward.parts.classifier.weight: -1 rewards bad texts"),
}  # fmt: skip
"""Cases that only weights reveal, which are not loaded before the start except by doctor."""


@pytest.mark.parametrize("case", [*CASES, *PREFLIGHT_ONLY, *WEIGHTS_ONLY])
def test_preflight_doctor_and_a_real_start_refuse_with_the_same_message(case, tmp_path, capsys):
    make, options, message = (CASES | PREFLIGHT_ONLY | WEIGHTS_ONLY)[case]
    folder = tmp_path / "model"
    if make:
        make(folder)
    arguments, message = small_arguments() + [o.format(folder) for o in options], message.format(folder)
    config, reported = load_config(arguments), []
    if case not in WEIGHTS_ONLY:
        with pytest.raises(UsageError) as refused:
            preflight(config)
        assert [p for p in refused.value.problems if message in p], refused.value
    for command in (["doctor"], ["train"]):
        assert ray_job.main([*command, *arguments]) == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        reported.append([line for line in error.splitlines() if message in line])
    assert len(reported[0]) == 1 and reported[0] == reported[1]
    if case in CASES:
        with pytest.raises(UsageError) as refused:
            with open_pools(config) as pools:
                pools.reward.worker.probe()
        assert reported[0] == [f"error: {problem}" for problem in refused.value.problems]
