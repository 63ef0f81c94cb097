"""Every file in JSON or TOML is read by one function, which refuses what could do harm, on one line and at once."""

import ast
import json
import os
import time
from pathlib import Path

import pytest

import tcf
from tcf.common.errors import ConfigError, value_words
from tcf.common.parsing import LARGEST_TOML, parse_json, parse_toml, read_json
from tcf.config.fields import read_toml

ROOT = Path(tcf.__file__).parent
PARSER = ROOT / "common" / "parsing.py"
LONG = "9" * 5000


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[" * 200 + "]" * 200, "values nested more than 100 times"),
        ("[" * 10**6, "values nested more than 100 times"),
        ('{"a":' * 10**5, "values nested more than 100 times"),
        (f'{{"a": {LONG}}}', "a whole number of more than 40 digits"),
        (f"-{LONG}", "a whole number of more than 40 digits"),
        ("{", "Expecting property name"),
    ],
)
def test_json_that_is_refused(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "a.json").write_text(text)
    start = time.perf_counter()
    with pytest.raises(ValueError, match=found) as refused:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(refused.value)
    assert time.perf_counter() - start < 2


def test_json_that_models_and_rows_have() -> None:
    deep: object = 1
    for _ in range(98):
        deep = [deep]
    values = {"limit": 10**30, "range": [0.0, float("inf")], "deep": deep, "text": "é\ud83d", "no": False}
    assert parse_json(json.dumps(values)) == values
    assert parse_json(f'{{"a": {LONG}, "b": 1.50}}', numbers_as_text=True) == {"a": LONG, "b": "1.50"}


def test_json_files_that_are_too_large_or_no_files(tmp_path: Path) -> None:
    (tmp_path / "long").write_text(" " * 100)
    with pytest.raises(ValueError, match="more than 99 bytes"):
        read_json(tmp_path / "long", most=99)
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it
    for place in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "none"):
        with pytest.raises(OSError, match="regular file|directory"):
            read_json(place)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"a = {LONG}", "a whole number of more than 40 digits"),
        (f"a = 0x{'f' * 10**5}", "a whole number of more than 40 digits"),
        ("a = " + "[" * 10**5, "values nested more than 100 times"),
        ("a = " + "{b = " * 150 + "1" + "}" * 150, "values nested more than 100 times"),
        ("[" + ".".join(["a"] * 10**5) + "]", "a key of more than 64 parts"),
        (' . "a"' * 10**4, "a key of more than 64 parts"),
        ("#" * (LARGEST_TOML + 1), "more than 256 KiB"),
        ("a = ", "Invalid value"),
    ],
)
def test_toml_that_is_refused(tmp_path: Path, text: str, found: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    start = time.perf_counter()
    with pytest.raises(ConfigError, match=f"a.toml: expected valid TOML, found an error .*{found}.*; fix the file"):
        read_toml(file)
    assert time.perf_counter() - start < 2


def test_toml_that_users_write() -> None:
    text = 'a = "1.2.3"\r\n# ' + "word. " * 60 + "\r\n[b.c]\r\nd = [[1], [0x_ff]]\r\n"
    assert parse_toml(text.replace("_", "").encode()) == {"a": "1.2.3", "b": {"c": {"d": [[1], [255]]}}}


def test_an_endless_configuration_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError, match="more than 256 KiB"):
        read_toml(Path("/dev/zero"))


def test_a_number_that_cannot_be_printed() -> None:
    assert value_words(10**5000) == value_words([-(10**5000)]) == "a number too long to be shown"


def parsers(source: str) -> list[str]:
    """The lines on which a module parses JSON or TOML by itself."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="json"), attr="load" | "loads" | "JSONDecoder"):
                found.append(f"line {node.lineno}: json.{node.attr}")
            case ast.ImportFrom(module="json" | "tomllib") | ast.Import(names=[ast.alias(name="tomllib")]):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def test_no_other_module_parses_json_or_toml() -> None:
    assert parsers(PARSER.read_text(encoding="utf-8"))
    others = [module for module in sorted(ROOT.rglob("*.py")) if module != PARSER]
    assert {str(module): found for module in others if (found := parsers(module.read_text(encoding="utf-8")))} == {}
