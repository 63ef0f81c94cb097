"""The commands that describe, verify, export, merge, prune and compare caches."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tcf.commands.command import Command, Group
from tcf.commands.options import JsonOption, VerifyOption
from tcf.commands.output import print_result
from tcf.common.errors import ConfigError
from tcf.common.files import format_by_suffix
from tcf.common.units import as_bytes, counted

if TYPE_CHECKING:
    from tcf.data.cache.compare import Comparison

__all__ = ["CachesData", "cache_app"]

cache_app = typer.Typer(
    cls=Group,
    help="""Describe, verify, export, merge, prune and compare caches.

    A cache holds the vectors or the token states that `tcf extract` computed.

    Examples:
        tcf cache describe caches/minilm
        tcf cache export caches/minilm --out vectors.npy
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)

CachesData = Annotated[
    Path | None, typer.Option("--data", help="Dataset directory; default: the only dataset of the cache.")
]
CacheArgument = Annotated[Path, typer.Argument(help="Cache of vectors or token states.")]
NewCache = Annotated[Path, typer.Option("--out", help="Cache to create; the path must not exist.")]


@cache_app.command("describe", cls=Command)
def cache_describe(cache: CacheArgument, verify: VerifyOption = "once", as_json: JsonOption = False) -> None:
    """Print the encoder, the size and the datasets of a cache.

    Examples:
        tcf cache describe caches/minilm
    """
    from tcf.data.cache.caches import open_cache

    described = open_cache(cache, verify=verify).describe()
    print_result(described if as_json else _described(described), as_json=as_json)


@cache_app.command("verify", cls=Command)
def cache_verify(cache: CacheArgument, as_json: JsonOption = False) -> None:
    """Check every byte of a cache against its manifests.

    Also looks for numbers that are not finite, and for files that no manifest names.

    Examples:
        tcf cache verify caches/minilm
    """
    from tcf.data.cache.caches import open_cache

    opened = open_cache(cache, verify="always")
    verified = opened.verify()
    result = {
        "path": cache,
        "kind": opened.kind.words,
        "shards": verified.shards,
        "rows": verified.rows,
        "bytes": verified.bytes,
        "missing": opened.missing,
        "strays": verified.strays,
        "verified": True,
    }
    lines = [
        f"{cache}: {_rows(verified.rows, opened.kind.words)} in {counted(verified.shards, 'shard')}, "
        f"{as_bytes(verified.bytes)} on disk: no errors"
    ]
    if opened.missing:
        lines.append(
            f"missing {opened.kind.words} of known texts: {counted(opened.missing, 'token sequence')}; "
            "run `tcf extract` again"
        )
    lines += [f"{file}: no manifest names this file" for file in verified.strays]
    print_result(result, as_json=as_json, text="\n".join(lines))


@cache_app.command("export", cls=Command)
def cache_export(
    cache: Annotated[Path, typer.Argument(help="Cache of vectors.")],
    out: Annotated[
        Path, typer.Option("--out", help="File to write: .npy, .parquet or .csv; an existing file is replaced.")
    ],
    data: CachesData = None,
    type: Annotated[
        Literal["float16", "float32"] | None,
        typer.Option("--type", help="Type of the numbers; default: the type in the cache."),
    ] = None,
    verify: VerifyOption = "once",
    as_json: JsonOption = False,
) -> None:
    """Write a dataset's vectors, in item order, to one file for other programs.

    The suffix of --out chooses the format. Parquet files can be read by pyarrow, pandas, polars and DuckDB. DuckDB has
    no 16-bit type and reads float16 as FLOAT.

    Examples:
        tcf cache export caches/minilm --out vectors.npy
    """
    from tcf.data.cache.caches import VectorCache
    from tcf.data.cache.export import FORMATS, export
    from tcf.data.dataset import open_dataset

    format = format_by_suffix(out, FORMATS)  # refused before anything is read
    opened = VectorCache.open(cache, verify=verify)
    dataset = open_dataset(data or opened.only_dataset(), verify=verify)
    written = str(export(opened, dataset, out=out, type=type))
    result = {"out": out, "format": format, "vectors": dataset.n_items, "width": opened.width, "type": written}
    text = f"{out}: {counted(dataset.n_items, 'vector')} of width {opened.width:,}, {written}"
    print_result(result, as_json=as_json, text=text)


