"""The commands that look into caches, check them, and make other files or other caches of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tcf.commands.options import JsonOption
from tcf.commands.output import print_result
from tcf.common.errors import ConfigError
from tcf.common.files import format_by_suffix
from tcf.common.units import as_bytes

if TYPE_CHECKING:
    from tcf.data.cache.compare import Comparison

__all__ = ["CachesData", "cache_app"]

cache_app = typer.Typer(
    help="Look into caches of vectors and of token states: check, export, merge, prune and compare them.",
    no_args_is_help=True,
)

CachesData = Annotated[
    Path | None, typer.Option("--data", help="Dataset directory; may be left out if the cache knows only one.")
]
CacheArgument = Annotated[Path, typer.Argument(help="Cache of vectors or of token states.")]
NewCache = Annotated[Path, typer.Option("--out", help="Cache to make; nothing may be there.")]


@cache_app.command("describe")
def cache_describe(cache: CacheArgument, as_json: JsonOption = False) -> None:
    """Print which encoder a cache is of, how much it holds, and which datasets it knows."""
    from tcf.data.cache.caches import open_cache

    print_result(open_cache(cache).describe(), as_json=as_json)


@cache_app.command("verify")
def cache_verify(cache: CacheArgument, as_json: JsonOption = False) -> None:
    """Compare every byte of a cache with its manifests; look for numbers that are not finite and for stray files."""
    from tcf.data.cache.caches import open_cache

    opened = open_cache(cache)
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
        f"{cache}: {verified.rows:,} rows of {opened.kind.words} in {verified.shards:,} shards, "
        f"{as_bytes(verified.bytes)}, all as written"
    ]
    if opened.missing:
        lines.append(
            f"{opened.missing:,} token sequences of known texts have no {opened.kind.words}: run `tcf extract` again"
        )
    lines += [f"{file}: no manifest names this file" for file in verified.strays]
    print_result(result, as_json=as_json, text="\n".join(lines))


@cache_app.command("export")
def cache_export(
    cache: Annotated[Path, typer.Argument(help="Cache of vectors.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, .npy, .parquet or .csv; replaced if it is there.")],
    data: CachesData = None,
    type: Annotated[
        Literal["float16", "float32"] | None,
        typer.Option("--type", help="Type of the numbers; as the cache has them if not given."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a dataset's vectors, in item order, to one file for other programs.

    The suffix of the file says its format. Parquet files are read by pyarrow, pandas, polars and DuckDB. DuckDB has no
    16-bit type and reads float16 as FLOAT.
    """
    from tcf.data.cache.caches import VectorCache
    from tcf.data.cache.export import FORMATS, export
    from tcf.data.dataset import open_dataset

    format = format_by_suffix(out, FORMATS)  # before anything is read
    opened = VectorCache.open(cache)
    dataset = open_dataset(data or opened.only_dataset())
    written = str(export(opened, dataset, out=out, type=type))
    result = {"out": out, "format": format, "vectors": dataset.n_items, "width": opened.width, "type": written}
    text = f"{out}: {dataset.n_items:,} vectors of width {opened.width:,}, {written}"
    print_result(result, as_json=as_json, text=text)


@cache_app.command("merge")
def cache_merge(
    caches: Annotated[list[Path], typer.Argument(help="Two or more caches of one encoder, with the same options.")],
    out: NewCache,
    as_json: JsonOption = False,
) -> None:
    """Make one cache of several: every row once, and all datasets that one of them knows."""
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
        f"{out}: {done.rows:,} rows of {done.words} in {done.shards:,} shards, {done.datasets:,} datasets "
        f"({done.repeated:,} repeated rows left out)"
    )
    print_result(result, as_json=as_json, text=text)


@cache_app.command("prune")
def cache_prune(
    cache: CacheArgument,
    data: Annotated[list[Path], typer.Option("--data", help="Dataset to keep; repeat for several.")],
    out: NewCache,
    as_json: JsonOption = False,
) -> None:
    """Make a cache of only what some datasets need; the old one stays as it is."""
    from tcf.data.cache.prune import prune
    from tcf.data.dataset import open_dataset

    done = prune(cache, [open_dataset(path) for path in data], out)
    result = {"out": out, "kind": done.words, "kept": done.kept, "dropped": done.dropped, "shards": done.shards}
    text = f"{out}: {done.kept:,} rows of {done.words} kept in {done.shards:,} shards, {done.dropped:,} dropped"
    print_result(result, as_json=as_json, text=text)


@cache_app.command("compare")
def cache_compare(
    a: Annotated[Path, typer.Argument(help="Cache of vectors.")],
    b: Annotated[Path, typer.Argument(help="Cache of vectors of the same width.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Compare over this dataset's texts only, and name its items.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell how far the vectors of two caches lie apart, over the texts that both know."""
    from tcf.data.cache.compare import compare
    from tcf.data.dataset import open_dataset

    found = compare(a, b, None if data is None else open_dataset(data))
    print_result(found if as_json else _shown(found), as_json=as_json)


def _shown(found: "Comparison") -> dict[str, object]:
    """A comparison for people: measures that there are, places in words."""
    shown = {key: value for key, value in vars(found).items() if value is not None}
    for name in ("farthest", "least_similar"):
        if (worst := getattr(found, name)) is not None:
            shown[name] = f"text {worst.text_key}" if worst.item is None else f"item {worst.item}"
    return shown
