"""State that nobody sees: none is kept in modules, none in defaults of arguments, and none is changed by an import.

Random numbers come from a stream with a name, never from a global generator.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tcf

ROOT = Path(tcf.__file__).parent
MUTABLE = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
MAKERS = {"dict", "list", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}
CHANGES = {
    "add",
    "append",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "setdefault",
    "update",
}
STREAMS = ROOT / "common" / "random_streams.py"
# What makes or seeds a generator of NumPy, torch or Python's own module.
SEEDED = {
    "Generator",
    "MT19937",
    "PCG64",
    "Philox",
    "RandomState",
    "SeedSequence",
    "default_rng",
    "manual_seed",
    "manual_seed_all",
    "seed",
    "set_seed",
}
# What draws from torch's global generator unless it is handed another one.
DRAWS = {"bernoulli", "multinomial", "normal", "rand", "randint", "randn", "randperm"}
AT_IMPORT = ("os.environ", "os.putenv", "warnings.", "logging.", "random.seed", "np.random.seed", "torch.manual_seed")


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def is_mutable(value: ast.AST | None) -> bool:
    return isinstance(value, MUTABLE) or (
        isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in MAKERS
    )


def smells(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    yield from _of_functions(tree)
    yield from _at_import(tree)
    yield from _of_module_state(tree)


def _of_functions(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Global():
                yield f"line {node.lineno}: global {', '.join(node.names)}"
            case ast.FunctionDef(args=args) | ast.AsyncFunctionDef(args=args) | ast.Lambda(args=args):
                if any(map(is_mutable, (*args.defaults, *args.kw_defaults))):
                    yield f"line {node.lineno}: a default that calls share"
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                if ast.unparse(decorator).partition("(")[0].rpartition(".")[2] in ("cache", "lru_cache"):
                    yield f"line {node.lineno}: {node.name} remembers its results for as long as the process lives"


def unnamed_generators(source: str) -> Iterator[str]:
    """Where a module makes or seeds a generator by itself, or draws from a global one, by line."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in SEEDED:
                yield f"line {node.lineno}: {name}"
            case ast.Import(names=names) if any(alias.name == "random" for alias in names):
                yield f"line {node.lineno}: the module random"
            case ast.ImportFrom(module="random" | "numpy.random"):
                yield f"line {node.lineno}: the module {node.module}"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr=name), keywords=keywords) if (
                name in DRAWS
            ):
                if not any(keyword.arg == "generator" for keyword in keywords):
                    yield f"line {node.lineno}: torch.{name} without a generator"
            case ast.Call(func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="np"), attr="random"), attr=name)):
                yield f"line {node.lineno}: np.random.{name}"


def _run_at_import(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that an import runs, those within `if`, `for`, `with`, `try` and class bodies among them."""
    for statement in statements:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                continue
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                continue  # not run by an import
            case _:
                yield statement
        for inner in ("body", "orelse", "finalbody"):
            yield from _run_at_import(getattr(statement, inner, []))


def _at_import(tree: ast.Module) -> Iterator[str]:
    for statement in _run_at_import(tree.body):
        match statement:
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                changed = [ast.unparse(target) for target in targets if isinstance(target, ast.Subscript)]
            case ast.AugAssign(target=ast.Subscript() as target):
                changed = [ast.unparse(target)]
            case ast.Expr(value=ast.Call(func=func)):
                changed = [ast.unparse(func)]
            case _:
                changed = []
        for name in changed:
            if name.startswith(AT_IMPORT):
                yield f"line {statement.lineno}: an import changes the process: {name}"


def _of_module_state(tree: ast.Module) -> Iterator[str]:
    """Containers of a module that something changes."""
    names = set()
    for statement in tree.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ) if is_mutable(value):
                names.add(name)
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if name in names and attr in CHANGES:
                yield f"line {node.lineno}: {name}.{attr}"
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()) if name in names:
                yield f"line {node.lineno}: {name}[...] is changed"


@pytest.mark.parametrize("module", modules(), ids=lambda module: str(module.relative_to(ROOT)))
def test_no_hidden_state(module: Path) -> None:
    assert list(smells(module.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("module", modules(), ids=lambda module: str(module.relative_to(ROOT)))
def test_generators_come_from_named_streams(module: Path) -> None:
    if module != STREAMS and not module.stem.endswith("_internals"):
        found = list(unnamed_generators(module.read_text(encoding="utf-8")))
        assert found == [], "draw from a stream of tcf/common/random_streams.py"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("rng = np.random.default_rng(0)", 1),
        ("from numpy.random import default_rng\nrng = default_rng(0)", 2),
        ("words = np.random.SeedSequence(0)", 1),
        ("rng = torch.Generator().manual_seed(0)", 2),
        ("torch.manual_seed(0)\ntorch.cuda.manual_seed_all(0)", 2),
        ("np.random.shuffle(x)", 1),
        ("import random\nrandom.seed(0)", 2),
        ("x = torch.randn(3)", 1),
        ("x = torch.randn(3, generator=rng)\nx.normal_(generator=rng)", 0),
        ("def f(rng: np.random.Generator, other: torch.Generator): ...", 0),
        ("rng = generator(RandomStream.TRIAL, 0)\nwith torch.random.fork_rng(): ...", 0),
    ],
)
def test_the_rule_of_generators(source: str, found: int) -> None:
    assert len({*unnamed_generators(source)}) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():\n    global x\n    x = 1", 1),
        ("def f(x=[]): ...", 1),
        ("def f(*, x=dict()): ...", 1),
        ("f = lambda x={}: x", 1),
        ("import os\nos.environ['A'] = '1'", 1),
        ("import os\nfor name in 'ab':\n    os.environ.setdefault(name, '1')", 1),
        ("import warnings\nwarnings.filterwarnings('ignore')", 1),
        ("import os\ndef f():\n    os.environ['A'] = '1'", 0),
        ("_SEEN = {}\ndef f():\n    _SEEN[1] = 2", 1),
        ("_SEEN: set[int] = set()\ndef f():\n    _SEEN.add(1)", 1),
        ("from functools import cache\n@cache\ndef f(): ...", 1),
        ("class A:\n    @cached_property\n    def x(self): ...", 0),
        ("_KINDS = {1: 'a'}\ndef f(x=(), y=None):\n    return _KINDS[1]", 0),
    ],
)
def test_the_rule_itself(source: str, found: int) -> None:
    assert len(list(smells(source))) == found
