"""Orders by phone with their records, from a small grammar.

A row is a pure function of (seed, index). In some dialogues the customer changes an order, and the record must say what
was said last. The policy is taught by records of which half are careless.
"""

import json
import random
from typing import Any

from examples.rows import Row, Task

NAMES = ("Ann", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Henry", "Iris", "Jacob", "Karen", "Louis", "Maria",
         "Nora", "Oscar", "Paula", "Rosa", "Simon", "Tina", "Victor")  # fmt: skip
ITEMS = ("lamp", "chair", "table", "mirror", "carpet", "cushion", "blanket", "basket", "vase", "clock", "stool",
         "curtain", "sofa", "candle", "frame", "pillow")  # fmt: skip
COLOURS = ("red", "blue", "green", "white", "black", "yellow", "brown", "grey")
COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
GREETINGS = ("Good morning, home shop.", "Hello, you are speaking to the home shop.", "Home shop, how can I help?")
INTRODUCTIONS = ("Hello, this is {name}.", "Hi, my name is {name}.", "Good day, {name} speaking.")
WISHES = ("I would like {count} {colour} {item}s.", "Please send me {count} {colour} {item}s.",
          "We need {count} {item}s in {colour}.", "Can I order {count} {item}s? In {colour}, please.")  # fmt: skip
QUESTIONS = ("When shall we bring them?", "Which day suits you?", "When do you need them?")
ANSWERS = ("On {day}, please.", "{day} would be good.", "Not later than {day}.")
CHANGES = {"count": "Sorry, make that {count} {item}s.", "colour": "On second thoughts, I want them in {colour}.",
           "day": "Wait, {day} is better for me."}  # fmt: skip
CLOSINGS = ("Thank you, it is noted.", "All right, goodbye.", "Very well, we will be there.")
WORDS = {"name": NAMES, "item": ITEMS, "colour": COLOURS, "count": COUNTS, "day": DAYS}
"""Fields of an order, and what they may hold."""
CHANGED, CARELESS = 0.3, 0.55
"""Shares of dialogues with a change, and of careless records."""


def _other(rng: random.Random, order: dict[str, str], field: str) -> dict[str, str]:
    """The order with another word in one field."""
    return order | {field: rng.choice([word for word in WORDS[field] if word != order[field]])}


def _record(order: dict[str, str]) -> dict[str, Any]:
    return {**order, "count": COUNTS.index(order["count"]) + 2}


def _dialogue(rng: random.Random, order: dict[str, str], change: str | None) -> str:
    """The dialogue; `change` is what the customer says to change the order."""
    turns = [rng.choice(GREETINGS), rng.choice(INTRODUCTIONS) + " " + rng.choice(WISHES)]
    turns += [rng.choice(QUESTIONS), rng.choice(ANSWERS)]
    lines = [turn.format(**order) for turn in turns]
    if change:
        lines[-1] += f" {change}"
    lines.append(rng.choice(CLOSINGS))
    return "\n".join(f"#Person{1 + i % 2}#: {line}" for i, line in enumerate(lines))


def _careless(rng: random.Random, order: dict[str, str]) -> str:
    """The record with one slip: a field that is wrong or left out, or what makes it no JSON."""
    record, field = _record(order), rng.choice(list(order))
    match rng.randrange(5):
        case 0:
            return json.dumps(_record(_other(rng, order, field)))
        case 1:
            return json.dumps({name: value for name, value in record.items() if name != field})
        case 2:
            return json.dumps(record).replace(f'"{record["name"]}"', record["name"])
        case 3:
            return json.dumps(record).removesuffix("}")
    return f"Record: {json.dumps(record)}"


def make_row(seed: int, index: int) -> Row:
    """The row at (seed, index); its topic says whether the order is changed."""
    rng = random.Random(f"records/{seed}/{index}")  # a string is hashed by SHA-512: the same in every process
    first = last = {field: rng.choice(words) for field, words in WORDS.items()}
    change = None
    if rng.random() < CHANGED:
        field = rng.choice(list(CHANGES))
        last = _other(rng, first, field)
        change = CHANGES[field].format(**last)
    dialogue, record = _dialogue(rng, first, change), json.dumps(_record(last))
    taught = _careless(rng, last) if rng.random() < CARELESS else record
    return Row(dialogue, record, taught, "changed" if change else "plain")


RECORDS = Task(make_row, ("dialogue", "record", "topic"))
