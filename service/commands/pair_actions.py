"""What `ray_job.py pairs` does; apart from its command line, which answers at once."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from configs.errors import UsageError
from learner.atomic_files import replace_file
from service.commands.judgements import delete_answers, judgements_of
from service.report.judgements import print_statistics
from service.run.progress import silence_libraries
from workers.preferences.argilla import is_argilla, read_argilla
from workers.preferences.files import preferences_of
from workers.preferences.imports import Imported, Naming
from workers.preferences.label_studio import is_label_studio, read_label_studio
from workers.preferences.rows import read_rows
from workers.preferences.statistics import judge
from workers.preferences.training_pairs import TAKEN, fates, judgements_to_preferences
from workers.preferences.writing import check_target, write_preferences


def import_pairs(options: argparse.Namespace) -> None:
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


def export_pairs(options: argparse.Namespace) -> None:
    """Write the answers that may be learnt from as a file of pairs."""
    check_target(options.out, "--out")
    judgements = judgements_of(options.source, "SOURCE")
    counts = {reason: count for reason, count in fates(judgements).items() if reason != TAKEN}
    _write(Imported(judgements_to_preferences(judgements), counts), options.out)


def _write(found: Imported, out: Path) -> None:
    """Write them, and print how many were taken and left out, last the path."""
    if not found.preferences:
        raise UsageError(f"SOURCE: it has no preference to write{_left_out(found.left_out)}")
    silence_libraries()
    write_preferences(found.preferences, out)
    ties = sum(preference.tie for preference in found.preferences)
    print(f"{len(found.preferences)} preferences, {ties} of them ties{_left_out(found.left_out)}")
    print(out)


def _left_out(counts: Mapping[str, int]) -> str:
    return "; left out: " + ", ".join(f"{count} {reason}" for reason, count in counts.items()) if counts else ""


def delete_one(options: argparse.Namespace) -> None:
    """Delete one annotator's answers."""
    count = delete_answers(options.source, options.name)
    print(f"{count} {'answer' if count == 1 else 'answers'} by {options.name} deleted from {options.source}")


def judge_answers(options: argparse.Namespace) -> None:
    """Print what the answers say."""
    if options.json and not options.json.parent.is_dir():
        raise UsageError(f"--json: there is no folder {options.json.parent}")
    statistics = judge(judgements_of(options.source, "SOURCE"))
    print_statistics(statistics)
    if options.json:
        replace_file(options.json, json.dumps(asdict(statistics), indent=2, allow_nan=False).encode())
        print(options.json)


ACTIONS = {"import": import_pairs, "export": export_pairs, "delete-annotator": delete_one, "judge": judge_answers}
