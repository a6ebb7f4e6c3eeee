"""Routes of those who answer. Nothing that they return tells whose summaries are compared."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.http.auth import Annotator
from service.http.campaigns.dependencies import Campaigns, Person, find_campaign, found
from service.http.campaigns.schemas import (
    Answered,
    AnswerRequest,
    AskedQuestion,
    CampaignId,
    NextQuestion,
    OpenCampaign,
    QuestionId,
)
from service.http.campaigns.service import CampaignService

router = APIRouter(tags=["campaigns"])


@router.get("/campaigns/open")
def list_open_campaigns(campaigns: Campaigns, key: Annotator, person: Person) -> list[OpenCampaign]:
    """List the campaigns that take answers, with your own progress."""
    return open_campaigns(campaigns, person)


@router.get("/campaigns/{campaign}/next")
def next_question(campaigns: Campaigns, key: Annotator, person: Person, campaign: CampaignId) -> NextQuestion:
    """Get the question that you have not answered yet, else a new one."""
    find_campaign(campaigns, campaign)
    questions = campaigns.questions(campaign)
    return NextQuestion.of(questions.next(person), questions.progress(person))


@router.post(
    "/campaigns/{campaign}/answers",
    status_code=201,
    responses={200: {"model": Answered, "description": "This answer was given before"}},
)
def add_answer(
    campaigns: Campaigns, response: Response, key: Annotator, person: Person, campaign: CampaignId, body: AnswerRequest
) -> Answered:
    """Answer a question that you were asked. The same answer may be sent again."""
    find_campaign(campaigns, campaign)
    with found("question of yours"):
        new = campaigns.answer(campaign, person, body.question, body.answer)
    response.status_code = 201 if new else 200
    progress = campaigns.questions(campaign).progress(person)
    return Answered(question=body.question, answered=progress.answered, left=progress.left)


@router.delete("/campaigns/{campaign}/answers/last")
def undo_answer(
    campaigns: Campaigns,
    key: Annotator,
    person: Person,
    campaign: CampaignId,
    question: Annotated[QuestionId | None, Query()] = None,
) -> AskedQuestion:
    """Take back your last answer, and get its question again. With `question`, only if the answer is to that one."""
    find_campaign(campaigns, campaign)
    return AskedQuestion.of(campaigns.questions(campaign).undo(person, question))


def open_campaigns(campaigns: CampaignService, person: str) -> list[OpenCampaign]:
    """The campaigns that take answers, newest first, as one person sees them."""
    shown = []
    for record in campaigns.records():
        if record.state == "open":
            progress = campaigns.questions(record.id).progress(person)
            created, spec = datetime.fromtimestamp(record.created, UTC), record.spec
            mine = {"answered": progress.answered, "left": progress.left}
            shown.append(OpenCampaign(id=record.id, name=spec.name, created=created, criteria=spec.criteria, **mine))
    return shown
