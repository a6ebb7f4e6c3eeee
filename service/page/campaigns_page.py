"""The pages of those who run campaigns: how far each is, and what its annotators have done."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from configs.errors import RunError
from service.campaigns.records import Refused
from service.http.auth import Submitter
from service.http.campaigns.dependencies import Campaigns, find_campaign, view
from service.http.campaigns.service import CampaignService
from service.page.rendering import Page, Pages

router = APIRouter(include_in_schema=False)


@router.get("/page/campaigns")
def list_campaigns(page: Pages, campaigns: Campaigns, key: Submitter) -> HTMLResponse:
    """All campaigns."""
    records, damaged = campaigns.listed()
    return page.render(
        "campaigns.html", campaigns=[view(campaigns.store(record.id)) for record in records], damaged=damaged
    )


@router.get("/page/campaigns/{campaign}")
def show_campaign(page: Pages, campaigns: Campaigns, key: Submitter, campaign: str) -> HTMLResponse:
    """A campaign."""
    return _render(page, campaigns, campaign)


@router.post("/page/campaigns/{campaign}/close")
def close_campaign(page: Pages, campaigns: Campaigns, key: Submitter, campaign: str) -> HTMLResponse:
    """Close a campaign."""
    find_campaign(campaigns, campaign)
    try:
        campaigns.finish(campaign)
    except (Refused, RunError) as error:
        return _render(page, campaigns, campaign, error)
    return _render(page, campaigns, campaign)


def _render(page: Page, campaigns: CampaignService, id: str, error: Exception | None = None) -> HTMLResponse:
    return page.render("campaign.html", error, campaign=view(find_campaign(campaigns, id)))
