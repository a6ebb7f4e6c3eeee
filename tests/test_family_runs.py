"""Every family of models through the commands, from doctor to an adapter that peft loads: `make test-slow`."""

import random

import pytest
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM

import ray_job
from cluster.serving.deployment import summarizer_settings
from configs.load import load_config
from tests.conftest import small_arguments
from tests.families import FAMILIES, WORDS
from workers.inference.summarizer import Summarizer, SummaryRequest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder, chosen = tmp_path_factory.mktemp("rows"), random.Random(0)

    def text(most):
        return " ".join(chosen.choices(WORDS, k=chosen.randint(1, most)))

    for split, count in (("train", 24), ("validation", 6), ("test", 6)):
        lines = [f"{text(6)},{text(3)}" for _ in range(count)]
        (folder / f"{split}.csv").write_text("\n".join(["dialogue,summary", *lines, ""]))
    return folder


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_goes_through_every_command(family, rows, tmp_path, capsys):
    model = family.save(tmp_path / "model")
    settings = {"policy__model": model, "data__path": rows, "data__min_chars": 1, "data__template": "{text}",
                "rollout__max_new_tokens": 8, "evaluation__rows": 3, "evaluation__samples": 1, "sft__epochs": 0.3,
                "sft__eval_rows": 2, "sft__evals": 1, "sft__max_target_tokens": 20}  # fmt: skip
    arguments = small_arguments(**settings)

    def run(command, out, *more):
        assert ray_job.main([command, *more, *arguments, f"--out={tmp_path / out}"]) == 0, capsys.readouterr().err

    run("doctor", "none")
    assert "it will run" in capsys.readouterr().out
    run("sft", "sft")
    arguments.append(f"--policy.adapter={tmp_path / 'sft/adapter'}")
    run("train", "run")
    arguments.pop()
    run("evaluate", "compared", "base", f"sft={tmp_path / 'sft'}", f"run={tmp_path / 'run'}")
    adapter = tmp_path / "run/adapter"
    assert any(t.any() for name, t in load_file(adapter / "adapter_model.safetensors").items() if "lora_B" in name)
    loaded = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(model), adapter)
    assert set(loaded.peft_config["default"].target_modules) == set(family.targets)
    summarizer = Summarizer(summarizer_settings(load_config(arguments)))
    request = summarizer.tokenize(SummaryRequest("the dog sees a cat", seed=1))
    [base], [trained] = (summarizer.summarize([request], summarizer.read(name)) for name in ("base", str(adapter)))
    assert isinstance(base, str) and isinstance(trained, str)
