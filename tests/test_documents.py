"""What the documents name is there: modules, folders, members of classes, commands, public functions."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import tcf
from small.command_line import parse
from tcf.commands.usage.typer_internals import UsageError

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))


def named_places(text: str) -> Iterator[str]:
    """Files and folders of this repository in backquotes, such as `tcf/data/keys.py` or `tests/data/`."""
    for place in re.findall(r"`((?:tcf|tests|benchmarks|examples|docs)/[\w./-]*)`", text):
        if "NAME" not in place:  # a file that the reader is to write
            yield place


def named_objects(text: str) -> Iterator[str]:
    """Modules in packages and what is in them, in backquotes, such as `tcf.data.prepare.prepare`."""
    yield from re.findall(r"`(tcf(?:\.\w+){2,})`", text)


def named_members(text: str) -> Iterator[str]:
    """Members of classes in backquotes, such as `Inputs.open`; names in capitals are those of files."""
    yield from re.findall(r"`((?=\w*[a-z])[A-Z][A-Za-z0-9]*\.\w+)`", text)


def commands(text: str) -> Iterator[str]:
    """Calls of the command in blocks of code, such as `tcf runs runs`, each on one line."""
    for block in re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.strip().removeprefix("$ ").removeprefix("#").strip()
            if re.match(r"tcf [a-z]", command):
                yield command


def members_of_classes(sources: Iterable[str]) -> dict[str, set[str]]:
    """What the classes of some modules have, by the classes' names: methods, fields and attributes that are set."""
    found: dict[str, set[str]] = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).update(_members(node))
    return found


def _members(kind: ast.ClassDef) -> Iterator[str]:
    for node in kind.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield name
    for inner in ast.walk(kind):
        match inner:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


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


@pytest.mark.parametrize("page", [*PAGES, *EXAMPLES], ids=lambda page: page.name)
def test_every_command_that_a_page_shows_can_be_typed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for line in commands(text if page.suffix == ".md" else f"```\n{text}```"):
        parse(line)


def test_readme_uses_public_names_alone() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert set(re.findall(r"\btcf\.(\w+)", block)) <= set(tcf.__all__)
    calls = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    public = {
        call.func.attr: call for call in calls if isinstance(call.func, ast.Attribute) and is_tcf(call.func.value)
    }
    assert len(public) >= 7
    for name, call in public.items():
        keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg is not None}
        inspect.signature(getattr(tcf, name)).bind(*call.args, **keywords)


def is_tcf(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "tcf"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_member_that_a_page_names_exists(page: Path) -> None:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "tcf").rglob("*.py"))
    members = members_of_classes(sources)
    for name in named_members(page.read_text(encoding="utf-8")):
        kind, _, member = name.partition(".")
        assert member in members.get(kind, set()), name


def test_members_are_recognised() -> None:
    text = "`Inputs.open` and `CHANGELOG.md`, `Software.jsonl.gz`, `NAME.item`, `np.Generator`, `Batch`, `DTLx.forward`"
    assert list(named_members(text)) == ["Inputs.open", "DTLx.forward"]
    source = """
class A(B):
    field: int
    OTHER = 1
    def method(self):
        self.set_there = self.read_here
"""
    assert members_of_classes([source, "class A:\n    async def more(self): ..."]) == {
        "A": {"field", "OTHER", "method", "set_there", "more"}
    }


def test_commands_are_recognised() -> None:
    text = "`tcf x`\n```\ntcf a \\\n    --b 1   # said\n$ tcf c\nmodel: tcf d\n```\n"
    assert [" ".join(line.split()) for line in commands(text)] == ["tcf a --b 1 # said", "tcf c"]
    with pytest.raises(UsageError):
        parse("tcf train --out x --bach-size 3")


def test_names_are_recognised() -> None:
    places = "in `tcf/data/keys.py` and `tcf/nowhere.py`, or `tcf/data/raw/NAME.py`"
    assert list(named_places(places)) == ["tcf/data/keys.py", "tcf/nowhere.py"]
    assert list(named_objects("`tcf.data.keys.locate`, the metadata `tcf.run`, `tcf.data.x`")) == [
        "tcf.data.keys.locate",
        "tcf.data.x",
    ]
    found = [is_there(name) for name in ("tcf.data.keys.locate", "tcf.data.keys", "tcf.data.cache", "tcf.data.x")]
    assert found == [True, True, True, False]
