"""Target languages and prefixes: from the config or a column, to what the decoder reads."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer

from cluster.plan import make_unit
from cluster.serving.deployment import summarizer_settings
from configs.data import DataConfig
from configs.decoding import Greedy
from configs.errors import UsageError
from learner.family import read_prefix
from tests.conftest import read_prompts, settings_of, small_config
from tests.families import FAMILIES
from workers.data.languages import decoder_prefix
from workers.data.prompts import make_prompts, read_rows
from workers.inference.summarizer import Summarizer, SummaryRequest
from workers.reference import ReferenceWorker
from workers.rollout.worker import RolloutWorker

CODES = {"mBART": ("en_XX", "de_DE"), "mBART-50": ("en_XX", "de_DE"), "M2M100": ("en", "de"),
         "NLLB": ("eng_Latn", "deu_Latn")}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("languages")
    return {f.name: f.save(root / f.name) for f in FAMILIES if f.name in CODES or f.name == "BART"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    text = "text,reference,from,to\nthe cat,die katze,eng_Latn,deu_Latn\nthe cat,le chat,eng_Latn,fra_Latn\n"
    for split in ("train", "validation", "test"):
        (folder / f"{split}.csv").write_text(text + "die katze,the cat,deu_Latn,eng_Latn\n")
    return folder


def config_of(folder, rows, **more):
    data = {"path": rows, "prompt_column": "text", "reference_column": "reference", "min_chars": 1,
            "template": "{text}"}  # fmt: skip
    given = {f"data__{key}": value for key, value in (data | more).items()}
    return small_config(policy__model=folder, rollout__max_new_tokens=6, policy__dtype="float32", **given)


def prompts_of(config):
    tokenizer = AutoTokenizer.from_pretrained(config.policy.model)
    own = read_prefix("policy.model", config.policy.model)
    return make_prompts(read_rows(config.data, "test"), config.data, tokenizer, own_prefix=own)


@pytest.mark.parametrize("name", CODES)
def test_prompts_and_completions_are_in_their_languages_as_transformers_own_pipeline_makes_them(name, folders, rows):
    source, target = CODES[name]
    prompt = prompts_of(config_of(folders[name], rows, src_lang=source, tgt_lang=target))[0]
    tokenizer = AutoTokenizer.from_pretrained(folders[name])
    theirs = tokenizer._build_translation_inputs("the cat", return_tensors=None, src_lang=source, tgt_lang=target)
    assert list(prompt.token_ids) == theirs["input_ids"]
    if name == "mBART":  # its own documentation: decoder_start_token_id is the language
        assert prompt.decoder_prefix == (theirs["forced_bos_token_id"],)
    else:
        assert prompt.decoder_prefix == (2, theirs["forced_bos_token_id"])


def test_each_row_has_its_own_languages_from_the_data_to_the_log_probability(folders, rows):
    config = config_of(folders["NLLB"], rows, src_lang_column="from", tgt_lang_column="to")
    prompts, worker = prompts_of(config), RolloutWorker(settings_of(config, "rollout"))
    german, french, english = (worker.tokenizer.convert_tokens_to_ids(f"{c}_Latn") for c in ("deu", "fra", "eng"))
    assert [p.decoder_prefix for p in prompts] == [(2, german), (2, french), (2, english)]
    assert [p.token_ids[0] for p in prompts] == [english, english, german]
    assert [p.references for p in prompts] == [("die katze",), ("le chat",), ("the cat",)], "one text, two prompts"
    unit, state = make_unit(prompts, range(3), (0, 0), seed=1), worker.policy.state(0)
    rollouts, old = worker.generate(unit, state)
    reference = ReferenceWorker(settings_of(config, "reference")).logprobs(rollouts, state)
    assert torch.equal(reference.logprobs, old.logprobs)
    mask = rollouts.completion_mask
    torch.testing.assert_close(rollouts.logprobs[mask], old.logprobs[mask], atol=1e-4, rtol=1e-4)
    turned, _ = worker.generate(replace(unit, decoder_prefix=unit.decoder_prefix[[1, 0, 2]]), state)
    assert not torch.equal(turned.logprobs[:2, :1], rollouts.logprobs[:2, :1])
    assert torch.equal(turned.logprobs[2], rollouts.logprobs[2])


def test_a_forced_first_token_is_context_and_a_given_text_follows_it(folders, rows):
    tokenizer = AutoTokenizer.from_pretrained(folders["BART"])
    assert read_prefix("policy.model", folders["BART"]) == (2, 0)
    assert prompts_of(config_of(folders["BART"], rows))[0].decoder_prefix == (), "the model's own affair"
    found = prompts_of(config_of(folders["BART"], rows, target_prefix="the dog"))[0].decoder_prefix
    assert found == (2, 0, *tokenizer.convert_tokens_to_ids(["the", "dog"]))
    worker = RolloutWorker(settings_of(config_of(folders["BART"], rows), "rollout"))
    assert worker.policy.decoder_prefix == (2, 0)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("NLLB", {"tgt_lang": "German"}, "data.tgt_lang: 'German' is not a language of the tokenizer (NllbTokenizer)"),
        ("M2M100", {"src_lang": "xx"}, "data.src_lang: 'xx' is not a language of the tokenizer (M2M100Tokenizer)"),
        ("mBART-50", {"tgt_lang": "a"}, "data.tgt_lang: 'a' is not a language"),
        ("BART", {"tgt_lang": "de"}, "data.tgt_lang: the tokenizer (TokenizersBackend) knows no languages"),
        ("NLLB", {"tgt_lang_column": "language"}, "data.tgt_lang_column: "),
        ("NLLB", {"tgt_lang_column": "reference"}, "data.tgt_lang: 'die katze' is not a language"),
    ],
)
def test_what_is_no_language_is_refused_by_name(name, settings, message, folders, rows):
    with pytest.raises(UsageError) as refused:
        prompts_of(config_of(folders[name], rows, **settings))
    assert message in str(refused.value)


def test_each_runs_summaries_begin_as_its_own_config_says(folders, rows):
    """As the replicas answer: what a request's run asks for, and otherwise what the service's config does."""
    config = config_of(folders["NLLB"], rows, src_lang="eng_Latn", tgt_lang="deu_Latn")
    summarizer = Summarizer(summarizer_settings(config))
    own = summarizer.settings.format
    french = replace(own, languages=own.languages._replace(target="fra_Latn"))
    longer = replace(own, target_prefix="the")
    german, other, begun = (summarizer.tokenize(SummaryRequest("the cat", format=f)) for f in (None, french, longer))
    codes = summarizer.tokenizer.convert_tokens_to_ids(["deu_Latn", "fra_Latn"])
    assert [german.prefix, other.prefix] == [(2, code) for code in codes] and len(begun.prefix) > 2
    adapter = summarizer.read("base")
    together = summarizer.summarize([german, other], adapter)
    assert together == [summarizer.summarize([request], adapter)[0] for request in (german, other)]
    worker, unit = RolloutWorker(settings_of(config, "rollout")), make_unit(prompts_of(config), [0], (0, 0), seed=0)
    greedy = worker.summarize(replace(unit, decoding=Greedy()), worker.policy.state(0))
    assert greedy.texts[0] == together[0]


def test_nothing_is_asked_for_by_default(config):
    tokenizer = AutoTokenizer.from_pretrained(config.policy.model)
    assert decoder_prefix((0,), tokenizer, None, "") == ()
    assert {prompt.decoder_prefix for prompt in read_prompts(config)} == {()}


def test_a_row_without_a_language_has_that_of_the_config_or_is_refused(tmp_path):
    rows = [{"dialogue": "one", "summary": "1", "to": "deu_Latn"}, {"dialogue": "two", "summary": "2", "to": ""}]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DataConfig(path=str(tmp_path), tgt_lang_column="to", min_chars=1)
    with pytest.raises(UsageError, match=r"data.tgt_lang_column: 'to' of .*test.jsonl line 2 is empty"):
        read_rows(data, "test")
    kept = read_rows(data.model_copy(update={"tgt_lang": "fra_Latn"}), "test")
    assert [row.first.languages.target for row in kept] == ["deu_Latn", "fra_Latn"]
