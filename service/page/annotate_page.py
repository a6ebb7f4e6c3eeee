"""The pages on which people compare summaries. Nothing in them tells whose summaries these are."""

from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import APIRouter, Cookie, Depends, Form, Header, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, TypeAdapter, ValidationError

from configs.errors import UsageError
from service.campaigns.records import Answer, Refused
from service.campaigns.statistics import statistics
from service.http.auth import Annotator
from service.http.campaigns.answer_routes import open_campaigns
from service.http.campaigns.dependencies import Campaigns, find_campaign, found
from service.http.campaigns.schemas import AnnotatorName, AnswerRequest
from service.http.campaigns.service import CampaignService
from service.http.errors import NotFound
from service.http.root_path import outside
from service.page.assets import answer_with
from service.page.rendering import Page, Pages

COOKIE, YEAR = "annotator", 365 * 24 * 3600
"""Name of the cookie that holds a person's name where there are no keys, and seconds for which it is kept."""
NAME = TypeAdapter(AnnotatorName)
REASONS = ("I cannot tell", "The dialogue is unclear", "I would rather not read this")
"""Why a question is skipped; a note can say more."""
Field = Annotated[str, Form()]


class AnswerForm(BaseModel):
    """What the page sends: an answer, or why the question is skipped."""

    question: str = ""
    outcome: str = ""
    skip: str = ""
    note: str = ""
    readability: str = ""
    coherence: str = ""
    faithfulness: str = ""
    harm: str = ""

    @property
    def answer(self) -> Answer:
        """The answer of the form. Raises `UsageError`."""
        given = self.model_dump(include={"readability", "coherence", "faithfulness", "harm"})
        values = {"outcome": self.outcome, "note": self.note, "criteria": {k: v for k, v in given.items() if v}}
        if self.skip:
            reason = ": ".join(filter(None, [self.skip, self.note.strip()]))
            values = {"outcome": "skip", "note": reason, "criteria": {}}
        values["note"] = values["note"].replace("\r\n", "\n")
        try:
            return AnswerRequest(question=self.question, **values).answer
        except ValidationError as error:
            raise UsageError(
                *(f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors())
            ) from error


router = APIRouter(include_in_schema=False)


async def _visitor(request: Request, key: Annotator, annotator: Annotated[str, Cookie()] = "") -> str:
    """Who answers: the name of the key, else the one that the person chose; empty if none was chosen yet."""
    return unquote(annotator) if request.app.state.keys.file is None else key.name


Visitor = Annotated[str, Depends(_visitor)]


@router.get("/annotate")
def list_open(page: Pages, campaigns: Campaigns, key: Annotator, person: Visitor) -> HTMLResponse:
    """The campaigns that take answers."""
    return _list(page, campaigns, person)


@router.post("/annotate")
def choose_name(page: Pages, campaigns: Campaigns, key: Annotator, person: Visitor, name: Field = "") -> Response:
    """Keep the name of who answers."""
    try:
        chosen = NAME.validate_python(name.strip())
    except ValidationError:
        error = UsageError("name: enter your name, in at most 100 characters")
        return _list(page, campaigns, person, error)
    response = RedirectResponse(outside("/annotate"), 303)
    response.set_cookie(
        COOKIE, quote(chosen), max_age=YEAR, path=outside("/annotate"), httponly=True, samesite="strict"
    )
    return response


@router.get("/annotate/static/{digest}/{name}")
def annotate_static(key: Annotator, digest: str, name: str, accept_encoding: Annotated[str, Header()] = "") -> Response:
    """A file of these pages, for keys that may not see the others."""
    return answer_with(digest, name, accept_encoding)


@router.get("/annotate/{campaign}")
def compare(page: Pages, campaigns: Campaigns, key: Annotator, person: Visitor, campaign: str) -> Response:
    """The next question."""
    find_campaign(campaigns, campaign)
    return _compare(page, campaigns, person, campaign) if person else _to("/annotate")


@router.post("/annotate/{campaign}")
def answer(
    page: Pages, campaigns: Campaigns, key: Annotator, person: Visitor, campaign: str,
    form: Annotated[AnswerForm, Form()],
) -> Response:  # fmt: skip
    """Record an answer, and lead to the next question."""
    find_campaign(campaigns, campaign)
    try:
        given = form.answer
        with found("question of yours"):
            campaigns.answer(campaign, person, form.question, given)
    except (UsageError, Refused, NotFound) as error:
        return _compare(page, campaigns, person, campaign, error)
    return _to(f"/annotate/{campaign}")


@router.post("/annotate/{campaign}/undo")
def undo(
    page: Pages, campaigns: Campaigns, key: Annotator, person: Visitor, campaign: str, question: Field = ""
) -> Response:
    """Take back the last answer, and lead to its question."""
    find_campaign(campaigns, campaign)
    try:
        campaigns.questions(campaign).undo(person, question or None)
    except Refused as error:
        return _compare(page, campaigns, person, campaign, error)
    return _to(f"/annotate/{campaign}")


def _to(path: str) -> RedirectResponse:
    """Leads there: loading the page anew then sends no answer again."""
    return RedirectResponse(outside(path), 303)


def _list(page: Page, campaigns: CampaignService, person: str, error: Exception | None = None) -> HTMLResponse:
    found = open_campaigns(campaigns, person) if person else []
    return page.render("annotate.html", error, person=person, open=found)


def _compare(
    page: Page, campaigns: CampaignService, person: str, id: str, error: Exception | None = None
) -> HTMLResponse:
    store, questions = campaigns.store(id), campaigns.questions(id)
    record = store.record()
    question = questions.next(person) if record.state == "open" else None
    own = [] if question else statistics([one for one in store.judgements() if one.annotator == person])
    return page.render(
        "compare.html",
        error,
        id=id,
        name=record.spec.name,
        criteria=record.spec.criteria,
        state=record.state,
        person=person,
        question=question,
        progress=questions.progress(person),
        own=own[0] if own else None,
        reasons=REASONS,
    )
