"""A TOML file of another kind than the command reads; home folders in paths."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tcf.commands.options import FileInputs, inputs_of, read_settings
from tcf.common.errors import ConfigError
from tcf.config.toml_files import expand_home, user_path
from tcf.launch.search.search_file import read_search
from tcf.launch.study.study_file import read_study

EXAMPLES = Path(__file__).parents[2] / "examples"
PIPELINE = (EXAMPLES / "quickstart.toml").read_text(encoding="utf-8")
SEARCH = (EXAMPLES / "search.toml").read_text(encoding="utf-8")
RUN = 'width = 64\nitems = "id"\n[inputs]\ndata = "../data"\n'
READERS: dict[str, Callable[[Path], object]] = {
    "train --config": read_settings,
    "pipeline": read_study,
    "search": read_search,
}
WORDS = {
    "train --config": "a training configuration",
    "pipeline": "a pipeline file",
    "search": "a search file",
    "study": "a study file",
}


@pytest.mark.parametrize(
    ("content", "command"),
    [
        (PIPELINE, "pipeline"),
        ((EXAMPLES / "study.toml").read_text(encoding="utf-8"), "study"),
        ('[datasets.d]\npath = "d"\n', "study"),
        ('[train.text]\nwidth = 8\n[data]\nraw = "x"\n', "pipeline"),
        ("[evaluate]\nrecommend = 3\n", "pipeline"),
        (SEARCH, "search"),
        ('out = "o"\ndata = "d"\n[space]\nwidth = [1, 2]\n', "search"),
        (RUN, "train --config"),
        ("width = 64\n", "train --config"),
    ],
)
def test_a_file_of_another_kind_says_which_command_reads_it(content: str, command: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(content, encoding="utf-8")
    both = {"pipeline"} if command == "study" else set()  # which are read by one reader
    for other in READERS.keys() - {command} - both:
        with pytest.raises(ConfigError) as raised:
            READERS[other](file)
        assert str(raised.value) == (
            f"{file}: expected {WORDS[other]}, found {WORDS[command]}; run `tcf {command} {file}`"
        )


@pytest.mark.parametrize(
    ("content", "command", "said"),
    [
        ("", "pipeline", r"\[data\] format: expected one of"),
        ("zzz = 1\n[data]\nformat = 'tcf'", "pipeline", "unknown entry zzz"),
        ("[search]\nzzz = 1", "search", r'expected out = "FOLDER"'),
    ],
)
def test_other_mistakes_have_the_readers_own_messages(content: str, command: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=said):
        READERS[command](file)


def test_home_folders_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "c.toml"
    file.write_text('out = "~/o"\n[data]\nformat = "tcf"\nraw = "~/raw"\n[extract]\nmodel = "~/m/"\n')
    pipeline = read_study(file)
    [data], [encoder] = pipeline.datasets, pipeline.encoders
    assert (pipeline.out, data.raw, encoder.model) == (tmp_path / "o", tmp_path / "raw", f"{tmp_path}/m/")
    file.write_text('out = "~/o"\ndata = "~/d"\ncache = ["~/c", "e"]\n[space]\nwidth = [8, 16]\n')
    search = read_search(file)
    assert (search.out, search.data, search.caches) == (tmp_path / "o", tmp_path / "d", (tmp_path / "c", Path("e")))
    file.write_text('[inputs]\ndata = "~/d"\ncache = "../c"\n')
    assert inputs_of(file) == FileInputs(tmp_path / "d", (tmp_path / "../c",))


@pytest.mark.parametrize(
    ("command", "content"),
    [
        ("pipeline", 'out = "a\\u0000b"\n[data]\nformat = "tcf"\nraw = "r"\n'),
        ("pipeline", 'out = "o"\n[data]\nformat = "tcf"\nraw = "a\\u0000b"\n'),
        ("search", 'out = "o"\ndata = "a\\u0000b"\n[space]\nwidth = [8, 16]\n'),
    ],
)
def test_a_path_that_no_system_has(tmp_path: Path, command: str, content: str) -> None:
    (tmp_path / "c.toml").write_text(content)
    with pytest.raises(ConfigError, match="expected a path, found one with a NUL character"):
        READERS[command](tmp_path / "c.toml")


def test_names_that_are_no_home_folders_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("a/~") == Path("a/~") and user_path("~nobody-of-this-name") == Path("~nobody-of-this-name")
    assert expand_home("org/model") == "org/model" and expand_home(None) is None
    assert expand_home("~/m") == f"{tmp_path}/m"
