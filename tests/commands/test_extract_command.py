"""What is typed after `tcf extract`, and what the public function is called with."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tcf.commands.app import app
from tcf.common.errors import ConfigError, DataError
from tcf.config.extract import ExtractConfig

EXTRACT = ["extract", "--data", "d", "--model", "m", "--out", "c"]


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ([], {}),
        (["--layers", "-1"], {"layers": (-1,)}),
        (["--layers", "0,6,-1"], {"layers": (0, 6, -1)}),
        (["--layers=-1,2"], {"layers": (-1, 2)}),
        (["--layers", "0, 3"], {"layers": (0, 3)}),
        (["--token-states", "0"], {"token_states": 0}),
        (["--token-states", "-1", "--token-storage", "bfloat16"], {"token_states": -1, "token_storage": "bfloat16"}),
        (["--prefix", "query: ", "--parquet"], {"prefix": "query: ", "parquet": True}),
        (["--compile", "--trust-remote-code"], {"compile": True, "trust_remote_code": True}),
        (["--shard-rows", "7", "--tokens-per-batch", "9"], {"shard_rows": 7, "tokens_per_batch": 9}),
    ],
)
def test_options_of_extract(monkeypatch: pytest.MonkeyPatch, words: list[str], settings: dict[str, Any]) -> None:
    """What is typed is what the public function is called with."""
    calls: list[tuple[Any, ...]] = []

    class Done:
        def summary(self) -> str:
            return "a summary"

        def as_json(self) -> dict[str, Any]:
            return {}

    def extract(*arguments: Any) -> Done:
        calls.append(arguments)
        return Done()

    monkeypatch.setattr("tcf.api.extraction.extract_vectors", extract)
    done = CliRunner().invoke(app, [*EXTRACT, *words])
    assert (done.exit_code, done.stdout) == (0, "a summary\n"), done.output
    assert calls == [(Path("d"), "m", Path("c"), ExtractConfig(**settings))]


@pytest.mark.parametrize("typed", ["", ",", "0,,1", "0,x", "1.5", "[0]", "0 1"])
def test_layers_that_are_no_numbers(typed: str) -> None:
    done = CliRunner().invoke(app, [*EXTRACT, "--layers", typed])
    assert isinstance(done.exception, ConfigError)
    message = f"--layers: expected whole numbers with commas between them, found {typed!r}; see root extract --help"
    assert str(done.exception) == message


def test_a_layer_typed_twice_is_refused() -> None:
    done = CliRunner().invoke(app, [*EXTRACT, "--layers", "0,0"])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == "--layers: expected each layer once, found 0,0; see root extract --help"


def test_extract_on_no_dataset_fetches_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("the model was fetched")

    monkeypatch.setattr("tcf.api.extraction.local_model", refuse)
    done = CliRunner().invoke(app, ["extract", "--data", str(tmp_path), "--model", "m", "--out", "c"])
    assert isinstance(done.exception, DataError)
