"""Models on Ray Serve: every question gets its own answer, or is told why not, whoever dies meanwhile."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, chdir
from pathlib import Path

import psutil
import pytest
from cluster.serving.models import TooSlow, Unavailable, start_models
from peft import LoraConfig, get_peft_model
from ray import serve
from ray.cluster_utils import Cluster
from transformers import T5Config, T5ForConditionalGeneration

from cluster.pools.ray_pools import connected
from cluster.serving import models as serving
from cluster.serving.deployment import summarizer_settings
from cluster.serving.replicas import Scores, Summaries
from configs.errors import RunError, UsageError
from learner.adapter import BASE
from tests.conftest import scorer_settings, small_config
from tests.learner.test_lora import write_adapter
from workers.data.prompts import read_rows
from workers.inference.scorer import Scorer
from workers.inference.summarizer import Summarizer, SummaryRequest, TooLong

pytestmark = [pytest.mark.ray, pytest.mark.chaos]  # a minute and a half; test_serve.py asks the same models

FATAL = "a text that kills"
ELSEWHERE = """
import sys, ray
from ray import serve

@serve.deployment
class Answer:
    def __call__(self):
        return "theirs"

ray.init(address=sys.argv[1], logging_level="ERROR")
print(serve.run(Answer.bind(), name=sys.argv[2], route_prefix=None).remote().result(), flush=True)
sys.stdin.read()
"""


class ObedientSummarizer(Summarizer):
    """Dies of one text, and writes down which process was asked."""

    def tokenize(self, question):
        if question.dialogue == FATAL:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().tokenize(question)

    def summarize(self, questions, adapter):
        note(self.config, "summarizing", os.getpid())
        return super().summarize(questions, adapter)


class ObedientScorer(Scorer):
    """Waits at some texts for as long as that file is there, and writes down each batch."""

    def __init__(self, config):
        super().__init__(config)
        self.config = config

    def score(self, texts):
        note(self.config, "batches", list(texts))
        for path in (Path(text) for text in texts if text.startswith("/")):
            while path.exists():
                time.sleep(0.01)
        return super().score(texts)


class ObedientSummaries(Summaries):
    path = "tests.cluster.test_serving:ObedientSummarizer"


class ObedientScores(Scores):
    path = "tests.cluster.test_serving:ObedientScorer"

    async def __call__(self, text):
        note(self.model.config, "come", text)
        try:
            return await super().__call__(text)
        except asyncio.CancelledError:
            note(self.model.config, "cancelled", text)
            raise


def note(config, name, what):
    with open(Path(config.out) / name, "a") as file:
        file.write(json.dumps(what) + "\n")


def noted(config, name):
    path = Path(config.out) / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Begun elsewhere, which is where its processes are."""
    with chdir(tmp_path_factory.mktemp("head")):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 8, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def setting(cluster, tmp_path_factory):
    return small_config(
        out=tmp_path_factory.mktemp("out"),
        rollout__max_new_tokens=32, cluster__backend="ray", cluster__address=cluster.address, cluster__attempts=1,
        serve__summary_replicas=2, serve__score_replicas=1, serve__batch_size=8, serve__adapters=2,
        serve__limits__timeout=300,
    )  # fmt: skip


