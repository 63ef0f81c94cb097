"""Every public function says what it takes, returns and raises, and its example runs."""

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tcf
from small.launch.pipelines import workplace
from small.launch.studies import STUDY

FUNCTIONS = [name for name in tcf.__all__ if inspect.isfunction(getattr(tcf, name))]
CLASSES = [name for name in tcf.__all__ if inspect.isclass(getattr(tcf, name))]
# In the order of the pipeline; what is made here is read by those behind.
WAY = (
    *("prepare_dataset", "open_dataset", "plan_extraction", "extract_vectors", "open_cache"),
    *("train_recommender", "open_run", "combine_runs", "open_combination"),
    *("evaluate_run", "evaluate_runs", "evaluate_baseline", "open_evaluation"),
    *("evaluation_table", "compare_evaluations", "recommend_items", "run_pipeline", "run_study"),
)
NETWORK = ("download_dataset",)


def sections(docstring: str) -> dict[str, str]:
    """The sections of a docstring in Google style, by their headings."""
    parts = re.split(r"^(Args|Returns|Raises|Example|Attributes):\n", inspect.cleandoc(docstring), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section: str) -> list[str]:
    """The names that a section explains, each in a line of its own."""
    return re.findall(r"^ {4}(\w+): \S", section, flags=re.MULTILINE)


def public_methods() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in CLASSES:
        for method, value in vars(getattr(tcf, name)).items():
            if inspect.isfunction(value) and not method.startswith("_"):
                yield f"{name}.{method}", value


METHODS = dict(public_methods())


def undescribed(function: Callable[..., Any]) -> list[str]:
    """What the docstring of a function lacks, or has too much."""
    found, signature = sections(function.__doc__ or ""), inspect.signature(function)
    taken = [name for name in signature.parameters if name != "self"]
    lacking = [] if entries(found.get("Args", "")) == taken else ["Args"]
    unknown = [name for name in entries(found.get("Raises", "")) if not hasattr(tcf, name) and name != "IndexError"]
    return lacking + unknown


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_takes_returns_and_raises(name: str) -> None:
    function = getattr(tcf, name)
    assert undescribed(function) == []
    assert [*sections(function.__doc__)] == ["Args", "Returns", "Raises", "Example"]
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty
    assert all(text.strip() for text in sections(function.__doc__).values())


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_takes_and_raises(name: str) -> None:
    # What a method with one argument takes may be said in its first sentence.
    in_a_sentence = "Args" not in sections(METHODS[name].__doc__ or "") and METHODS[name].__code__.co_argcount == 2
    assert undescribed(METHODS[name]) == (["Args"] if in_a_sentence else [])


@pytest.mark.parametrize("name", [name for name in CLASSES if not issubclass(getattr(tcf, name), Exception)])
def test_a_class_explains_its_attributes(name: str) -> None:
    kind = getattr(tcf, name)
    found = sections(kind.__doc__)
    inherited = [word for base in kind.__mro__ for word in entries(sections(base.__doc__ or "").get("Attributes", ""))]
    assert {*kind.__dataclass_fields__} <= {*inherited}
    assert "Example" in found or not name.endswith("Config")


def test_what_is_not_described_is_found() -> None:
    def described(self: object, a: int) -> None:
        """Do.

        Args:
            a: one.

        Raises:
            ConfigError: always.
        """

    def wrong(a: int, b: int) -> None:
        """Do.

        Args:
            a: one.

        Raises:
            AnyError: never.
        """

    assert undescribed(described) == []
    assert undescribed(wrong) == ["Args", "AnyError"]


def test_the_examples_run_one_after_the_other(tmp_path: Path) -> None:
    workplace(tmp_path).rename(tmp_path / "pipeline.toml")
    (tmp_path / "study.toml").write_text(STUDY)
    assert sorted((*WAY, *NETWORK)) == FUNCTIONS
    for name in (*WAY, *NETWORK):
        [example] = re.findall(r"```python\n(.*?)```", sections(getattr(tcf, name).__doc__)["Example"], re.DOTALL)
        code = compile(inspect.cleandoc(example), f"example of {name}", "exec")
        if name not in NETWORK:
            with contextlib.chdir(tmp_path):
                exec(code, {"tcf": tcf})
