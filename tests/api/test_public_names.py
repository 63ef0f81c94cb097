"""What `import tcf` gives: all public names, each when it is first used, and nothing heavy before."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tcf

SOURCE = Path(tcf.__file__).read_text(encoding="utf-8")
# What a second of start-up would be spent on.
HEAVY = ("numpy", "pandas", "pyarrow", "rich", "safetensors", "tomli_w", "torch", "transformers", "typer")


def in_new_process(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_import_loads_no_library_and_no_module_of_ours() -> None:
    script = f"import sys, tcf\nprint(sorted(set({HEAVY}) & set(sys.modules)), [n for n in sys.modules if 'tcf.' in n])"
    assert in_new_process(script) == "[] []"


def test_settings_and_errors_need_no_large_library() -> None:
    script = f"import sys, tcf\ntcf.TrainConfig, tcf.TcfError\nprint(sorted(set({HEAVY}) & set(sys.modules)))"
    assert in_new_process(script) == "['tomli_w']"


def test_type_checkers_see_what_is_imported() -> None:
    [imported] = [
        node
        for node in ast.parse(SOURCE).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    seen = {
        (node.module, alias.name) for node in imported.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == {(module, name) for module, names in tcf._MODULES for name in names}
    assert sorted({name for _, name in seen} | {"__version__"}) == tcf.__all__
    assert set(tcf.__all__) <= set(dir(tcf))


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in tcf._MODULES for name in names])
def test_a_name_is_what_its_module_calls_so(module: str, name: str) -> None:
    assert getattr(tcf, name) is getattr(importlib.import_module(module), name)
    assert getattr(tcf, name).__name__ == name


def test_an_unknown_name_is_told_as_python_does() -> None:
    with pytest.raises(AttributeError, match=r"^module 'tcf' has no attribute 'trian_recommender'$"):
        tcf.trian_recommender  # noqa: B018
    assert not hasattr(tcf, "__wrapped__")


def test_no_name_is_a_modules_so_that_imports_of_modules_hide_none() -> None:
    modules = [found.name for found in pkgutil.walk_packages(tcf.__path__, "tcf.")]
    assert len(modules) > 200
    for name in modules:
        importlib.import_module(name)
    for name in tcf.__all__:
        value = getattr(tcf, name)
        assert name == "__version__" or callable(value), f"{name} is {value}"


def test_the_version_is_that_of_the_distribution() -> None:
    settings = (Path(tcf.__file__).parents[1] / "setup.cfg").read_text(encoding="utf-8")
    assert "\nversion = attr: tcf.__version__\n" in settings
    assert tcf.__version__.count(".") == 2
