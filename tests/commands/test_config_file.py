"""Settings from a configuration file, overridden by options."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from tcf.commands.options import FileInputs, configured, inputs_of
from tcf.common.errors import ConfigError
from tcf.config.train import TrainConfig

app = typer.Typer()
seen: list[TrainConfig] = []


@app.command()
@configured(TrainConfig)
def command(config: TrainConfig, file: Annotated[Path | None, typer.Option("--config")] = None) -> None:
    seen.append(config)


def config_of(*words: str) -> TrainConfig:
    done = CliRunner().invoke(app, words)
    if done.exception is not None:
        raise done.exception
    return seen.pop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "c.toml"
    place.write_text('width = 64\nlearning_rate = 0.5\nwhiten = 8\nnormalise = true\n[inputs]\ndata = "../d"\n')
    return place


def test_without_a_file_there_are_defaults_and_options() -> None:
    assert config_of() == TrainConfig()
    assert config_of("--width", "8", "--whiten", "4") == TrainConfig(width=8, whiten=4)


def test_a_file_gives_what_options_do_not(file: Path) -> None:
    in_file = TrainConfig(width=64, learning_rate=0.5, whiten=8, normalise=True)
    assert config_of("--config", str(file)) == in_file
    assert config_of("--config", str(file), "--epochs", "3").epochs == 3
    # An option that says what is the default anyway overrides the file too.
    changed = config_of("--config", str(file), "--width", str(TrainConfig.width), "--no-normalise")
    assert changed == TrainConfig(width=512, learning_rate=0.5, whiten=8, normalise=False)


def test_none_unsets_what_the_file_gives(file: Path) -> None:
    file.write_text(
        "whiten = 8\nclip_norm = 2.5\nitem_learning_rate = 0.1\npatience = 3\nnegatives = 7\nloss = 'bce'\n"
    )
    words = ("--config", str(file), "--whiten", "none", "--clip-norm", "none", "--negatives", "none")
    assert config_of(*words) == TrainConfig(loss="bce", item_learning_rate=0.1, patience=3)
    # One thing in place of another, of which only one may be given.
    assert config_of("--config", str(file), "--whiten", "none", "--pca", "4").pca == 4
    assert config_of("--whiten", "none", "--clip-norm", "0.5") == TrainConfig(clip_norm=0.5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--whiten", "8.5"), "expected a whole number, full or none, found '8.5'"),
        (("--pca", "full"), "expected a whole number or none, found 'full'"),
        (("--clip-norm", "much"), "expected a number or none, found 'much'"),
        (("--width", "none"), "--width"),
    ],
)
def test_what_is_neither_a_number_nor_none(words: tuple[str, str], said: str) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and said in " ".join(done.output.replace("│", " ").split())


def test_a_word_in_place_of_a_number_comes_from_options_files_and_python(file: Path) -> None:
    assert config_of("--whiten", "full") == TrainConfig(whiten="full")
    assert config_of("--config", str(file), "--whiten", "full").whiten == "full"
    file.write_text('whiten = "full"\n')
    assert config_of("--config", str(file)).whiten == "full"
    assert config_of("--config", str(file), "--whiten", "none").whiten is None
    assert config_of("--config", str(file), "--whiten", "3").whiten == 3
    file.write_text('whiten = "ful"\n')
    with pytest.raises(ConfigError, match=r"whiten: expected a whole number or full, found 'ful'; did you mean full\?"):
        config_of("--config", str(file))


def test_numbers_out_of_range_are_refused_as_before() -> None:
    with pytest.raises(ConfigError, match="--patience: expected at least 1, found 0"):
        config_of("--patience", "0")


def test_help_says_where_none_may_stand() -> None:
    shown = CliRunner().invoke(app, ["--help"], terminal_width=200).output
    unset = [entry.name for entry in fields(TrainConfig) if entry.default is None]
    assert shown.count("|none") == len(unset) > 7 and "INTEGER|none" in shown and "INTEGER|full|none" in shown


def test_settings_of_file_and_options_are_checked_together(file: Path) -> None:
    with pytest.raises(ConfigError, match="--pca: expected either --pca or --whiten"):
        config_of("--config", str(file), "--pca", "4")


def test_what_is_wrong_in_the_file_is_named(file: Path) -> None:
    file.write_text("widht = 64")
    with pytest.raises(ConfigError, match=r"c.toml: unknown setting widht; did you mean width\?"):
        config_of("--config", str(file))
    with pytest.raises(ConfigError, match="missing.toml: cannot be read"):
        config_of("--config", str(file.with_name("missing.toml")))


def test_inputs_start_at_the_files_own_folder(file: Path) -> None:
    folder = file.parent
    assert inputs_of(file) == FileInputs(folder / "../d")
    many = "\n".join(f'"cache.{number}" = "c{number}"' for number in (10, 2, 9))
    file.write_text(f'[inputs]\n{many}\ncache = "c1"\n')
    assert inputs_of(file) == FileInputs(None, tuple(folder / f"c{number}" for number in (1, 2, 9, 10)))
    file.write_text("width = 3")
    assert inputs_of(file) == FileInputs()
    file.write_text('[inputs]\ndata = "d"\ninit_from = "../c"\n')
    assert inputs_of(file) == FileInputs(folder / "d", init_from=folder / "../c")


@pytest.mark.parametrize(
    "inputs", ["inputs = 3", "[inputs]\ndate = 'x'", "[inputs]\ncache = 1", "[inputs]\n'cache.x' = ''"]
)
def test_other_inputs_are_refused(file: Path, inputs: str) -> None:
    file.write_text(inputs)
    with pytest.raises(ConfigError, match=r"\[inputs\] expected data, cache, .* and init_from as folders, found"):
        inputs_of(file)
