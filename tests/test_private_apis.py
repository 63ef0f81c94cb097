"""What tcf uses of other libraries without their leave is in modules named `*_internals`, and nowhere else."""

import ast
import configparser
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import tcf

ROOT = Path(tcf.__file__).parent
LIBRARIES = (
    "accelerate",
    "click",
    "duckdb",
    "faiss",
    "gguf",
    "huggingface_hub",
    "optuna",
    "pyarrow",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "typer",
)
# Of these, and of NumPy, things are used that they do not promise to keep.
BOUNDED = (
    "accelerate",
    "duckdb",
    "gguf",
    "huggingface_hub",
    "numpy",
    "optuna",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "typer",
)
# Modules of these libraries whose documentation is for users; `from transformers import X` is a matter of its own.
DOCUMENTED = {
    "accelerate",
    "duckdb",
    "faiss",
    "gguf",
    "huggingface_hub",
    "huggingface_hub.errors",
    "optuna",
    "optuna.distributions",
    "optuna.pruners",
    "optuna.samplers",
    "optuna.storages",
    "optuna.storages.journal",
    "optuna.study",
    "optuna.trial",
    "pyarrow",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.json",
    "pyarrow.parquet",
    "safetensors",
    "safetensors.torch",
    "tokenizers",
    "tokenizers.models",
    "torch",
    "torch.autograd.function",
    "torch.distributed",
    "torch.nn",
    "torch.nn.parallel",
    "torch.serialization",
    "torch.utils.hooks",
    "torch.utils.tensorboard",
    "transformers",
    "transformers.utils",
    "typer",
    "typer.core",
    "typer.main",
}
# Undocumented although their names do not begin with an underscore.
KNOWN = {
    "check_cuda_p2p_ib_support",
    "default_generators",
    "input_modalities",
    "initialize_weights",
    "meta_device_safe_creation_ops",
}
# Parts of messages and names of environment variables by which such things are known.
KNOWN_WORDS = (
    "TORCHELASTIC_",
    "ACCELERATE_TORCH_DEVICE",
    "_CACHE_CAPACITY",
    "exp_avg",
    "mismatched_keys",
    "missing_keys",
    "unexpected_keys",
)


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if not path.stem.endswith("_internals"))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names(tree: ast.Module) -> set[str]:
    """Names with an underscore that a module gives to attributes of its own: methods, fields, `self._x = ...`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                found.add(name)
    return found


def imports(node: ast.AST) -> list[str]:
    """Whole names of what is imported: `torch.utils._pytree` for `from torch.utils import _pytree`."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names):
            return [f"{module}.{alias.name}" for alias in names]
        case _:
            return []


def module_of(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module)):
            return [module]
        case _:
            return []


def private_uses(source: str) -> Iterator[str]:
    """What a module uses that it should not, by line."""
    tree = ast.parse(source)
    ours = own_names(tree)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for name in imports(node):
            if name.split(".")[0] in LIBRARIES and (any(map(is_private, name.split("."))) or name in KNOWN):
                yield f"line {line}: imports {name}"
        for name in module_of(node):
            if name.split(".")[0] in LIBRARIES and name not in DOCUMENTED:
                yield f"line {line}: imports from {name}, which is not known to be documented"
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls" | "os")):
                pass
            case ast.Attribute(attr=name) if (is_private(name) and name not in ours) or name in KNOWN:
                yield f"line {line}: .{name}"
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="torch"), attr="ops"), attr=name):
                yield f"line {line}: torch.ops.{name}"
            case ast.Call(func=ast.Name(id="getattr" | "hasattr" | "setattr"), args=[_, ast.Constant(str(name)), *_]):
                if is_private(name):
                    yield f"line {line}: {name!r} as an attribute's name"
            case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[ast.Call() as text]) if (
                "str(err" in ast.unparse(text)
            ):
                yield f"line {line}: an error is known by its words, {ast.unparse(node)}"
            case ast.Constant(value=str(text)) if any(word in text for word in KNOWN_WORDS) and "\n" not in text:
                yield f"line {line}: the words {text!r}"


@pytest.mark.parametrize("module", modules(), ids=lambda module: str(module.relative_to(ROOT)))
def test_private_parts_are_used_in_internals_alone(module: Path) -> None:
    found = list(private_uses(module.read_text(encoding="utf-8")))
    assert found == [], "move it to the library's *_internals module, and add a test there that names it when it breaks"


def test_every_internals_module_has_its_tests() -> None:
    internals = sorted(ROOT.rglob("*_internals.py"))
    tests = {path: Path(__file__).parent / path.relative_to(ROOT).with_name(f"test_{path.name}") for path in internals}
    assert internals
    assert [str(test) for test in tests.values() if not test.is_file()] == []
    for path, test in tests.items():
        exported = next(
            ast.literal_eval(node.value)
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        )
        text = test.read_text(encoding="utf-8")
        assert [name for name in exported if name not in text] == [], f"{test}: has no test of these"


@pytest.mark.parametrize("library", BOUNDED)
def test_a_next_major_version_is_kept_out_until_it_was_tried(library: str) -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT.parent / "setup.cfg", encoding="utf-8")
    asked = [Requirement(line) for line in settings["options"]["install_requires"].split("\n") if line.strip()]
    [bounds] = [requirement.specifier for requirement in asked if requirement.name == library]
    constraints = (ROOT.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    [held] = [line.partition("==")[2] for line in constraints if line.startswith(f"{library}==")]
    major = int(held.partition(".")[0])
    assert held in bounds
    assert f"{major}.999" in bounds and f"{major + 1}.0" not in bounds


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch._dynamo", 2),
        ("from torch.utils import _pytree", 2),
        ("from transformers.pytorch_utils import Conv1D", 1),
        ("def f():\n    from transformers.modeling_utils import PreTrainedModel", 1),
        ("model._no_split_modules", 1),
        ("getattr(model, '_no_split_modules', None)", 1),
        ("torch.ops.mkldnn", 1),
        ("torch.cuda.default_generators[0]", 1),
        ("reads = kind.input_modalities", 1),
        ("lacking = report['missing_keys']", 1),
        ("moment = state['exp_avg_sq']", 1),
        ('"can\'t allocate memory" in str(error)', 1),
        ("'gloo' in str(error).lower()", 1),
        ("PartialState(backend='gloo')", 0),
        ("from torch import Tensor, nn\nfrom transformers import AutoModel", 0),
        ("class A:\n    def __init__(self):\n        self._x = 1\ndef f(a: A):\n    return a._x", 0),
        ("class A:\n    _x: int = 0\nA()._x", 0),
        ("import os\nos._exit(0)", 0),
    ],
)
def test_the_rule_itself(source: str, found: int) -> None:
    assert len(list(private_uses(source))) == found
