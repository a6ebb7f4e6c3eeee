"""Dependencies shared by the routes of campaigns, and by their pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Query, Request

from configs.errors import UsageError
from service.campaigns.statistics import statistics
from service.campaigns.store import CampaignStore
from service.http.auth import Annotator
from service.http.campaigns.schemas import AnnotatorName, Campaign
from service.http.campaigns.service import CampaignService
from service.http.errors import NotFound


async def _campaign_service(request: Request) -> CampaignService:
    return request.app.state.campaigns


Campaigns = Annotated[CampaignService, Depends(_campaign_service)]
"""Type of a route's parameter that receives the `CampaignService`."""


async def _person(request: Request, key: Annotator, annotator: Annotated[AnnotatorName | None, Query()] = None) -> str:
    """Who answers: the name of the key; on a service without keys, the one that is given."""
    if request.app.state.keys.file is None:
        return annotator or key.name
    if annotator not in (None, key.name):
        raise UsageError(f"annotator: this key answers as {key.name!r}; leave it out")
    return key.name


Person = Annotated[str, Depends(_person)]
"""Type of a route's parameter that receives the annotator's name."""


@contextmanager
def found(what: str) -> Iterator[None]:
    """A missing campaign or question as `NotFound`."""
    try:
        yield
    except KeyError as error:
        raise NotFound(f"no {what} {error.args[0]!r}") from error


def find_campaign(campaigns: CampaignService, id: str) -> CampaignStore:
    """The campaign with this id. Raises `NotFound`."""
    with found("campaign"):
        return campaigns.store(id)


def view(store: CampaignStore) -> Campaign:
    """A campaign as the API returns it."""
    return Campaign.of(store.record(), store.filled(), statistics(store.judgements()))
