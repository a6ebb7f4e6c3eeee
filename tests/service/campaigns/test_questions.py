"""The laws of asking and answering: no pair twice, no pair too often, nothing lost and nothing doubled."""

import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from configs.errors import RunError, UsageError
from service.campaigns.order import BLOCK, GAP, LEASE
from service.campaigns.questions import Questions
from service.campaigns.records import Answer, Refused
from service.campaigns.statistics import Person, statistics
from service.campaigns.store import CampaignStore, read_judgements
from tests.campaigns import make_store
from tests.conftest import ROOT


class Clock:
    """A time that tests move."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def campaign(tmp_path):
    """A function: settings -> the questions of an open campaign, and its store."""
    opened = []

    def make(**values):
        opened.append(make_store(tmp_path, **values))
        opened[-1].database._db.execute("pragma synchronous = off")  # faster; a lost machine is not under test
        return Questions(opened[-1].database, opened[-1].record().spec, Clock()), opened[-1]

    yield make
    for store in opened:
        store.close()


def answer_all(questions, person, outcome="first"):
    """Answer until there is nothing left; returns the questions."""
    asked = []
    while question := questions.next(person):
        asked.append(question)
        assert questions.answer(person, question.id, Answer(outcome))
    return asked


def test_a_person_gets_every_pair_once(campaign):
    questions, store = campaign(pairs=12, known=3, repeats=0.0)
    asked = answer_all(questions, "ann")
    assert len({question.dialogue for question in asked}) == 12 and len(asked) == 15
    assert [question.number for question in asked] == list(range(15))
    assert len({one.pair for one in store.judgements()}) == 15
    assert questions.progress("ann").left == 0 and not questions.progress("ann").waiting


def test_an_unanswered_question_is_asked_again_and_its_time_goes_on(campaign):
    questions, store = campaign(pairs=4)
    first = questions.next("ann")
    questions.clock.now += 5
    assert questions.next("ann") == first
    questions.clock.now += 2.5
    questions.answer("ann", first.id, Answer("tie"))
    assert store.judgements()[0].seconds == 7.5
    second = questions.next("ann")
    questions.clock.now += LEASE + 1  # the person was away
    assert questions.next("ann") == second
    questions.clock.now += 3
    questions.answer("ann", second.id, Answer("tie"))
    assert store.judgements()[1].seconds == 3


def test_those_who_answer_at_once_get_different_pairs_and_nobody_s_pair_is_stuck(campaign):
    questions, _ = campaign(pairs=3, answers_per_pair=2, repeats=0.0)
    asked = [questions.next(person).dialogue for person in ("ann", "bob", "cem")]
    assert len(set(asked)) == 3
    questions, _ = campaign(pairs=2, repeats=0.0)
    for person in ("ann", "bob"):
        questions.next(person)
    assert questions.next("cem") is None and questions.progress("cem").waiting
    questions.clock.now += LEASE
    assert len(answer_all(questions, "cem")) == 2
    assert questions.next("ann") is None and not questions.progress("ann").waiting


def test_a_pair_never_gets_more_answers_than_it_shall_have(campaign):
    questions, store = campaign(pairs=2, answers_per_pair=1, repeats=0.0)
    late = questions.next("ann")
    questions.clock.now += LEASE
    answer_all(questions, "bob")
    with pytest.raises(Refused, match="others have answered this question meanwhile"):
        questions.answer("ann", late.id, Answer("second"))
    assert Counter(one.annotator for one in store.judgements()) == {"bob": 2}
    questions.answer("ann", late.id, Answer("skip", note="too late"))
    assert len(store.judgements()) == 3, "a skip takes nobody's place"


def test_a_skipped_pair_goes_to_others_and_not_to_the_same_person(campaign):
    questions, store = campaign(pairs=3, repeats=0.5)
    answer_all(questions, "ann", "skip")
    assert questions.next("ann") is None and len(store.judgements()) == 3
    assert len(answer_all(questions, "bob")) >= 3


def test_repeats_come_some_questions_later_with_sides_of_their_own(campaign):
    questions, store = campaign(pairs=200, repeats=0.3, answers_per_pair=1)
    answer_all(questions, "ann")
    said = store.judgements()
    first = {one.pair: place for place, one in enumerate(said) if not one.repeat}
    again = {one.pair: place for place, one in enumerate(said) if one.repeat}
    assert len(said) == len(first) + len(again) and 40 < len(again) < 80
    assert all(place - first[pair] > GAP for pair, place in again.items())
    assert min(place - first[pair] for pair, place in again.items()) <= GAP + 2
    turned = sum(said[place].swapped != said[first[pair]].swapped for pair, place in again.items())
    assert 0.25 < turned / len(again) < 0.75
    assert 0.4 < sum(one.swapped for one in said) / len(said) < 0.6


def test_known_answers_are_asked_of_everybody_and_early(campaign):
    questions, store = campaign(pairs=40, known=4, answers_per_pair=1, repeats=0.0)
    roles = []
    for _ in range(4 * BLOCK):
        for person in ("ann", "bob"):
            questions.answer(person, questions.next(person).id, Answer("first"))
    for person in ("ann", "bob"):
        roles = [one.role for one in store.judgements() if one.annotator == person]
        assert [roles[i : i + BLOCK].count("qualification") for i in range(0, len(roles), BLOCK)] == [1] * 4


def test_an_answer_is_turned_into_the_order_of_the_campaign(campaign):
    questions, store = campaign(pairs=20, criteria=("harm",), repeats=0.0)
    left = {}
    while question := questions.next("ann"):
        left[question.dialogue] = question.first
        questions.answer("ann", question.id, Answer("first", {"harm": "second"}))
    said = store.judgements()
    for one in said:
        better = one.first if one.outcome == "first" else one.second
        assert left[one.prompt.removeprefix("Summarize.\n\n")] == better
        assert {one.outcome, one.criteria["harm"]} == {"first", "second"}
    assert {one.swapped for one in said} == {True, False}


def test_the_seed_draws_the_order(campaign):
    def order(seed):
        questions, _ = campaign(pairs=8, seed=seed, repeats=0.0)
        return [question.dialogue for question in answer_all(questions, "ann")]

    assert order(1) == order(1) != order(2)


def test_the_same_answer_again_changes_nothing_and_another_is_refused(campaign):
    questions, store = campaign(pairs=2, criteria=("harm",))
    question = questions.next("ann")
    given = Answer("first", {"harm": "tie"}, "a note")
    assert questions.answer("ann", question.id, given) and not questions.answer("ann", question.id, given)
    for other in (replace(given, outcome="tie"), replace(given, criteria={}), replace(given, note="")):
        with pytest.raises(Refused, match="take that back first"):
            questions.answer("ann", question.id, other)
    with pytest.raises(KeyError):
        questions.answer("bob", question.id, given)
    assert len(store.judgements()) == 1
    assert store.change("open", "closed") and not questions.answer("ann", question.id, given)
    for refused in (lambda: questions.next("ann"), lambda: questions.undo("ann")):
        with pytest.raises(Refused, match="it is closed"):
            refused()


def test_answers_are_taken_back_from_the_last_one_on(campaign):
    questions, store = campaign(pairs=5, repeats=0.0)
    asked = [questions.next("ann")]
    for _ in range(3):
        questions.answer("ann", asked[-1].id, Answer("first"))
        asked.append(questions.next("ann"))
    with pytest.raises(Refused, match="not your last answer"):
        questions.undo("ann", asked[0].id)
    assert questions.undo("ann", asked[2].id) == asked[2] == questions.next("ann")
    with pytest.raises(Refused, match="not your last answer"):
        questions.undo("ann", asked[2].id)  # a second click on the same button
    assert questions.undo("ann") == asked[1] == questions.next("ann")
    for question in asked[1:]:
        assert questions.next("ann") == question
        questions.answer("ann", question.id, Answer("tie"))
    questions.undo("ann")
    with pytest.raises(Refused, match="no answer to take back"):
        questions.undo("bob")
    assert ["tie" == one.outcome for one in store.judgements()] == [False, True, True]


def test_a_person_is_forgotten_down_to_the_last_byte(campaign):
    questions, store = campaign(pairs=4, repeats=0.0, answers_per_pair=2)
    for person in ("Ann-to-forget", "bob"):
        question = questions.next(person)
        questions.answer(person, question.id, Answer("tie", note=f"said by {person}"))
    assert store.forget("Ann-to-forget") == 1 and store.forget("Ann-to-forget") == 0
    assert [one.annotator for one in store.judgements()] == ["bob"]
    assert not any(b"Ann-to-forget" in file.read_bytes() for file in store.folder.iterdir())


def test_many_people_at_once(campaign):
    questions, store = campaign(pairs=30, answers_per_pair=2, repeats=0.1)
    people, failed = [f"person {i}" for i in range(6)], []

    def work(person):
        try:
            answer_all(questions, person)
        except Exception as error:  # told below
            failed.append(error)

    threads = [threading.Thread(target=work, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    seen = 0
    while any(thread.is_alive() for thread in threads):
        found = read_judgements(store.folder)  # as an export by another process does
        assert len(found) >= seen
        seen = len(found)
    for thread in threads:
        thread.join()
    assert failed == []
    once = [one for one in store.judgements() if not one.repeat]
    assert set(Counter(one.pair for one in once).values()) == {2} and len(once) == 60
    assert len({(one.pair, one.annotator) for one in once}) == 60


KILLED = """
import os, signal, sys
from pathlib import Path
from service.campaigns.questions import Questions
from service.campaigns.records import Answer
from service.campaigns.store import CampaignStore
store = CampaignStore(Path(sys.argv[1]))
questions = Questions(store.database, store.record().spec)
for _ in range(3):
    questions.answer("ann", questions.next("ann").id, Answer("first"))
