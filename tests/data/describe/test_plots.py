"""Plots of a dataset: the numbers by hand, the same bytes each time, and what is said where they cannot be drawn."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot
import numpy as np
import pyarrow as pa
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

from small.data.raw import folder_of
from tcf.commands.app import app
from tcf.common.errors import ConfigError, RunError
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import Dataset, open_dataset
from tcf.data.describe.plots import FILES, bars, draw_plots, rank_curve
from tcf.data.describe.text_lengths import TextLengths, folded, lengths_in_words, tally, word_counts, word_lengths
from tcf.data.item_table import ItemTable
from tcf.data.prepare import prepare
from tcf.encoders.token_lengths import lengths_in_tokens

TEXTS = {"a": "One", "b": "Two words, here", "c": "one  ONE", "d": "..."}
USERS = {"u1": "a b c", "u2": "a a a a", "u3": "a b d"}
LENGTHS = TextLengths(np.array([1, 1, 1, 1]), "words")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return prepare("tcf", folder_of(tmp_path / "raw", TEXTS, USERS), tmp_path / "data", PrepareConfig(min_history=3))


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The axes of every figure that is saved from now on."""
    saved: list[Axes] = []
    own = Figure.savefig

    def savefig(figure: Figure, *place: Any, **options: Any) -> None:
        saved.extend(figure.axes)
        own(figure, *place, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return saved


def test_few_numbers_have_a_bar_each() -> None:
    found = bars(np.array([0, 0, 3, 0, 1]))
    assert found.edges.tolist() == [2, 3, 4, 5]
    assert found.sums.tolist() == found.heights.tolist() == [3, 0, 1]
    assert found.single
    assert bars(np.array([0, 0, 7])).edges.tolist() == [2, 3]


@pytest.mark.parametrize("smallest", [0, 1, 2, 40])
def test_many_numbers_share_bars_and_all_are_counted(smallest: int) -> None:
    counts = np.zeros(5000, np.int64)
    counts[smallest:] = np.arange(5000 - smallest) % 7 + 1
    found = bars(counts)
    assert (found.edges[0], found.edges[-1]) == (smallest, 5000)
    assert (np.diff(found.edges) >= 1).all()
    assert 20 < len(found.sums) <= 61
    assert not found.single
    for start, stop, total, height in zip(found.edges, found.edges[1:], found.sums, found.heights, strict=False):
        assert total == sum(int(counts[number]) for number in range(start, stop))
        assert height == pytest.approx(total / (stop - start))


def test_items_by_rank_with_levels_for_equal_popularity() -> None:
    found = rank_curve(np.array([2, 0, 5, 1, 2, 2, 0]))
    assert found.interactions.tolist() == [5, 2, 1]
    assert found.first.tolist() == [1, 2, 5]
    assert found.last.tolist() == [1, 4, 5]
    assert found.without == 2


def test_words_of_texts() -> None:
    texts = pa.array(["Don't STOP, now_2!", "", "  ... ", "ab 汉字 नमस्ते", "a\u00a0b"], pa.large_string())
    assert word_lengths(texts).tolist() == [4, 0, 0, 4, 2]
    words, counts = word_counts(folded(pa.array(["Straße x", "STRASSE\tx y"], pa.large_string())))
    assert dict(zip(words.to_pylist(), counts.tolist(), strict=True)) == {"strasse": 2, "x": 2, "y": 1}


def test_a_tally_grows_with_its_parts() -> None:
    assert tally(np.array(part, np.int64) for part in ([1, 1], [], [4, 0], [2])).tolist() == [1, 2, 1, 0, 1]


def test_text_lengths_in_words_and_in_tokens(dataset: Dataset, tmp_path: Path) -> None:
    items = ItemTable.open(dataset.path)
    found = lengths_in_words(items)
    assert (found.counts.tolist(), found.unit) == ([1, 1, 1, 1], "words")
    (tmp_path / "vectors.txt").write_text("one 1 2\nwords 1 2\n, 3 4\n")
    known = lengths_in_tokens(items, tmp_path / "vectors.txt", "mine")
    # "One": one; "Two words, here": words and the comma; "one  ONE": one twice; "...": none.
    assert (known.counts.tolist(), known.unit) == ([1, 1, 2], "tokens of mine")


def test_pictures_show_the_numbers(dataset: Dataset, tmp_path: Path, figures: list[Axes]) -> None:
    files = draw_plots(dataset, LENGTHS, tmp_path / "plots")
    assert [file.name for file in files] == list(FILES)
    assert all(Image.open(file).size == (960, 600) for file in files)
    histories, popularity, texts = figures
    assert [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in histories.patches] == [(3, 2), (4, 1)]  # type: ignore[attr-defined]
    assert (histories.get_xlabel(), histories.get_ylabel()) == ("interactions of a user", "users")
    # a has 6 interactions, b 2, c and d 1 each.
    [line] = popularity.lines
    assert np.asarray(line.get_xydata()).tolist() == [[1, 6], [1, 6], [2, 2], [2, 2], [3, 1], [4, 1]]
    assert (popularity.get_xscale(), popularity.get_yscale()) == ("log", "log")
    assert texts.get_xlabel() == "text length in words"


def test_the_same_bytes_whatever_the_user_has_set(dataset: Dataset, tmp_path: Path) -> None:
    first = [file.read_bytes() for file in draw_plots(dataset, LENGTHS, tmp_path / "plots")]
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 50, "axes.facecolor": "red"}):
        again = [file.read_bytes() for file in draw_plots(dataset, LENGTHS, tmp_path / "plots")]
        assert matplotlib.rcParams["font.size"] == 20
    assert first == again
    assert not any(key in content for content in first for key in (b"Matplotlib", b"tIME", b"Creation"))
    assert matplotlib.pyplot.get_fignums() == []
    assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == sorted(FILES)


