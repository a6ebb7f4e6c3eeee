"""Models on Ray Serve: every request gets its own answer or a clear error, even while replicas die."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, chdir
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from peft import LoraConfig, get_peft_model
from ray import serve
from ray.cluster_utils import Cluster
from transformers import T5Config, T5ForConditionalGeneration

from cluster.placement import Machine
from cluster.pools.interface import WorkerSpec
from cluster.ray_cluster import connected
from cluster.serving import deployment
from cluster.serving.client import TooSlow, Unavailable
from cluster.serving.deployment import serving_models, summarizer_settings
from cluster.serving.replicas import ReplicaSettings, RewardReplica
from configs.errors import RunError, UsageError
from learner.adapter import BASE
from tests.conftest import scorer_settings, small_config
from tests.learner.test_lora import write_adapter
from workers.data.prompts import read_rows
from workers.inference.scorer import Scorer
from workers.inference.summarizer import Summarizer, SummaryRequest, TooLong
from workers.reward.items import Item

pytestmark = [pytest.mark.ray, pytest.mark.chaos]  # a minute and a half; test_serve.py calls the same models

FATAL, SERVICE = "a text that kills", "test"
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


def observed_spec(folder):
    """Makes specs of the classes below in place of the real ones; they write notes into the folder."""
    return lambda path, settings: WorkerSpec(f"{__name__}:Observed{path.partition(':')[2]}", (settings, folder))


class ObservedSummarizer(Summarizer):
    """Dies of one text, and notes which process summarizes."""

    def __init__(self, settings_and_folder):
        settings, self.folder = settings_and_folder
        super().__init__(settings)

    def tokenize(self, request):
        if request.dialogue == FATAL:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().tokenize(request)

    def summarize(self, requests, adapter):
        note(self.folder, "summarizing", os.getpid())
        return super().summarize(requests, adapter)


class ObservedScorer(Scorer):
    """Waits at a text that is a path for as long as the file exists, and notes each batch."""

    def __init__(self, settings_and_folder):
        settings, self.folder = settings_and_folder
        super().__init__(settings)

    def score(self, items):
        texts = [item.completion for item in items]
        note(self.folder, "batches", texts)
        for path in (Path(text) for text in texts if text.startswith("/")):
            while path.exists():
                time.sleep(0.01)
        return super().score(items)


class ObservedRewardReplica(RewardReplica):
    """Notes requests that arrive or are cancelled."""

    async def __call__(self, item):
        text = item.completion
        note(self.model.folder, "arrived", text)
        try:
            return await super().__call__(item)
        except asyncio.CancelledError:
            note(self.model.folder, "cancelled", text)
            raise


def note(folder, name, value):
    with open(Path(folder) / name, "a") as file:
        file.write(json.dumps(value) + "\n")


def noted(config, name):
    path = Path(config.out) / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster started in another folder, which is the current folder of its processes."""
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
    """Let another driver, in a folder of its own, start an application and be killed."""
    words = [sys.executable, "-c", ELSEWHERE, cluster.address, app]
    with subprocess.Popen(words, cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        assert driver.stdout.readline() == "theirs\n"
        driver.kill()


@pytest.fixture(scope="module")
def models(cluster, setting, tmp_path_factory):
    """Replaces a service that was killed, and had been started in the folder of an older version of the code."""
    folder = tmp_path_factory.mktemp("older")
    (folder / "cluster").mkdir()
    (folder / "cluster/__init__.py").touch()
    leave(cluster, folder, f"seqrlhf-{SERVICE}-summaries")
    earlier = replicas(cluster, "summaries")
    with pytest.MonkeyPatch.context() as patch, connected(cluster.address) as machines:
        patch.setattr(deployment, "WorkerSpec", observed_spec(setting.out))
        patch.setattr(deployment, "RewardReplica", ObservedRewardReplica)
        with serving_models(setting, machines, SERVICE) as models:
            assert len(earlier) == 1 and not earlier & replicas(cluster, "summaries")
            yield models


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
    return {worker.pid for worker in workers if f"ray::ServeReplica:seqrlhf-{SERVICE}-{kind}" in title(worker)}


def title(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it is ending
        return ""


def expected(summarizer, adapter, requests):
    return summarizer.summarize([summarizer.tokenize(request) for request in requests], summarizer.read(adapter))


def outcomes(*calls):
    """The answer or error of each call, all made concurrently."""

    async def together():
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(together())


def is_near(verdict, other):
    return verdict.parts == pytest.approx(other.parts, abs=1e-4) and verdict.toxicity == pytest.approx(
        other.toxicity, abs=1e-4
    )


def test_models_replace_those_of_an_earlier_service(models, summarizer, scorer, dialogues):
    assert models.ready() == {"summaries": 2, "scores": 1}
    request = SummaryRequest(dialogues[0])
    summary, verdict = outcomes(models.summarize(BASE, request), models.score(Item("Thank you.")))
    assert [summary] == expected(summarizer, BASE, [request])
    assert is_near(verdict, scorer.score([Item("Thank you.")])[0])


@pytest.mark.parametrize(
    "rounds, doomed", [(1, 1), pytest.param(5, 3, marks=pytest.mark.chaos)], ids=["one of two", "all, repeatedly"]
)
def test_every_request_gets_its_own_answer_even_if_replicas_are_killed(
    cluster, models, summarizer, scorer, dialogues, rounds, doomed
):
    requests = [SummaryRequest(text, seed if seed % 2 else None) for seed, text in enumerate(dialogues)]
    wanted, verdicts = expected(summarizer, BASE, requests), scorer.score([Item(text) for text in dialogues])

    async def ask():
        await all_running(models)
        killed = [*replicas(cluster, "summaries"), *replicas(cluster, "scores")][:doomed]
        summaries = [asyncio.create_task(models.summarize(BASE, request)) for request in requests]
        scores = [asyncio.create_task(models.score(Item(text))) for text in dialogues]
        await asyncio.wait(summaries + scores, return_when=asyncio.FIRST_COMPLETED)
        for tasks in (summaries, scores):
            assert not all(task.done() for task in tasks), "some are in progress"
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        return await asyncio.gather(*summaries), await asyncio.gather(*scores), killed

    for _ in range(rounds):
        summaries, scores, killed = asyncio.run(ask())
        assert summaries == wanted and len(set(wanted)) > 50
        assert all(map(is_near, scores, verdicts))
        assert len(killed) == doomed and not {*killed} & (replicas(cluster, "scores") | replicas(cluster, "summaries"))


def test_adapters_of_all_shapes_are_used_concurrently(models, summarizer, dialogues, tmp_path):
    """There are more than a replica keeps in memory, and one is rewritten."""
    shapes = [{"r": 2, "lora_alpha": 16}, {"r": 16, "lora_alpha": 32}, {"r": 4, "lora_alpha": 16}]
    layers = [["q"], ["v", "k"], ["q", "v"]]
    folders = [
        write_adapter(tmp_path / str(seed), seed, target_modules=modules, **shape)
        for seed, (shape, modules) in enumerate(zip(shapes, layers, strict=True))
    ]
    requests = [SummaryRequest(text) for text in dialogues[:5]]

    def check(*adapters):
        wanted = [answer for adapter in adapters for answer in expected(summarizer, adapter, requests)]
        assert outcomes(*[models.summarize(adapter, q) for adapter in adapters for q in requests]) == wanted
        return wanted

    assert len(set(check(BASE, *folders))) > 10
    before = check(folders[0])
    write_adapter(folders[0], 7, target_modules=layers[0], **shapes[0])
    assert check(folders[0]) != before


def test_requests_with_other_prefixes_are_answered_together(models, summarizer, dialogues):
    """Prefixes of several lengths in one batch, with seeds and without."""
    own = summarizer.settings.format
    formats = [replace(own, target_prefix=prefix) for prefix in ("", "#Person1#", "#Person1# says that the")]
    requests = [
        SummaryRequest(text, seed, form)
        for text in dialogues[:6]
        for seed, form in zip((None, 3, None), formats, strict=True)
    ]
    wanted = [expected(summarizer, BASE, [request])[0] for request in requests]
    assert outcomes(*[models.summarize(BASE, request) for request in requests]) == wanted
    assert len(set(wanted)) > 12


def test_bad_requests_get_errors_and_do_not_affect_others(cluster, models, summarizer, dialogues, tmp_path):
    other = T5ForConditionalGeneration(T5Config(vocab_size=100, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4))
    get_peft_model(other, LoraConfig(r=2, target_modules=["q"])).save_pretrained(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    before, good = replicas(cluster, "summaries"), [SummaryRequest(text) for text in [*dialogues[:6], "", "\ud800"]]
    bad = [
        (BASE, "word " * 5000, TooLong, "the limit is 512"),
        (str(tmp_path / "other"), dialogues[0], UsageError, "for another model"),
        (str(tmp_path / "empty"), dialogues[0], UsageError, "cannot be loaded as an adapter"),
        (str(tmp_path / "none"), dialogues[0], UsageError, "cannot be loaded as an adapter"),
    ]
    calls = [models.summarize(BASE, request) for request in good]
    for place, (adapter, text, _, _) in enumerate(bad):
        calls.insert(2 * place, models.summarize(adapter, SummaryRequest(text)))
    answers = outcomes(*calls)
    for place, (_, _, kind, message) in reversed(list(enumerate(bad))):
        error = answers.pop(2 * place)
        assert type(error) is kind and message in str(error)
    assert answers == expected(summarizer, BASE, good)
    assert replicas(cluster, "summaries") == before


@asynccontextmanager
async def busy(models, setting, folder):
    """Keeps the reward model's only replica busy within the context."""
    file = folder / "busy"
    file.touch()
    task = asyncio.create_task(models.score(Item(str(file))))
    await wait_until(lambda: [str(file)] in noted(setting, "batches"))
    yield
    file.unlink()
    await task


async def all_running(models):
    await wait_until(lambda: models.ready() == {"summaries": 2, "scores": 1})


async def wait_until(condition):
    """Polls the state of other processes, for which before is no event to wait."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def test_requests_that_arrive_during_a_batch_form_the_next_one(models, setting, tmp_path):
    """Serve alone would make each of them a batch."""
    texts = [f"one after another, {number}" for number in range(8)]

    async def ask():
        async with busy(models, setting, tmp_path):
            tasks = []
            for text in texts:
                tasks.append(asyncio.create_task(models.score(Item(text))))
                await wait_until(lambda text=text: text in noted(setting, "arrived"))
                await asyncio.sleep(5 * setting.serve.batch_wait)  # longer than a batch waits for further requests
        await asyncio.gather(*tasks)

    asyncio.run(ask())
    assert [batch for batch in noted(setting, "batches") if set(batch) & set(texts)] == [texts]


def test_abandoned_requests_are_not_computed(models, setting, tmp_path, monkeypatch):
    """After their deadline, or after their client has disconnected."""
    timeout, late, gone = models.timeout, [f"late {n}" for n in range(12)], [f"gone {n}" for n in range(12)]

    async def ask():
        async with busy(models, setting, tmp_path):
            monkeypatch.setattr(models, "timeout", 0.5)
            errors = await asyncio.gather(*[models.score(Item(text)) for text in late], return_exceptions=True)
            monkeypatch.setattr(models, "timeout", timeout)
            tasks = [asyncio.create_task(models.score(Item(text))) for text in gone]
            await wait_until(lambda: set(gone) <= set(noted(setting, "arrived")))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            left = {*late, *gone} & set(noted(setting, "arrived"))
            await wait_until(lambda: left <= set(noted(setting, "cancelled")))
        return errors, await models.score(Item("last"))

    errors, _ = asyncio.run(ask())
    assert {type(error) for error in errors} == {TooSlow}
    assert not {*late, *gone} & {text for batch in noted(setting, "batches") for text in batch}


def test_replicas_share_the_requests_for_one_adapter(cluster, models, setting, dialogues, tmp_path):
    """Serve's own multiplexing would send all of them to the replica that read the adapter first."""
    asyncio.run(all_running(models))
    adapter = write_adapter(tmp_path, 1, r=2, target_modules=["q"])
    outcomes(models.summarize(adapter, SummaryRequest(dialogues[0])))
    time.sleep(2)  # the time in which Serve would announce which replica has read it
    before = len(noted(setting, "summarizing"))
    outcomes(*[models.summarize(adapter, SummaryRequest(text)) for text in dialogues])
    assert set(noted(setting, "summarizing")[before:]) == replicas(cluster, "summaries")


def test_a_request_that_kills_every_replica_fails_after_a_bounded_number_of_tries(cluster, models):
    asyncio.run(all_running(models))
    before = replicas(cluster, "summaries")
    [error] = outcomes(models.summarize(BASE, SummaryRequest(FATAL)))
    assert isinstance(error, Unavailable) and "2 replicas of summaries died while answering" in str(error)
    assert len(before) == 2 and not before & replicas(cluster, "summaries")


def test_a_first_request_goes_to_another_replica_before_the_start_fails(models):
    request = deployment.adapter_version(BASE), SummaryRequest(FATAL)
    with pytest.raises(RunError, match="2 replicas died at their first request"):
        deployment._ask_first(models.handles["summaries"], request, 60)


def test_requests_without_replicas_fail_with_the_reason(models, monkeypatch):
    models.apps.stop()
    assert models.ready() == {"summaries": 0, "scores": 0}
    monkeypatch.setattr(models, "timeout", 1.0)
    [error] = outcomes(models.score(Item("text")))
    assert isinstance(error, Unavailable) and "no replica of scores is running" in str(error)


@pytest.fixture(scope="module")
def others(cluster, models, tmp_path_factory):
    """A Serve instance that was started by another project, without access to this code."""
    serve.shutdown()
    leave(cluster, tmp_path_factory.mktemp("others"), "other")
    return lambda: serve.get_app_handle("other").remote().result(timeout_s=30)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"reward__parts__classifier__model": "/nowhere"}, "the models cannot be served: .*'/nowhere'"),
        ({"reward__parts__classifier__label": "hate"}, "^reward.parts.classifier.label_is: "),
        pytest.param(
            {"cluster__resources__reward__cpus": 99, "cluster__start_timeout": 1},
            "the models cannot be served: they were not placed within 1 s",
            marks=pytest.mark.chaos,
        ),
    ],
    ids=["no model", "a reversed label", "too few resources"],
)
def test_models_that_do_not_start_raise_and_leave_other_applications_running(cluster, others, settings, message):
    config = small_config(cluster__resources__rollout__cpus=99, cluster__attempts=1, **settings)
    with pytest.raises((RunError, UsageError), match=message):
        with serving_models(config, [Machine(8)], SERVICE):
            pass
    assert set(serve.status().applications) == {"other"} and others() == "theirs"
    assert not replicas(cluster, "summaries") | replicas(cluster, "scores")


def test_a_replica_whose_model_hangs_reports_itself_unhealthy():
    """Without Ray: Serve would check three times before it acts."""
    model = WorkerSpec("workers.inference.scorer:Scorer", scorer_settings(small_config()))
    settings = ReplicaSettings(os.getcwd(), threads=1, batch_size=1, batch_wait=0.0, timeout=60.0, adapters=1)
    replica, ended = RewardReplica(model, settings), threading.Event()

    async def hang():
        task = asyncio.create_task(replica._run(ended.wait))
        await asyncio.sleep(0)
        replica.check_health()
        replica.timeout = 0
        with pytest.raises(RuntimeError, match="no answer within 0 s"):
            replica.check_health()
        ended.set()
        await task
        replica.check_health()

    asyncio.run(hang())
