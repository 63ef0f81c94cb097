"""Manifests: the format, inputs, settings and library versions of a published directory, and checksums of its files."""

import hashlib
import importlib.metadata
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tcf import __version__
from tcf.common.errors import TcfError, os_error_words, value_words
from tcf.common.files import MANIFEST, publish_file
from tcf.common.parsing import LARGEST_JSON, parse_json, read_json, read_small_file

__all__ = [
    "Format",
    "Manifest",
    "differences",
    "digest",
    "fingerprint_of",
    "library_versions",
    "read_manifest",
    "seal",
    "sha256_file",
    "stated_format",
]

_KEY_LIBRARIES = tuple("numpy pyarrow duckdb torch transformers accelerate tokenizers faiss-cpu faiss-gpu".split())
_KINDS = {list: "a list", dict: "a mapping", str: "a string", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Format:
    """A kind of directory that one stage publishes and the next one reads.

    Attributes:
        name: the name written into the manifest, such as `tcf-dataset`.
        version: incremented whenever an older reader would misread the files.
        error: the error that readers raise if such a directory is missing or damaged.
        made_by: the command that makes such a directory, for messages.
        required: manifest entries that readers rely on, such as `facts.width`, and their types.
    """

    name: str
    version: int
    error: type[TcfError]
    made_by: str
    required: Mapping[str, type] = field(default_factory=dict)

    def remedy(self, path: Path) -> str:
        """What to do about a damaged directory of this format."""
        return f"restore it from a copy, or remove {path} and run `{self.made_by}` again"


@dataclass(frozen=True)
class Manifest:
    """Format, inputs, settings, metadata, library versions and files of a published directory.

    Attributes:
        format: name of the directory's format.
        version: version of the format.
        fingerprint: sha256 of everything that determines the content.
        inputs: fingerprints of the inputs, by role.
        config: the resolved configuration.
        facts: metadata measured by the stage, such as counts.
        versions: versions of tcf and of the libraries that affect the result.
        files: `{"bytes": ..., "sha256": ...}` by relative path.
        checksum: digest of all other entries.
    """

    format: str
    version: int
    fingerprint: str
    inputs: Mapping[str, str]
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    versions: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checksum: str = ""


def digest(value: Any) -> str:
    """Return the sha256, in hexadecimal, of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_of(format: Format, identity: Any) -> str:
    """Return the fingerprint of a directory of a format, from a JSON value that determines its content."""
    return digest([format.name, format.version, identity])


def sha256_file(path: Path) -> str:
    """Return the sha256, in hexadecimal, of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def library_versions() -> dict[str, str]:
    """Return the versions of tcf and of the installed libraries that can change a result.

    That of tcf is a constant of the code that runs: it need not be installed, and another project's distribution is
    called tcf.
    """
    versions = {"tcf": __version__}
    for name in _KEY_LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def seal(
    directory: Path,
    format: Format,
    *,
    inputs: Mapping[str, str],
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
    identity: Any = None,
    ignored: Collection[str] = (),
) -> Manifest:
    """Write the manifest of a finished directory, with size and checksum of every file in it.

    Args:
        directory: already contains all files.
        format: format of the directory.
        inputs: fingerprints of the inputs, by role.
        config: the resolved configuration, as JSON values.
        facts: metadata measured by the stage, as JSON values.
        identity: a JSON value that determines the content; None uses the checksums of all files.
        ignored: names of files and folders to leave out, besides the manifest.
    """
    others = {MANIFEST, *ignored}
    found = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    names = sorted(str(path) for path in found if others.isdisjoint(path.parts))
    files = {n: {"bytes": (directory / n).stat().st_size, "sha256": sha256_file(directory / n)} for n in names}
    content = {name: entry["sha256"] for name, entry in files.items()} if identity is None else identity
    manifest = Manifest(
        format=format.name,
        version=format.version,
        fingerprint=fingerprint_of(format, content),
        inputs=dict(inputs),
        config=dict(config),
        facts=dict(facts),
        versions=library_versions(),
        files=files,
    )
    manifest = replace(manifest, checksum=_checksum(manifest))
    publish_file(directory / MANIFEST, _rendered(manifest))
    return manifest


def read_manifest(path: Path, format: Format, *, remedy: str | None = None) -> Manifest:
    """Read the manifest of a published directory; it has the expected format and is as it was written.

    Args:
        path: the directory.
        format: the expected format.
        remedy: what to do about damage, for messages; None for making the directory again.

    Raises:
        TcfError: the format's error; nothing is published there, or the manifest is unreadable, of another format or
            version, has a missing entry or one of another type, or has changed since it was written.
    """
    remedy = remedy or format.remedy(path)
    expected = f"expected a directory of format {format.name} made by `{format.made_by}`"
    try:
        content = read_small_file(path / MANIFEST, LARGEST_JSON)
        entries = parse_json(content.decode())
    except (FileNotFoundError, NotADirectoryError):
        raise format.error(f"{path}: {expected}, found {_without_manifest(path, format)}") from None
    except OSError as error:
        raise format.error(f"{path / MANIFEST}: cannot be read ({os_error_words(error)}); fix that and retry") from None
    except ValueError as error:
        found = f"invalid JSON ({error})"
        raise format.error(f"{path / MANIFEST}: {expected}, found {found}; {remedy}") from None
    try:
        manifest = Manifest(**entries)
    except TypeError:
        raise format.error(f"{path / MANIFEST}: {expected}, found other keys; {remedy}") from None
    _check_types(path, manifest, format, remedy)
    if manifest.format != format.name:
        raise format.error(f"{path}: {expected}, found format {manifest.format}; name the right directory")
    if manifest.version != format.version:
        raise format.error(
            f"{path}: expected version {format.version} of {format.name}, found {manifest.version}; "
            f"remove it and run `{format.made_by}` again with this version of tcf"
        )
    for place, kind in format.required.items():
        section, _, key = place.partition(".")
        _expect(path, getattr(manifest, section).get(key), kind, place, format, remedy)
    _verify(path, manifest, content, format, remedy)
    return manifest


def _without_manifest(path: Path, format: Format) -> str:
    """Describe a path without a manifest, and what to do: a folder may hold published directories, one level down."""
    if not path.is_dir():
        return "a file; name its folder" if path.is_file() else f"nothing; run `{format.made_by}` first"
    formats = {child: name for child in sorted(path.iterdir()) if (name := stated_format(child)) is not None}
    if same := [str(child) for child, name in formats.items() if name == format.name]:
        return f"a folder that holds {len(same)} of them; name one of {', '.join(same[:8])}"
    if formats:
        others = ", ".join([f"{child.name} ({name})" for child, name in formats.items()][:8])
        return f"a folder that holds directories of other formats: {others}; name the right directory"
    return f"a directory without {MANIFEST} (unfinished, or not made by tcf); run `{format.made_by}` first"


def stated_format(path: Path) -> str | None:
    """Return the format name in the manifest of a directory; None if there is no readable one."""
    try:
        return str(read_json(path / MANIFEST)["format"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_types(path: Path, manifest: Manifest, format: Format, remedy: str) -> None:
    """Check the types of the entries that all formats have in common."""
    for name in ("inputs", "config", "facts", "versions", "files"):
        _expect(path, getattr(manifest, name), dict, name, format, remedy)
    for name in ("format", "fingerprint"):
        _expect(path, getattr(manifest, name), str, name, format, remedy)
    _expect(path, manifest.version, int, "version", format, remedy)
    for role, fingerprint in manifest.inputs.items():
        _expect(path, fingerprint, str, f"inputs.{role}", format, remedy)
    for name, entry in manifest.files.items():
        _expect(path, entry, dict, f"files.{name}", format, remedy)
        _expect(path, entry.get("bytes"), int, f"files.{name}.bytes", format, remedy)
        _expect(path, entry.get("sha256"), str, f"files.{name}.sha256", format, remedy)


def _verify(path: Path, manifest: Manifest, content: bytes, format: Format, remedy: str) -> None:
    """Refuse a manifest that is not, byte for byte, as it was written."""
    try:
        is_whole = manifest.checksum == _checksum(manifest) and content == _rendered(manifest)
    except ValueError:  # a number or a character that JSON cannot hold
        is_whole = False
    if not is_whole:
        raise format.error(f"{path / MANIFEST}: changed since it was written; {remedy}")


def _checksum(manifest: Manifest) -> str:
    return digest({key: value for key, value in vars(manifest).items() if key != "checksum"})


def _rendered(manifest: Manifest) -> bytes:
    text = json.dumps(vars(manifest), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def _expect(path: Path, value: Any, kind: type, place: str, format: Format, remedy: str) -> None:
    """Refuse a value of another type; integers are also numbers, true and false are not."""
    if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool):
        expected = f"expected {place}, {_KINDS[kind]}"
        raise format.error(f"{path / MANIFEST}: {expected}, found {value_words(value)}; {remedy}")


def differences(found: Mapping[str, Any], requested: Mapping[str, Any]) -> str:
    """Describe how existing settings or inputs differ from the requested ones; empty if they are equal.

    >>> differences({"width": 16, "seed": 0}, {"width": 32, "seed": 0, "cache": "a"})
    'cache: nothing found, a requested; width: 16 found, 32 requested'
    """
    return "; ".join(
        f"{key}: {_shown(found.get(key))} found, {_shown(requested.get(key))} requested"
        for key in sorted({*found, *requested})
        if found.get(key) != requested.get(key)
    )


def _shown(value: Any) -> str:
    """Format a setting for a message: lists as options have them, digests cut short."""
    match value:
        case None | [] | ():
            return "nothing"
        case list() | tuple():
            text = ", ".join(map(str, value))
        case str() if value:
            text = value
        case _:
            text = value_words(value)
    return text if len(text) <= 60 else text[:12] + "..."
