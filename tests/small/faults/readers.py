"""The commands that read what tcf has written, and what each of them may read."""

from dataclasses import dataclass

from small.faults.world import COMBINE, CONVERT, EXTRACT, RECOMMEND, SWEEP, TRAIN

__all__ = ["READERS", "Reader"]


@dataclass(frozen=True)
class Reader:
    """A command.

    Attributes:
        line: what is typed after `tcf`.
        reads: files and folders, from the world's folder, that may decide its result.
    """

    line: str
    reads: tuple[str, ...]

    @property
    def out(self) -> str:
        """Where its result is: what it replaces, or finds there and checks."""
        return _SEARCH if self.line.startswith("search") else self.line.partition("--out ")[2].partition(" ")[0]


_SEARCH = "search"
POPULARITY = "evaluations/popularity"
CACHE = ("data", "cache")
TEXT = (*CACHE, "runs/text")
READERS = (
    # A dataset.
    Reader("data prepare tcf raw --out data", ("data",)),
    Reader("data describe data --json", ("data",)),
    Reader("data overlap data more --cache cache --cache-b other --json", (*CACHE, "more", "other")),
    Reader(f"{TRAIN} --data data --items id --out new", ("data",)),
    Reader("evaluate --baseline co-occurrence --data data --out new", ("data",)),
    # Caches.
    Reader(f"{EXTRACT} --data data --out cache", (*CACHE, "home/trials")),
    Reader(f"{EXTRACT} --data more --out cache", ("more", "cache", "home/trials")),
    Reader(f"{EXTRACT} --data data --out states --token-states 1", ("data", "states", "home/trials")),
    Reader(f"{EXTRACT} --data data --out fresh", ("data", ".fresh")),
    Reader("cache describe cache --json", ("cache",)),
    Reader("cache verify cache --json", ("cache",)),
    Reader("cache verify states --json", ("states",)),
    Reader("cache export cache --data data --out new.npy", CACHE),
    Reader("cache export cache --data data --out vectors.parquet", (*CACHE, "vectors.parquet")),
    Reader("cache compare cache cache --data data --json", CACHE),
    Reader("cache merge cache other --out new", ("cache", "other")),
    Reader("cache merge states other-states --out new", ("states", "other-states")),
    Reader("cache prune cache --data data --out new", CACHE),
    Reader("cache prune states --data data --out new", ("data", "states")),
    Reader(f"{SWEEP} --layers 0,-1 --token-states 1 --out swept", ("data", "swept", "home/trials")),
    # Runs.
    Reader(f"{TRAIN} --cache cache --items text --whiten 4 --out runs/text", TEXT),
    Reader(f"{TRAIN} --cache cache --items text --whiten 4 --out new", CACHE),
    Reader(f"{TRAIN} --cache cache --items text --out unfinished", (*CACHE, "unfinished")),
    Reader("train --config runs/text/config.toml --out new", TEXT),
    Reader("runs runs --json", ("runs",)),
    Reader("runs unfinished --json", ("unfinished",)),
    Reader("evaluate runs/text --out new --device cpu --json", TEXT),
    Reader("evaluate runs/id --out new --device cpu --json", ("data", "runs/id")),
    Reader(f"{RECOMMEND} --users users.txt --out new.csv", TEXT),
    Reader(f"{RECOMMEND} --out recommendations.parquet", (*TEXT, "recommendations.parquet")),
    Reader(f"{RECOMMEND} --out recommendations.csv", (*TEXT, "recommendations.csv")),
    # Combinations.
    Reader(f"{COMBINE} --out combined --json", (*TEXT, "runs/id", "combined")),
    Reader(f"{COMBINE} --out new --json", (*TEXT, "runs/id")),
    Reader("evaluate combined --out new --device cpu --json", (*TEXT, "runs/id", "combined")),
    Reader("recommend combined --out new.csv --device cpu --k 3 --shares", (*TEXT, "runs/id", "combined")),
    # Evaluations, searches, models.
    Reader(
        "evaluate runs/text --out evaluations/text --device cpu --lists --vectors cache --json",
        (*TEXT, "evaluations/text"),
    ),
    Reader(
        "evaluate --baseline popularity --data data --out evaluations/popularity", ("data", "evaluations/popularity")
    ),
    Reader(
        "compare evaluations/text evaluations/popularity --resamples 50 --flips 49 --by cold --json",
        ("evaluations/text", "evaluations/popularity"),
    ),
    Reader("search search.toml --json", ("data", "search")),
    Reader("runs search --json", ("search",)),
    Reader("train --config search/best.toml --out new", ("data", "search/best.toml")),
    Reader("evaluate search/trials/0001 --out new --device cpu --json", ("data", "search/trials/0001")),
    Reader(f"{CONVERT} --out converted", ("converted",)),
    Reader(f"{CONVERT} --out half", (".half", "home/digests")),
    Reader(f"{EXTRACT.replace('model model', 'model converted')} --data data --out new", ("data", "converted")),
)