def test_a_wide_spread_is_drawn_on_a_logarithmic_axis(dataset: Dataset, tmp_path: Path, figures: list[Axes]) -> None:
    counts = np.zeros(2001, np.int64)
    counts[[0, 3, 2000]] = [4, 5, 1]
    draw_plots(dataset, TextLengths(counts, "words"), tmp_path)
    assert figures[2].get_xscale() == "symlog"
    assert sum(bar.get_height() * bar.get_width() for bar in figures[2].patches) == pytest.approx(10)  # type: ignore[attr-defined]


def test_a_place_that_cannot_be_written(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/history_lengths.png: cannot be written"):
        draw_plots(dataset, LENGTHS, tmp_path / "file")


def test_without_matplotlib_there_is_a_command_to_install_it(dataset: Dataset, tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['matplotlib'] = None; import tcf.cli; "
        f"sys.argv = ['tcf', 'data', 'describe', {str(dataset.path)!r}, '--plot', {str(tmp_path / 'plots')!r}]; "
        "tcf.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "--plot: expected the library matplotlib" in done.stderr
    assert 'pip install "text-cf[plot]"' in done.stderr
    assert not (tmp_path / "plots").exists()


def test_the_command_draws_and_names_its_files(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_text("one 1 2\nwords 1 2\n")
    plots = tmp_path / "plots"
    words = ["data", "describe", str(dataset.path), "--plot", str(plots)]
    done = CliRunner().invoke(app, words)
    assert done.stdout.splitlines()[-3:] == [str(plots / name) for name in FILES]
    in_words = (plots / FILES[2]).read_bytes()
    done = CliRunner().invoke(app, [*words, "--model", str(tmp_path / "vectors.txt"), "--json"])
    described = json.loads(done.stdout)
    assert described["plots"] == [str(plots / name) for name in FILES]
    assert described["fingerprint"] == open_dataset(dataset.path).fingerprint
    assert (plots / FILES[2]).read_bytes() != in_words


def test_a_model_without_a_plot_is_refused(dataset: Dataset) -> None:
    done = CliRunner().invoke(app, ["data", "describe", str(dataset.path), "--model", "minilm"])
    assert isinstance(done.exception, ConfigError)
    assert "--model: expected --plot" in str(done.exception)