@cache_app.command("merge", cls=Command)
def cache_merge(
    caches: Annotated[
        list[Path], typer.Argument(metavar="CACHE", help="Two or more caches, made with the same encoder and options.")
    ],
    out: NewCache,
    as_json: JsonOption = False,
) -> None:
    """Merge several caches into a new one, each vector once.

    Examples:
        tcf cache merge caches/part1 caches/part2 --out caches/minilm
    """
    from tcf.data.cache.merge import merge

    if len(caches) < 2:
        raise ConfigError(f"expected two caches or more to merge, found {len(caches)}; name another")
    done = merge(caches, out)
    result = {
        "out": out,
        "kind": done.words,
        "rows": done.rows,
        "shards": done.shards,
        "datasets": done.datasets,
        "repeated": done.repeated,
    }
    text = (
        f"{out}: {_rows(done.rows, done.words)} in {counted(done.shards, 'shard')}, "
        f"{counted(done.datasets, 'dataset')} ({counted(done.repeated, 'repeated row')} left out)"
    )
    print_result(result, as_json=as_json, text=text)


@cache_app.command("prune", cls=Command)
def cache_prune(
    cache: CacheArgument,
    data: Annotated[list[Path], typer.Option("--data", help="Dataset to keep vectors for; repeat for several.")],
    out: NewCache,
    as_json: JsonOption = False,
) -> None:
    """Copy only what some datasets need into a new cache.

    Examples:
        tcf cache prune caches/minilm --data data/ml-100k --out caches/small
    """
    from tcf.data.cache.prune import prune
    from tcf.data.dataset import open_dataset

    done = prune(cache, [open_dataset(path) for path in data], out)
    result = {"out": out, "kind": done.words, "kept": done.kept, "dropped": done.dropped, "shards": done.shards}
    kept = f"{_rows(done.kept, done.words)} kept in {counted(done.shards, 'shard')}"
    text = f"{out}: {kept}, {done.dropped:,} dropped"
    print_result(result, as_json=as_json, text=text)


@cache_app.command("compare", cls=Command)
def cache_compare(
    a: Annotated[Path, typer.Argument(help="Cache of vectors.")],
    b: Annotated[Path, typer.Argument(help="Another cache of vectors of the same width.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Compare only the texts of this dataset, and name its items.")
    ] = None,
    verify: VerifyOption = "once",
    as_json: JsonOption = False,
) -> None:
    """Measure how far the vectors of two caches differ, over the texts in both.

    Examples:
        tcf cache compare caches/float32 caches/bfloat16 --data data/ml-100k
    """
    from tcf.data.cache.compare import compare
    from tcf.data.dataset import open_dataset

    found = compare(a, b, None if data is None else open_dataset(data, verify=verify), verify=verify)
    print_result(found if as_json else _shown(found), as_json=as_json)


def _described(values: Mapping[str, Any]) -> dict[str, Any]:
    """A description as text, which says what the size is of; files are a little larger."""
    size = {f"size of {values['kind']}": as_bytes(values["bytes"])}
    shown = [size if key == "bytes" else {key: value} for key, value in values.items()]
    return {key: value for part in shown for key, value in part.items()}


def _rows(number: int, kind: str) -> str:
    """A number of rows, by what they hold."""
    return counted(number, "vector") if kind == "vectors" else f"{counted(number, 'row')} of {kind}"


def _shown(found: "Comparison") -> dict[str, object]:
    """A comparison as text: without missing measures, and with texts and items in words."""
    names = {"only_a": "only in a", "only_b": "only in b"}
    shown = {names.get(key, key): value for key, value in vars(found).items() if value is not None}
    for name in ("farthest", "least_similar"):
        if (worst := getattr(found, name)) is not None:
            shown[name] = f"text {worst.text_key}" if worst.item is None else f"item {worst.item}"
    return shown
