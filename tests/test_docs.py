"""The code blocks of the README and of every page in docs run, in order, in one namespace a page."""

import re
import tomllib
from pathlib import Path

import pytest

from sigvit.evidence.judging import TABLE_COLUMNS
from sigvit.model.positions import KINDS

ROOT = Path(__file__).parents[1]
PAGES = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if "```python" in path.read_text()]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_code_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": page.stem}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)):
        exec(compile(block, f"{page.name}, block {number + 1}", "exec"), namespace)


def test_every_file_stands_in_a_room_of_the_architecture():
    named = set(re.findall(r"\w+\*?", (ROOT / "docs" / "architecture.md").read_text()))
    several = tuple(name[:-1] for name in named if name.endswith("_*"))
    files = {path.stem for path in (ROOT / "sigvit").glob("*/*.py") if path.stem != "__init__"}
    assert {name for name in files - named if not name.startswith(several)} == set()


def test_extras_that_are_named_can_be_installed():
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    texts = "".join(path.read_text() for folder in ("sigvit", "experiments", "benchmarks", "docs", "tests") for path in (ROOT / folder).rglob("*.[pm][yd]"))
    named = re.findall(r"""the extra [`"']?(\w+)|\(extra ["']?(\w+)|sigvit\[([\w,]+)\]""", texts)
    assert {each for groups in named for each in ",".join(groups).split(",") if each} <= extras


def test_the_architecture_has_the_columns_of_a_results_table():
    assert " ".join(TABLE_COLUMNS) in " ".join((ROOT / "docs" / "architecture.md").read_text().split())


@pytest.mark.parametrize("page", ["images.md", "tokenizers.md"])
def test_pages_name_all_positions(page):
    text = (ROOT / "docs" / page).read_text()
    assert [kind for kind in KINDS if f'`"{kind}"`' not in text] == []
