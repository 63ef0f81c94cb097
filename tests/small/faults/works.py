"""Commands that write something, and whether what they wrote is what an undisturbed one writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from small.encoders.models import save_opt
from small.encoders.raw_opt import metaseq_parts, save_metaseq, save_settings, small_opt
from small.faults.processes import ended
from small.faults.trials import timeless
from small.faults.world import CONVERT, EXTRACT, RECOMMEND, TRAIN, write_raw

__all__ = ["WORKS", "Work", "content", "undisturbed", "write_inputs"]


@dataclass(frozen=True)
class Work:
    """A command and where its result is.

    Attributes:
        line: what is typed, without `--out`.
        out: the undisturbed result, which later ones read.
    """

    line: str
    out: str

    def to(self, out: str) -> str:
        """The line with another place."""
        return f"{self.line} --out {out}"

    def beside(self, name: str) -> str:
        """Another place in the same folder."""
        return str(Path(self.out).with_name(f"{name}-{Path(self.out).name}"))


WORKS = (
    Work("data prepare tcf raw", "data"),
    Work("data prepare tcf more-raw", "more"),
    Work(f"{EXTRACT} --data data", "cache"),
    Work(f"{EXTRACT} --data more", "other"),
    Work(f"{TRAIN} --cache cache --items text --whiten 4", "runs/text"),
    Work("evaluate runs/text --device cpu --lists --vectors cache", "evaluations/text"),
    Work(RECOMMEND, "recommendations.parquet"),
    Work("cache merge cache other", "merged"),
    Work("cache export cache --data data", "vectors.npy"),
    Work(CONVERT, "converted"),
)


def write_inputs(root: Path) -> None:
    """Raw files, a model, and a model's raw weights."""
    write_raw(root / "raw", 20)
    write_raw(root / "more-raw", 26)
    save_opt(root / "model")
    model = small_opt()
    save_metaseq(root / "parts", metaseq_parts(model, 2))
    save_settings(model, root / "parts")


def undisturbed(root: Path, works: Sequence[Work]) -> None:
    """Do works, one after another; each reads only what those before it made."""
    write_inputs(root)
    for work in works:
        done = ended(work.to(work.out), root)
        assert done.status == 0, f"{work.line}: {done}"


def content(root: Path, out: str) -> dict[str, bytes]:
    """The files of a result by their places in it, without those that hold times; and what is hidden beside it."""
    place = root / out
    files = [file for file in (place.rglob("*") if place.is_dir() else (place,)) if file.is_file()]
    hidden = list(place.parent.glob(f".{place.name}.*"))
    return {
        str(file.relative_to(place) if file != place else "."): timeless(file.name, file.read_bytes())
        for file in files
        if file.parent.name != "events"
    } | {f"hidden: {file.name}": b"" for file in hidden}
