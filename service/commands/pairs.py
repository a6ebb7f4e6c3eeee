"""`ray_job.py pairs`: preferences from files and other tools, to files, and what the answers of a campaign say."""

import argparse
from pathlib import Path

from configs.installation import COMMAND

FORMS = ("auto", "preferences", "argilla", "label-studio")


def pairs(arguments: list[str]) -> None:
    """`ray_job.py pairs import|export|delete-annotator|judge SOURCE`. Raises `UsageError`."""
    options = _parser().parse_args(arguments)
    from service.commands.pair_actions import ACTIONS  # here, because datasets and plotly take seconds to load

    ACTIONS[options.verb](options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"{COMMAND} pairs", description=__doc__)
    verbs = parser.add_subparsers(required=True, dest="verb", metavar="import|export|delete-annotator|judge")
    reading = verbs.add_parser("import", help="write the preferences of a file, a data set or another tool as pairs")
    writing = verbs.add_parser("export", help="write the answers of a campaign that may be learnt from as pairs")
    deletion = verbs.add_parser("delete-annotator", help="delete one annotator's answers from a file or a campaign")
    judging = verbs.add_parser("judge", help="print which policy people prefer, and how far they agree")
    for verb in (reading, writing, judging):
        verb.add_argument("source", metavar="SOURCE", help="a file or a folder")
    for verb in (reading, writing):
        verb.add_argument("--out", type=Path, required=True, help="name.jsonl, name.csv or a folder for save_to_disk")
    judging.add_argument("--json", type=Path, metavar="FILE", help="file that gets the figures as JSON, too")
    deletion.add_argument("source", metavar="SOURCE", type=Path, help="a jsonl or csv file, or a campaign's folder")
    deletion.add_argument("name", metavar="NAME", help="name of the annotator, as in the answers")
    _add_naming(reading)
    return parser


def _add_naming(reading: argparse.ArgumentParser) -> None:
    own = "of an export of Argilla or Label Studio"
    reading.add_argument("--from", dest="form", choices=FORMS, default="auto", help="form (default: %(default)s)")
    template = "makes the policy's prompt of a prompt, at {text}; such as the run's data.template"
    reading.add_argument("--template", default="{text}", help=template)
    reading.add_argument("--prompt", metavar="FIELD", help=f"field {own} with the prompt")
    reading.add_argument("--first", metavar="FIELD", help=f"field {own} with a completion")
    reading.add_argument("--second", metavar="FIELD", help=f"field {own} with the other completion")
    reading.add_argument("--question", metavar="NAME", help=f"question or control {own} that asks for the better one")