print(questions.next("ann").id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_answered_before_a_kill_is_there(campaign):
    _, store = campaign(pairs=5)
    store.close()
    words = [sys.executable, "-c", KILLED, str(store.folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert len(read_judgements(store.folder)) == 3, done.stderr
    again = CampaignStore(store.folder)
    assert Questions(again.database, again.record().spec).next("ann").id == done.stdout.strip()
    again.close()


@pytest.mark.parametrize("damage", [b"not a database" * 100, None], ids=["overwritten", "torn"])
def test_a_damaged_file_is_named(campaign, tmp_path, damage):
    _, store = campaign(pairs=50)
    store.close()
    file = store.folder / "campaign.db"
    whole = file.read_bytes()
    file.write_bytes(damage or whole[:5000] + b"x" * 9000 + whole[14000:])
    with pytest.raises(RunError, match=rf"{file} cannot be used .*; restore it from a copy"):
        CampaignStore(store.folder)
    with pytest.raises(UsageError, match="holds no campaign"):
        read_judgements(tmp_path / "nothing")


def test_statistics_are_those_of_each_person(campaign):
    questions, store = campaign(pairs=30, known=2, repeats=0.5)
    while question := questions.next("ann"):
        questions.clock.now += 4
        outcome = "skip" if question.number == 0 else "first" if question.first.startswith("A") else "second"
        questions.answer("ann", question.id, Answer(outcome, note="x"))
    [person] = statistics(store.judgements())
    skipped = store.judgements()[0]
    known = 2 - (skipped.role == "qualification")
    assert person == Person("ann", 31, 1, person.repeats, person.repeats, known, known, 4.0) and person.repeats > 5
    wrong = [replace(one, outcome="second") if one.repeat else one for one in store.judgements()]
    assert statistics(wrong)[0].repeats_agreed == 0


class Campaign(RuleBasedStateMachine):
    """People who do anything at any time."""

    people = st.sampled_from(["ann", "bob", "cem"])
    outcomes = st.sampled_from(["first", "tie", "second", "skip"])

    @initialize(pairs=st.integers(1, 4), known=st.integers(0, 1), quota=st.integers(1, 2), seed=st.integers(0, 99))
    def start(self, pairs, known, quota, seed):
        self.folder, self.clock, self.said = self.make_folder(), Clock(), {}
        self.store = make_store(
            self.folder, pairs=pairs, known=known, answers_per_pair=quota, repeats=0.5, seed=seed, evaluation=0.0
        )
        self.store.database._db.execute("pragma synchronous = off")
        self.quota, self.questions = quota, Questions(self.store.database, self.store.record().spec, self.clock)
        self.asked = {}

    @rule(person=people)
    def ask(self, person):
        question = self.questions.next(person)
        if question:
            self.asked.setdefault(person, {})[question.id] = question

    @rule(person=people, outcome=outcomes, place=st.integers(0, 9))
    def answer(self, person, outcome, place):
        if asked := list(self.asked.get(person, ())):
            question, mine = asked[place % len(asked)], self.said.setdefault(person, {})
            try:
                new = self.questions.answer(person, question, Answer(outcome, note="n"))
            except Refused:
                return
            assert new == (question not in mine)
            mine[question] = outcome

    @rule(person=people)
    def undo(self, person):
        mine = self.said.get(person, {})
        try:
            question = self.questions.undo(person).id
        except Refused:
            assert not mine
        else:
            assert question == list(mine)[-1]
            del mine[question]

    @rule(seconds=st.sampled_from([1.0, LEASE / 2, 2 * LEASE]))
    def wait(self, seconds):
        self.clock.now += seconds

    @rule()
    def restart(self):
        self.store.close()
        self.store = CampaignStore(self.store.folder)
        self.questions = Questions(self.store.database, self.store.record().spec, self.clock)

    @invariant()
    def nothing_is_lost_or_doubled(self):
        if not hasattr(self, "store"):
            return
        found = self.store.judgements()
        assert Counter(one.annotator for one in found) == Counter(
            {p: len(said) for p, said in self.said.items() if said}
        )
        counted = Counter((one.pair, one.annotator, one.repeat) for one in found)
        assert set(counted.values()) <= {1}
        full = Counter(one.pair for one in found if one.outcome != "skip" and not one.repeat and one.role == "training")
        assert all(count <= self.quota for count in full.values())
        assert [one for one in found if one.repeat > 1] == []

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()


@pytest.fixture
def machine(tmp_path_factory):
    Campaign.make_folder = staticmethod(lambda: tmp_path_factory.mktemp("campaign"))
    return Campaign.TestCase


def test_people_may_do_anything_at_any_time(machine):
    machine.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
    machine("runTest").runTest()