def leave(cluster, folder, app):
    """Have somebody else's driver, in a folder of its own, begin an application, and be killed."""
    words = [sys.executable, "-c", ELSEWHERE, cluster.address, app]
    with subprocess.Popen(words, cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        assert driver.stdout.readline() == "theirs\n"
        driver.kill()


@pytest.fixture(scope="module")
def models(cluster, setting, tmp_path_factory):
    """In the place of a service that was killed, begun in the folder of an older version of the code."""
    folder = tmp_path_factory.mktemp("older")
    (folder / "cluster").mkdir()
    (folder / "cluster/__init__.py").touch()
    leave(cluster, folder, "seqrlhf-summaries")
    earlier = replicas(cluster, "summaries")
    with pytest.MonkeyPatch.context() as patch, connected(cluster.address) as machines:
        patch.setitem(serving.KINDS, "summaries", (ObedientSummaries, "rollout"))
        patch.setitem(serving.KINDS, "scores", (ObedientScores, "reward"))
        models = start_models(setting, machines)
        assert len(earlier) == 1 and not earlier & replicas(cluster, "summaries")
        yield models
        serve.shutdown()


@pytest.fixture(scope="module")
def summarizer(setting):
    return Summarizer(summarizer_settings(setting))


@pytest.fixture(scope="module")
def scorer(setting):
    return Scorer(scorer_settings(setting))


@pytest.fixture(scope="module")
def dialogues(setting):
    return [row.text for row in read_rows(setting.data, "validation")][:60]


def replicas(cluster, kind):
    """Processes of this cluster's replicas."""
    [raylet] = cluster.head_node.all_processes["raylet"]
    workers = psutil.Process(raylet.process.pid).children()
    return {worker.pid for worker in workers if f"ray::ServeReplica:seqrlhf-{kind}" in title(worker)}


def title(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it is dying just now
        return ""


def expected(summarizer, adapter, questions):
    return summarizer.summarize([summarizer.tokenize(question) for question in questions], summarizer.read(adapter))


def outcomes(*asked):
    """What each call comes to, all made at once."""

    async def together():
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(together())


def is_near(verdict, other):
    return verdict.logits == pytest.approx(other.logits, abs=1e-4) and verdict.toxicity == pytest.approx(
        other.toxicity, abs=1e-4
    )


def test_models_are_there_in_the_place_of_an_earlier_service(models, summarizer, scorer, dialogues):
    assert models.ready() == {"summaries": 2, "scores": 1}
    question = SummaryRequest(dialogues[0])
    summary, verdict = outcomes(models.summarize(BASE, question), models.score("Thank you."))
    assert [summary] == expected(summarizer, BASE, [question])
    assert is_near(verdict, scorer.score(["Thank you."])[0])


@pytest.mark.parametrize(
    "rounds, doomed", [(1, 1), pytest.param(5, 3, marks=pytest.mark.chaos)], ids=["one of two", "all, again and again"]
)
def test_every_question_gets_its_own_answer_though_replicas_are_killed(
    cluster, models, summarizer, scorer, dialogues, rounds, doomed
):
    questions = [SummaryRequest(text, seed if seed % 2 else None) for seed, text in enumerate(dialogues)]
    wanted, verdicts = expected(summarizer, BASE, questions), scorer.score(dialogues)

    async def ask():
        await all_there(models)
        killed = [*replicas(cluster, "summaries"), *replicas(cluster, "scores")][:doomed]
        summaries = [asyncio.create_task(models.summarize(BASE, question)) for question in questions]
        scores = [asyncio.create_task(models.score(text)) for text in dialogues]
        await asyncio.wait(summaries + scores, return_when=asyncio.FIRST_COMPLETED)
        for tasks in (summaries, scores):
            assert not all(task.done() for task in tasks), "some are under way"
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        return await asyncio.gather(*summaries), await asyncio.gather(*scores), killed

    for _ in range(rounds):
        summaries, scores, killed = asyncio.run(ask())
        assert summaries == wanted and len(set(wanted)) > 50
        assert all(map(is_near, scores, verdicts))
        assert len(killed) == doomed and not {*killed} & (replicas(cluster, "scores") | replicas(cluster, "summaries"))


def test_adapters_of_all_shapes_are_asked_side_by_side(models, summarizer, dialogues, tmp_path):
    """More of them than a replica keeps, and one that is written anew."""
    shapes = [{"r": 2, "lora_alpha": 16}, {"r": 16, "lora_alpha": 32}, {"r": 4, "lora_alpha": 16}]
    layers = [["q"], ["v", "k"], ["q", "v"]]
    folders = [
        write_adapter(tmp_path / str(seed), seed, target_modules=modules, **shape)
        for seed, (shape, modules) in enumerate(zip(shapes, layers, strict=True))
    ]
    questions = [SummaryRequest(text) for text in dialogues[:5]]

    def check(*adapters):
        wanted = [answer for adapter in adapters for answer in expected(summarizer, adapter, questions)]
        assert outcomes(*[models.summarize(adapter, q) for adapter in adapters for q in questions]) == wanted
        return wanted

    assert len(set(check(BASE, *folders))) > 10
    before = check(folders[0])
    write_adapter(folders[0], 7, target_modules=layers[0], **shapes[0])
    assert check(folders[0]) != before


def test_bad_questions_are_told_and_harm_no_others(cluster, models, summarizer, dialogues, tmp_path):
    other = T5ForConditionalGeneration(T5Config(vocab_size=100, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4))
    get_peft_model(other, LoraConfig(r=2, target_modules=["q"])).save_pretrained(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    there, good = replicas(cluster, "summaries"), [SummaryRequest(text) for text in [*dialogues[:6], "", "\ud800"]]
    bad = [
        (BASE, "word " * 5000, TooLong, "at most 512 are taken"),
        (str(tmp_path / "other"), dialogues[0], UsageError, "of another model"),
        (str(tmp_path / "empty"), dialogues[0], UsageError, "holds no adapter"),
        (str(tmp_path / "none"), dialogues[0], UsageError, "holds no adapter"),
    ]
    asked = [models.summarize(BASE, question) for question in good]
    for place, (adapter, text, _, _) in enumerate(bad):
        asked.insert(2 * place, models.summarize(adapter, SummaryRequest(text)))
    answers = outcomes(*asked)
    for place, (_, _, kind, message) in reversed(list(enumerate(bad))):
        error = answers.pop(2 * place)
        assert type(error) is kind and message in str(error)
    assert answers == expected(summarizer, BASE, good)
    assert replicas(cluster, "summaries") == there


@asynccontextmanager
async def busy(models, setting, folder):
    """For as long as this lasts, the replica of the one model has something to do."""
    file = folder / "busy"
    file.touch()
    task = asyncio.create_task(models.score(str(file)))
    await come_true(lambda: [str(file)] in noted(setting, "batches"))
    yield
    file.unlink()
    await task


async def all_there(models):
    await come_true(lambda: models.ready() == {"summaries": 2, "scores": 1})


async def come_true(what):
    """Of other processes: there is no event to wait for."""
    async with asyncio.timeout(60):
        while not what():
            await asyncio.sleep(0.01)


def test_whoever_comes_while_a_batch_is_answered_is_in_the_next_one(models, setting, tmp_path):
    """Serve alone would make a batch of each."""
    texts = [f"one after another, {number}" for number in range(8)]

    async def ask():
        async with busy(models, setting, tmp_path):
            tasks = []
            for text in texts:
                tasks.append(asyncio.create_task(models.score(text)))
                await come_true(lambda text=text: text in noted(setting, "come"))
                await asyncio.sleep(5 * setting.serve.batch_wait)  # a batch would not wait so long for another
        await asyncio.gather(*tasks)

    asyncio.run(ask())
    assert [batch for batch in noted(setting, "batches") if set(batch) & set(texts)] == [texts]


def test_nobody_works_for_whoever_has_given_up(models, setting, tmp_path, monkeypatch):
    """By the deadline or by a client that has gone."""
    limits, late, gone = models.limits, [f"late {n}" for n in range(12)], [f"gone {n}" for n in range(12)]

    async def ask():
        async with busy(models, setting, tmp_path):
            monkeypatch.setattr(models, "limits", limits.model_copy(update={"timeout": 0.5}))
            told = await asyncio.gather(*[models.score(text) for text in late], return_exceptions=True)
            monkeypatch.setattr(models, "limits", limits)
            tasks = [asyncio.create_task(models.score(text)) for text in gone]
            await come_true(lambda: set(gone) <= set(noted(setting, "come")))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            left = {*late, *gone} & set(noted(setting, "come"))
            await come_true(lambda: left <= set(noted(setting, "cancelled")))
        return told, await models.score("last")

    told, _ = asyncio.run(ask())
    assert {type(error) for error in told} == {TooSlow}
    assert not {*late, *gone} & {text for batch in noted(setting, "batches") for text in batch}


def test_replicas_share_what_is_asked_of_one_adapter(cluster, models, setting, dialogues, tmp_path):
    """Serve's own way with multiplexed models has the one that read it first answer all."""
    asyncio.run(all_there(models))
    adapter = write_adapter(tmp_path, 1, r=2, target_modules=["q"])
    outcomes(models.summarize(adapter, SummaryRequest(dialogues[0])))
    time.sleep(2)  # in which Serve would spread who has read it
    before = len(noted(setting, "summarizing"))
    outcomes(*[models.summarize(adapter, SummaryRequest(text)) for text in dialogues])
    assert set(noted(setting, "summarizing")[before:]) == replicas(cluster, "summaries")


def test_a_question_that_kills_every_replica_is_told_and_not_tried_for_ever(cluster, models):
    asyncio.run(all_there(models))
    there = replicas(cluster, "summaries")
    [error] = outcomes(models.summarize(BASE, SummaryRequest(FATAL)))
    assert isinstance(error, Unavailable) and "2 replicas of summaries died over it" in str(error)
    assert len(there) == 2 and not there & replicas(cluster, "summaries")


def test_without_replicas_that_is_told(models, monkeypatch):
    models.stop()
    assert models.ready() == {"summaries": 0, "scores": 0}
    monkeypatch.setattr(models, "limits", models.limits.model_copy(update={"timeout": 1.0}))
    [error] = outcomes(models.score("text"))
    assert isinstance(error, Unavailable) and "no replica of scores is there" in str(error)


@pytest.fixture(scope="module")
def others(cluster, models, tmp_path_factory):
    """A Serve that somebody else has begun, who knows nothing of this code."""
    serve.shutdown()
    leave(cluster, tmp_path_factory.mktemp("others"), "other")
    return lambda: serve.get_app_handle("other").remote().result(timeout_s=30)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"reward__model": "/nowhere"}, "the models cannot be served: .*'/nowhere'"),
        ({"reward__label": "hate"}, "^reward.label_is: "),
        pytest.param(
            {"cluster__resources__reward__cpus": 99, "cluster__start_timeout": 1},
            "the models cannot be served: they found no place within 1 s",
            marks=pytest.mark.chaos,
        ),
    ],
    ids=["no model", "a reversed judge", "no place"],
)
def test_models_that_do_not_start_are_told_and_what_others_serve_goes_on(cluster, others, settings, message):
    config = small_config(cluster__resources__rollout__cpus=99, cluster__attempts=1, **settings)
    with pytest.raises((RunError, UsageError), match=message):
        start_models(config, [serving.Machine(8)])
    assert set(serve.status().applications) == {"other"} and others() == "theirs"
    assert not replicas(cluster, "summaries") | replicas(cluster, "scores")


def test_a_replica_whose_model_hangs_calls_itself_unhealthy():
    """Without Ray: Serve would ask it three times."""
    replica, ended = Scores(small_config(), 1, os.getcwd()), threading.Event()

    async def hang():
        task = asyncio.create_task(replica._work(ended.wait))
        await asyncio.sleep(0)
        replica.check_health()
        replica.patience = 0
        with pytest.raises(RuntimeError, match="no answer within 0 s"):
            replica.check_health()
        ended.set()
        await task
        replica.check_health()

    asyncio.run(hang())
