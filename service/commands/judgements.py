"""Judgements of what a command names: a file of them, or the folder of a campaign."""

from pathlib import Path

from configs.errors import UsageError
from workers.preferences.deletion import delete_annotator
from workers.preferences.judgement_files import read_judgements
from workers.preferences.judgements import Judgement

CAMPAIGN = "campaign.db"
"""The file by which the folder of a campaign is known."""


def judgements_of(source: str, field: str) -> list[Judgement]:
    """All judgements. Raises `UsageError` that names `field`, `RunError` if a campaign cannot be read."""
    if not (Path(source) / CAMPAIGN).is_file():
        return read_judgements(source, field)
    from service.campaigns.store import read_judgements as read_campaign

    return read_campaign(Path(source))


def delete_answers(source: Path, annotator: str) -> int:
    """Delete all that an annotator said, in a file or a campaign; returns the number of answers.

    Raises `UsageError` that lists the annotators if there is nothing.
    """
    if not (source / CAMPAIGN).is_file():
        return delete_annotator(source, annotator)
    from service.campaigns.store import CampaignStore

    names = sorted({judgement.annotator for judgement in judgements_of(str(source), "CAMPAIGN")})
    if annotator not in names:
        raise UsageError(f"NAME: {source} has no answer by {annotator!r}; its answers are by: {', '.join(names)}")
    store = CampaignStore(source)
    try:
        return store.forget(annotator)
    finally:
        store.close()
