"""Histograms of a dataset as PNG files, byte-identical when drawn with the same library versions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tcf.common.output.output_file import check_output_file, output_file
from tcf.common.output.own_files import PNG_PROGRAM
from tcf.config.libraries import require_library
from tcf.data.dataset import Dataset
from tcf.data.describe.text_lengths import TextLengths

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FILES", "Bars", "RankCurve", "bars", "draw_plots", "rank_curve"]

_MOST_BARS = 60
Counts = npt.NDArray[np.int64]
FILES = ("history_lengths.png", "item_popularity.png", "text_lengths.png")
_INCHES = (6.4, 4.0)
_DOTS = 150  # per inch


class Bars(NamedTuple):
    """A histogram of whole numbers.

    Attributes:
        edges: (n_bars + 1,) int64, rising; bar i covers edges[i] ... edges[i + 1] - 1.
        sums: (n_bars,) int64, total count of the numbers in each bar.
    """

    edges: Counts
    sums: Counts

    @property
    def heights(self) -> npt.NDArray[np.float64]:
        """Mean count of the numbers in each bar, (n_bars,), so that wide bars are not higher."""
        return self.sums / np.diff(self.edges)

    @property
    def single(self) -> bool:
        """Whether every bar covers one number."""
        return bool((np.diff(self.edges) == 1).all())


class RankCurve(NamedTuple):
    """Items sorted by falling popularity; items of equal popularity form one level.

    Attributes:
        first: (n_levels,) int64, rank of the first item of each level, from 1.
        last: (n_levels,) int64, rank of the last item of each level.
        interactions: (n_levels,) int64, interactions of each item of the level, falling, none 0.
        without: number of items without interactions, which cannot be drawn on a logarithmic axis.
    """

    first: Counts
    last: Counts
    interactions: Counts
    without: int


def bars(counts: Counts) -> Bars:
    """Return one bar for each number if there are few; otherwise bars whose widths grow with the numbers.

    Args:
        counts: (largest + 1,) how often each number occurs; at least one does.
    """
    there = np.flatnonzero(counts)
    smallest, largest = int(there[0]), int(there[-1])
    if largest - smallest < _MOST_BARS:
        edges = np.arange(smallest, largest + 2)
    else:
        # Geometric spacing from 1 on; widths below 1 are merged, and the last edge is exact.
        spread = np.geomspace(max(smallest, 1), largest + 1, _MOST_BARS + 1)
        inner = np.unique(np.rint(spread).astype(np.int64))
        edges = np.unique(np.append(inner, [smallest, largest + 1]))
    return Bars(edges, np.add.reduceat(counts[: largest + 1], edges[:-1]))


def rank_curve(popularity: Counts) -> RankCurve:
    """Return the rank curve of items.

    Args:
        popularity: (n_items,) interactions of each item.
    """
    levels, sizes = np.unique(popularity[popularity > 0], return_counts=True)
    last = np.cumsum(sizes[::-1])
    return RankCurve(last - sizes[::-1] + 1, last, levels[::-1], int((popularity == 0).sum()))


def draw_plots(dataset: Dataset, lengths: TextLengths, out: Path) -> tuple[Path, ...]:
    """Draw history lengths, item popularity and text lengths into the `FILES` of a folder; earlier ones are replaced.

    Without any user there are only text lengths to draw.

    Args:
        dataset: the dataset; all interactions count, including held-out ones.
        lengths: lengths of its texts.
        out: the folder; created if necessary.

    Returns:
        The files.

    Raises:
        TcfError: matplotlib is not installed.
        RunError: a file cannot be written.
    """
    require_library("matplotlib", "--plot")
    for name in FILES:
        check_output_file(out / name)
    with _default_style():
        of_users = [_drawn(_history_lengths(dataset)), _drawn(_popularity(dataset))] if dataset.n_users else []
        pictures = [*of_users, _drawn(_text_lengths(lengths))]
    files = tuple(out / name for name in FILES[-len(pictures) :])
    for file, picture in zip(files, pictures, strict=True):
        with output_file(file) as staging:
            staging.write_bytes(picture)
    return files


@contextmanager
def _default_style() -> Iterator[None]:
    """Use Matplotlib's built-in defaults within the block, whatever the user's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def _drawn(draw: "Callable[[Axes], None]") -> bytes:
    return _png(_figure(draw))


def _figure(draw: "Callable[[Axes], None]") -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DOTS, layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    return figure


def _png(figure: "Figure") -> bytes:
    """Return the figure as PNG, without the time and the version of the program that made it."""
    stream = BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": PNG_PROGRAM})
    return stream.getvalue()


def _history_lengths(dataset: Dataset) -> "Callable[[Axes], None]":
    found = bars(np.bincount(dataset.histories.lengths))

    def draw(axes: "Axes") -> None:
        _draw_bars(axes, found, "users")
        axes.set(xlabel="interactions of a user", title=f"History length: {dataset.n_users:,} users")

    return draw


def _popularity(dataset: Dataset) -> "Callable[[Axes], None]":
    curve = rank_curve(np.bincount(dataset.histories.items, minlength=dataset.n_items))
    left_out = f" ({curve.without:,} without interactions not drawn)" if curve.without else ""

    def draw(axes: "Axes") -> None:
        ranks = np.stack([curve.first, curve.last], axis=1).ravel()
        axes.plot(ranks, np.repeat(curve.interactions, 2), marker=".", markersize=3)
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="rank of the item",
            ylabel="interactions of the item",
            title=f"Item popularity: {dataset.n_items:,} items{left_out}",
        )

    return draw


def _text_lengths(lengths: TextLengths) -> "Callable[[Axes], None]":
    found = bars(lengths.counts)

    def draw(axes: "Axes") -> None:
        _draw_bars(axes, found, "items")
        axes.set(
            xlabel=f"text length in {lengths.unit}",
            title=f"Text length: {lengths.counts.sum():,} items",
        )

    return draw


def _draw_bars(axes: "Axes", found: Bars, counted: str) -> None:
    """Draw bars of one number each centred on it; wider ones on a logarithmic axis."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    if found.single:
        axes.bar(found.edges[:-1], found.heights, width=0.9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(counted)
        return
    axes.bar(
        found.edges[:-1], found.heights, width=np.diff(found.edges), align="edge", edgecolor="white", linewidth=0.3
    )
    # Linear below 1, so that a length of 0 can be shown.
    axes.set_xscale("symlog", linthresh=1)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_ylabel(f"{counted} per length, mean over each bar")
