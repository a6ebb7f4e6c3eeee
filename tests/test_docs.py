"""README.md and docs/*.md: short, without dead links, and with the names that the code has. Their commands are tried by
.ci/docs."""

import re
from typing import get_args

import pytest

from configs.classifiers import Inference
from configs.load import load_request
from configs.problems import field_names
from configs.reward_parts import Part
from configs.rewards import AnyPart
from configs.schema import Config
from tests.conftest import ROOT
from tests.documents.pages import PAGES, blocks, documented, metric_names
from tests.documents.table import TABLE

README_WORDS = 1200
TO_BE_MADE = {"service/commands/NAME.py", "learner/algorithms/toy.py"}
"""Files that docs/architecture.md has its readers make."""
NAMES = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
LAYERS = ("configs", "learner", "workers", "cluster", "service")
FOLDERS = {*LAYERS, "quickstart", "examples", "tests", "docs", ".ci"}
OLDER = {name for name in metric_names("Older names") if "<" not in name}


def in_backticks(text):
    """Names in backticks, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(text):
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def tree():
    """Paths that the tree in docs/architecture.md names."""
    [block] = [block for _, block in blocks(NAMES["docs/architecture.md"]) if block.startswith("ray_job.py  ")]
    folder = ""
    for line in block.splitlines():
        indent, names = re.match(r"( *)(\S+(?: \S+)*)", line).groups()
        folder = folder if indent else ""
        yield from (folder + name for name in names.split())
        folder = folder if indent else names


def test_the_readme_is_short():
    assert len(NAMES["README.md"].split()) <= README_WORDS


def test_every_command_is_tried_and_every_command_that_is_tried_is_documented():
    assert sorted(documented()) == sorted(TABLE)


@pytest.mark.parametrize("page", NAMES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", NAMES[page]):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", NAMES)
def test_files_and_folders_that_are_named_exist(page):
    for name in in_backticks(NAMES[page]):
        for path in re.findall(r"[\w.-]+(?:/[\w.-]+)*/?", name):
            if path.split("/")[0] in FOLDERS and "/" in path and path not in OLDER | TO_BE_MADE:
                assert (ROOT / path).exists(), path


def test_the_tree_names_what_exists_and_every_folder_of_the_layers():
    named = list(tree())
    assert len(named) > 40
    assert [name for name in named if not (ROOT / name).exists()] == []
    rooms = {path.parent for layer in LAYERS for path in ROOT.glob(f"{layer}/*/__init__.py")}
    assert {f"{room.relative_to(ROOT).as_posix()}/" for room in rooms} - set(named) == set()


def test_every_setting_that_is_named_exists():
    known = set(field_names(Config))
    sections = {name.split(".")[0] for name in known if "." in name}
    for page, text in NAMES.items():
        for name in in_backticks(text):
            dotted = re.fullmatch(r"(?:--)?(\w+)(\.\w+)+", name.split("=")[0].split(" ")[0])
            if dotted and dotted[1] in sections and not name.endswith((".py", ".md", ".json")):
                assert dotted[0].removeprefix("--") in known, f"{page}: {name}"


def test_the_yaml_example_is_a_config(tmp_path):
    [example] = [block for _, block in blocks(NAMES["docs/configuration.md"]) if block.startswith("base:")]
    (tmp_path / "own.yaml").write_text(example)
    assert load_request([f"--config={tmp_path / 'own.yaml'}"]).config.steps == 60


RECIPES = [block for _, block in blocks(NAMES["docs/rewards.md"]) if block.startswith("policy:")]


@pytest.mark.parametrize("recipe", range(len(RECIPES)))
def test_the_recipes_of_rewards_are_configs(recipe, tmp_path):
    (tmp_path / "own.yaml").write_text(RECIPES[recipe])
    assert len(load_request([f"--config={tmp_path / 'own.yaml'}"]).config.reward.parts) >= 2 and len(RECIPES) == 4


def test_every_kind_of_reward_is_described_with_its_settings():
    for kind in get_args(get_args(AnyPart)[0]):
        [row] = re.findall(rf"^\|.*`{kind.model_fields['type'].default}`.*\|$", NAMES["docs/rewards.md"], re.MULTILINE)
        own = set(kind.model_fields) - {*Part.model_fields, *Inference.model_fields, "type", "text", "dtype"}
        shared = {"model", "label", "label_is", "toxicity", "source", "batch_size", "concurrency"}
        assert own - shared <= set(re.findall(r"`(\w+)`", row)) | {"probe", "windows"}, kind


def test_new_metric_names_are_described_and_old_ones_are_gone():
    described = {re.sub(r"<\w+>", "<>", name) for name in metric_names("What each one means")}
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", NAMES["docs/metrics.md"], re.MULTILINE)
    assert len(rows) == len(metric_names("Older names")) >= 30
    for _, new in rows:
        generic = re.sub(r"<\w+>", "<>", new)
        assert generic in described or re.sub(r"/watch/\w+", "/watch/<>", generic) in described, new
    for page, text in NAMES.items():
        if page != "docs/metrics.md":
            assert not OLDER & set(in_backticks(text)), page
