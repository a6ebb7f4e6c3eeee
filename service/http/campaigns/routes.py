"""Routes of those who run a campaign: create, follow and close it, and take what people said."""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Response

from configs.campaigns import CampaignConfig
from service.http.auth import Reader, Submitter
from service.http.campaigns.dependencies import Campaigns, find_campaign, view
from service.http.campaigns.schemas import JUDGEMENT, AnnotatorName, Campaign, CampaignId, CampaignList, Forgotten
from service.http.root_path import outside
from service.http.runs.output_routes import BYTES

router = APIRouter(tags=["campaigns"])
JSON_LINES = "application/x-ndjson"
LINES = BYTES | {JSON_LINES: {"example": JUDGEMENT}}
"""Bytes come first: generated clients do not know JSON lines."""


@router.post("/campaigns", status_code=201)
async def create_campaign(campaigns: Campaigns, response: Response, key: Submitter, body: CampaignConfig) -> Campaign:
    """Create a campaign. Its summaries are then made in the background; it opens once all are there."""
    record = await asyncio.to_thread(campaigns.create, body, key.name)
    await campaigns.prepare()
    response.headers["Location"] = outside(f"/campaigns/{record.id}")
    return await asyncio.to_thread(lambda: view(campaigns.store(record.id)))


@router.get("/campaigns")
def list_campaigns(campaigns: Campaigns, key: Reader) -> CampaignList:
    """List all campaigns, newest first."""
    records, damaged = campaigns.listed()
    return CampaignList(campaigns=[view(campaigns.store(record.id)) for record in records], damaged=damaged)


@router.get("/campaigns/{campaign}")
def get_campaign(campaigns: Campaigns, key: Reader, campaign: CampaignId) -> Campaign:
    """Get a campaign, with the progress of its annotators."""
    return view(find_campaign(campaigns, campaign))


@router.post("/campaigns/{campaign}/close", status_code=202)
def close_campaign(campaigns: Campaigns, key: Submitter, campaign: CampaignId) -> Campaign:
    """Close a campaign. What people said is kept; it takes no more answers."""
    store = find_campaign(campaigns, campaign)
    campaigns.finish(campaign)
    return view(store)


@router.get("/campaigns/{campaign}/judgements", response_class=Response, responses={200: {"content": LINES}})
def list_judgements(campaigns: Campaigns, key: Submitter, campaign: CampaignId) -> Response:
    """Get what people said so far, a JSON object on each line, also while they go on answering."""
    judgements = find_campaign(campaigns, campaign).judgements()
    lines = "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in judgements)
    headers = {"Content-Disposition": f'attachment; filename="judgements-{campaign}.jsonl"'}
    return Response(lines.encode(), media_type=JSON_LINES, headers=headers)


@router.delete("/campaigns/{campaign}/annotators/{annotator}")
def forget_annotator(
    campaigns: Campaigns, key: Submitter, campaign: CampaignId, annotator: Annotated[AnnotatorName, Path()]
) -> Forgotten:
    """Delete all that a person has said in a campaign."""
    return Forgotten(deleted=find_campaign(campaigns, campaign).forget(annotator))
