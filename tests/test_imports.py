"""Imports point one way, and the command line starts without anything heavy."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import tcf

ROOT = Path(tcf.__file__).parent

# From the bottom up. A package may import the packages of lower layers; those of one layer know nothing of one another.
LAYERS = (
    ("common",),
    ("config",),
    ("assets",),
    ("data",),
    ("ranking", "encoders"),
    ("train", "extract"),
    ("evaluate",),
    ("launch", "doctor"),
    ("api",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
HEAVY = (
    "accelerate",
    "faiss",
    "huggingface_hub",
    "matplotlib",
    "optuna",
    "pyarrow",
    "tensorboard",
    "tokenizers",
    "torch",
    "transformers",
)


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def part_of(module: Path) -> str:
    """`data` for tcf/data/raw/raw_log.py, `cli` for tcf/cli.py."""
    return module.relative_to(ROOT).with_suffix("").parts[0]


def parts_imported(source: str) -> Iterator[tuple[int, str]]:
    """Line and part of tcf for every import in a source text, those inside functions included."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), names=names, level=0):
                found = [f"tcf.{alias.name}" for alias in names] if module == "tcf" else [module]
            case ast.ImportFrom(level=level) if level > 0:
                raise AssertionError(f"line {node.lineno}: a relative import; write the whole name")
            case _:
                continue
        for name in found:
            if name != "tcf.__version__" and (name == "tcf" or name.startswith("tcf.")):
                yield node.lineno, name.partition("tcf.")[2].split(".")[0]


def is_allowed(importer: str, imported: str) -> bool:
    upper, lower = LEVEL[importer], LEVEL[imported]
    return lower < upper or importer == imported


def wrong_imports(importer: str, source: str) -> list[str]:
    return [
        f"line {line}: {importer} imports {imported}"
        for line, imported in parts_imported(source)
        if not is_allowed(importer, imported)
    ]


def test_every_part_has_its_layer() -> None:
    assert {part_of(module) for module in modules()} == set(LEVEL)


@pytest.mark.parametrize("module", modules(), ids=lambda module: str(module.relative_to(ROOT)))
def test_imports_point_to_lower_layers(module: Path) -> None:
    assert wrong_imports(part_of(module), module.read_text(encoding="utf-8")) == []


def modules_imported(module: Path) -> set[Path]:
    """Every module of tcf that a module imports, those imported inside functions included."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module=str(name), names=names):
                names_found = [f"{name}.{alias.name}" for alias in names] + [name]
            case ast.Import(names=names):
                names_found = [alias.name for alias in names]
            case _:
                continue
        found |= {ROOT.parent / f"{name.replace('.', '/')}.py" for name in names_found}
    return {path for path in found if path.is_file()}


def circle_in(graph: dict[Path, set[Path]]) -> list[str]:
    """The modules that remain when those that import nothing left are taken away, again and again."""
    left = {module: set(imported) for module, imported in graph.items()}
    while free := {module for module, imported in left.items() if not imported & set(left)}:
        left = {module: imported for module, imported in left.items() if module not in free}
    return sorted(module.name for module in left)


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert circle_in({module: modules_imported(module) for module in modules()}) == []


def test_a_circle_is_found() -> None:
    a, b, c = Path("a.py"), Path("b.py"), Path("c.py")
    assert circle_in({a: {b}, b: {a}, c: {a}}) == ["a.py", "b.py", "c.py"]
    assert circle_in({a: {b}, b: set(), c: {a, b}}) == []
    assert circle_in({a: {a}, b: {a}}) == ["a.py", "b.py"]


def test_a_folder_holds_no_more_files_than_a_reader_can_keep_in_mind() -> None:
    folders = Counter(module.parent for module in modules() if module.name != "__init__.py")
    assert {str(folder): count for folder, count in folders.items() if count > 16} == {}


def test_the_package_itself_imports_nothing_but_names_for_type_checkers() -> None:
    run = [
        statement
        for statement in ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
        if not (isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING")
    ]
    assert list(parts_imported(ast.unparse(ast.Module(run, [])))) == []


@pytest.mark.parametrize(
    ("importer", "source", "allowed"),
    [
        ("train", "from tcf.data.split import split", True),
        ("train", "def f():\n    from tcf.extract.stage import extract", False),
        ("extract", "import tcf.train.trainer", False),
        ("data", "from tcf import encoders", False),
        ("encoders", "from tcf.ranking.metrics import hit_rate", False),
        ("assets", "from tcf.assets.wheel import SourceError", True),
        ("assets", "from tcf.data.tables.text_table import read", False),
        ("evaluate", "import torch, tcf.launch", False),
    ],
)
def test_the_rule_itself(importer: str, source: str, allowed: bool) -> None:
    assert (wrong_imports(importer, source) == []) is allowed


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import runpy, sys\n"
        "sys.argv = ['tcf', '--help']\n"
        "try: runpy.run_module('tcf.cli', run_name='__main__')\n"
        "except SystemExit as end: code = end.code\n"
        f"print('loaded:', code, sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Usage: tcf" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded: 0 []"
