"""`ray_job.py pairs`: preferences from files and other tools, to files, and what the answers of a campaign say."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from configs.errors import UsageError
from configs.installation import COMMAND
from learner.atomic_files import replace_file
from service.commands.judgements import delete_answers, judgements_of
from service.run.progress import silence_libraries
from workers.preferences.argilla import is_argilla, read_argilla
from workers.preferences.files import preferences_of
from workers.preferences.imports import Imported, Naming
from workers.preferences.label_studio import is_label_studio, read_label_studio
from workers.preferences.rows import read_rows
from workers.preferences.training_pairs import TAKEN, fates, judgements_to_preferences
from workers.preferences.writing import check_target, write_preferences

FORMS = ("auto", "preferences", "argilla", "label-studio")


def pairs(arguments: list[str]) -> None:
    """`ray_job.py pairs import|export|delete-annotator|judge SOURCE`. Raises `UsageError`."""
    options = _parser().parse_args(arguments)
    silence_libraries()
    options.action(options)


def _import(options: argparse.Namespace) -> None:
    """Read preferences of any form, and write them as a file of pairs."""
    check_target(options.out, "--out")
    if "{text}" not in options.template:
        raise UsageError("--template: it must contain {text}, which is replaced by the prompt")
    naming = Naming(options.prompt, options.first, options.second, options.question, options.template)
    _write(_read(options.source, options.form, naming), options.out)


def _read(source: str, form: str, naming: Naming) -> Imported:
    table = read_rows(source, "SOURCE")
    if form == "auto":
        form = "argilla" if is_argilla(table) else "label-studio" if is_label_studio(table) else "preferences"
    if form == "argilla":
        return read_argilla(table, naming, "SOURCE")
    if form == "label-studio":
        return read_label_studio(table, naming, "SOURCE")
    return Imported(preferences_of(table, source, "SOURCE", naming.template))


def _export(options: argparse.Namespace) -> None:
    """Write the answers that may be learnt from as a file of pairs."""
    check_target(options.out, "--out")
    judgements = judgements_of(options.source, "SOURCE")
    counts = {reason: count for reason, count in fates(judgements).items() if reason != TAKEN}
    _write(Imported(judgements_to_preferences(judgements), counts), options.out)


def _write(found: Imported, out: Path) -> None:
    """Write them, and print how many were taken and left out, last the path."""
    if not found.preferences:
        raise UsageError(f"SOURCE: it has no preference to write{_left_out(found.left_out)}")
    write_preferences(found.preferences, out)
    ties = sum(preference.tie for preference in found.preferences)
    print(f"{len(found.preferences)} preferences, {ties} of them ties{_left_out(found.left_out)}")
    print(out)


def _left_out(counts: Mapping[str, int]) -> str:
    return "; left out: " + ", ".join(f"{count} {reason}" for reason, count in counts.items()) if counts else ""


def _delete_annotator(options: argparse.Namespace) -> None:
    """Delete one annotator's answers."""
    count = delete_answers(options.source, options.name)
    print(f"{count} {'answer' if count == 1 else 'answers'} by {options.name} deleted from {options.source}")


def _judge(options: argparse.Namespace) -> None:
    """Print what the answers say."""
    from service.report.judgements import print_statistics  # here, because plotly takes seconds to load
    from workers.preferences.statistics import judge

    if options.json and not options.json.parent.is_dir():
        raise UsageError(f"--json: there is no folder {options.json.parent}")
    statistics = judge(judgements_of(options.source, "SOURCE"))
    print_statistics(statistics)
    if options.json:
        replace_file(options.json, json.dumps(asdict(statistics), indent=2, allow_nan=False).encode())
        print(options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"{COMMAND} pairs", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="import|export|delete-annotator|judge")
    reading = verbs.add_parser("import", help="write the preferences of a file, a data set or another tool as pairs")
    writing = verbs.add_parser("export", help="write the answers of a campaign that may be learnt from as pairs")
    deletion = verbs.add_parser("delete-annotator", help="delete one annotator's answers from a file or a campaign")
    judging = verbs.add_parser("judge", help="print which policy people prefer, and how far they agree")
    for verb, action in ((reading, _import), (writing, _export), (judging, _judge)):
        verb.set_defaults(action=action)
        verb.add_argument("source", metavar="SOURCE", help="a file or a folder")
    for verb in (reading, writing):
        verb.add_argument("--out", type=Path, required=True, help="name.jsonl, name.csv or a folder for save_to_disk")
    judging.add_argument("--json", type=Path, metavar="FILE", help="file that gets the figures as JSON, too")
    deletion.set_defaults(action=_delete_annotator)
    deletion.add_argument("source", metavar="SOURCE", type=Path, help="a jsonl or csv file, or a campaign's folder")
    deletion.add_argument("name", metavar="NAME", help="name of the annotator, as in the answers")
    _add_naming(reading)
    return parser


def _add_naming(reading: argparse.ArgumentParser) -> None:
    own = "of an export of Argilla or Label Studio"
    reading.add_argument("--from", dest="form", choices=FORMS, default="auto", help="form (default: %(default)s)")
    reading.add_argument("--template", default="{text}",
                         help="makes the policy's prompt of a prompt, at {text}; such as the run's data.template")  # fmt: skip
    reading.add_argument("--prompt", metavar="FIELD", help=f"field {own} with the prompt")
    reading.add_argument("--first", metavar="FIELD", help=f"field {own} with a completion")
    reading.add_argument("--second", metavar="FIELD", help=f"field {own} with the other completion")
    reading.add_argument("--question", metavar="NAME", help=f"question or control {own} that asks for the better one")
