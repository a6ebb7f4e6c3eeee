"""Campaigns without models: their pairs are made up."""

import itertools

from configs.campaigns import CampaignConfig
from service.campaigns.records import Pair, Record
from service.campaigns.store import CampaignStore

DIALOGUE = """#Person1#: Good morning. I am a train passenger. Are you the station master?
#Person2#: Yes, I am. What can I do for you?
#Person1#: Let me remind you that the ferry had no free seats last night. This is dialogue {}.
#Person2#: I see.
#Person1#: I told you so before. I demand an apology."""
numbers = itertools.count()


def make_pairs(count, role="training", **other):
    """Pairs whose texts tell the number of the pair and which of the two they are."""
    given = {"first_policy": "base", "second_policy": "3f9a1c0b77de", "role": role} | other
    return [
        Pair(prompt=f"Summarize.\n\n{DIALOGUE.format(i)}", dialogue=DIALOGUE.format(i),
             first=f"A {role} {i}: the passenger reminds the station master that the ferry had no free seats.",
             second=f"B {role} {i}: the station master is told by the passenger about a ferry, and sees.", **given)
        for i in range(count)
    ]  # fmt: skip


def make_store(folder, pairs=4, known=0, criteria=(), **spec):
    """An open campaign in a new folder below this one."""
    made = make_pairs(pairs) + make_pairs(known, "qualification", expected="first", first_policy="known")
    config = CampaignConfig(name="March", policies=("base", "reference"), criteria=criteria, **spec)
    record = Record(f"{next(numbers):012x}", config, "ann", 1769860800.0)
    store = CampaignStore.create(folder / record.id, record)
    assert store.open(made, config.seed)
    return store


def add_campaign(client, **values):
    """The id of an open campaign of a service that is at work."""
    campaigns = client.app.state.campaigns
    store = make_store(campaigns.folder, **values)
    store.close()
    campaigns._load(store.folder)
    return store.folder.name
