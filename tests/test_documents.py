"""Modules and folders that the documents name are there."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def named_places(text: str) -> Iterator[str]:
    """Files and folders of this repository in backquotes, such as `tcf/data/keys.py` or `tests/data/`."""
    for place in re.findall(r"`((?:tcf|tests|benchmarks|examples|docs)/[\w./-]*)`", text):
        if "NAME" not in place:  # a file that the reader is to write
            yield place


def named_objects(text: str) -> Iterator[str]:
    """Modules in packages and what is in them, in backquotes, such as `tcf.data.prepare.prepare`."""
    yield from re.findall(r"`(tcf(?:\.\w+){2,})`", text)


def is_there(name: str) -> bool:
    """Whether a dotted name is a module of tcf, or something in one."""
    module, _, attribute = name.rpartition(".")
    if Path(ROOT, *name.split(".")).with_suffix(".py").is_file() or Path(ROOT, *name.split(".")).is_dir():
        return True
    return Path(ROOT, *module.split(".")).with_suffix(".py").is_file() and hasattr(
        importlib.import_module(module), attribute
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_place_that_a_page_names_exists(page: Path) -> None:
    assert [place for place in named_places(page.read_text(encoding="utf-8")) if not (ROOT / place).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_object_that_a_page_names_exists(page: Path) -> None:
    assert [name for name in named_objects(page.read_text(encoding="utf-8")) if not is_there(name)] == []


def test_names_are_recognised() -> None:
    places = "in `tcf/data/keys.py` and `tcf/nowhere.py`, or `tcf/data/raw/NAME.py`"
    assert list(named_places(places)) == ["tcf/data/keys.py", "tcf/nowhere.py"]
    assert list(named_objects("`tcf.data.keys.locate`, the metadata `tcf.run`, `tcf.data.x`")) == [
        "tcf.data.keys.locate",
        "tcf.data.x",
    ]
    found = [is_there(name) for name in ("tcf.data.keys.locate", "tcf.data.keys", "tcf.data.cache", "tcf.data.x")]
    assert found == [True, True, True, False]
