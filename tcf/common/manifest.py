"""Manifests: what a published directory is, what it was made from, with what, and every file with its checksum."""

import hashlib
import importlib.metadata
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tcf.common.errors import TcfError
from tcf.common.files import MANIFEST, publish_file

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
    "verify_files",
    "verify_manifest",
]

_KEY_LIBRARIES = ("numpy", "pyarrow", "torch", "transformers", "accelerate", "tokenizers", "faiss-cpu", "faiss-gpu")
_KINDS = {dict: "a mapping", str: "a text", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Format:
    """A kind of directory that one stage publishes and the next one reads.

    Attributes:
        name: the name written into the manifest, such as `tcf-dataset`.
        version: raised whenever an older reader would misread the files.
        error: what a reader raises where such a directory is missing or damaged.
        made_by: the command that makes one, for messages.
        required: entries of the manifest's mappings that a reader relies on, such as `facts.width`, and their type.
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
    """What a published directory is, what it was made from, with what, and its files.

    Attributes:
        format: name of the directory's format.
        version: version of the format.
        fingerprint: sha256 of all that decides the content.
        inputs: fingerprints of what it was made from, by role.
        config: the resolved configuration.
        facts: what the stage found out, such as counts.
        versions: tcf and the libraries that shape the result.
        files: relative path to `{"bytes": ..., "sha256": ...}`.
        checksum: digest of all of this, itself left out.
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
    """Sha256, in hexadecimal, of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_of(format: Format, identity: Any) -> str:
    """Fingerprint of a directory of a format, from a JSON value that decides its content."""
    return digest([format.name, format.version, identity])


def sha256_file(path: Path) -> str:
    """Sha256, in hexadecimal, of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of tcf and of the installed libraries that can change a result."""
    versions = {}
    for name in ("tcf", *_KEY_LIBRARIES):
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
        directory: holds all the files already.
        format: what the directory is.
        inputs: fingerprints of what it was made from, by role.
        config: the resolved configuration, as JSON values.
        facts: what the stage found out, as JSON values.
        identity: a JSON value that decides the content; None takes the checksums of all files.
        ignored: names of files that are there and will go, besides the manifest.
    """
    others = {MANIFEST, *ignored}
    names = sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file() and p.name not in others)
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


def read_manifest(path: Path, format: Format) -> Manifest:
    """Read the manifest of a published directory and check that it is of the expected format.

    Raises:
        TcfError: of the format's kind; nothing published there, unreadable, another format or version, or an entry
            that is missing or of another type.
    """
    expected = f"expected a directory of format {format.name} made by `{format.made_by}`"
    try:
        content = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        found = "an unfinished or foreign directory (no manifest.json)" if path.is_dir() else "nothing"
        raise format.error(f"{path}: {expected}, found {found}; run `{format.made_by}` first") from None
    except (OSError, ValueError) as error:
        raise format.error(f"{path / MANIFEST}: unreadable ({error}); make the directory anew") from None
    try:
        manifest = Manifest(**content)
    except TypeError:
        raise format.error(f"{path / MANIFEST}: {expected}, found other keys; make the directory anew") from None
    _check_types(path, manifest, format)
    if manifest.format != format.name:
        raise format.error(f"{path}: {expected}, found format {manifest.format}; name the right directory")
    if manifest.version != format.version:
        raise format.error(
            f"{path}: expected version {format.version} of {format.name}, found {manifest.version}; "
            f"run `{format.made_by}` anew with this version of tcf"
        )
    for place, kind in format.required.items():
        section, _, key = place.partition(".")
        _expect(path, getattr(manifest, section).get(key), kind, place, format)
    return manifest


def _check_types(path: Path, manifest: Manifest, format: Format) -> None:
    """Check the types of all that is the same in every format."""
    for name in ("inputs", "config", "facts", "versions", "files"):
        _expect(path, getattr(manifest, name), dict, name, format)
    for name in ("format", "fingerprint"):
        _expect(path, getattr(manifest, name), str, name, format)
    _expect(path, manifest.version, int, "version", format)
    for role, fingerprint in manifest.inputs.items():
        _expect(path, fingerprint, str, f"inputs.{role}", format)
    for name, entry in manifest.files.items():
        _expect(path, entry, dict, f"files.{name}", format)
        _expect(path, entry.get("bytes"), int, f"files.{name}.bytes", format)
        _expect(path, entry.get("sha256"), str, f"files.{name}.sha256", format)


def verify_manifest(path: Path, manifest: Manifest, format: Format, *, remedy: str | None = None) -> None:
    """Check that a manifest is, byte for byte, as it was written.

    Args:
        path: the directory.
        manifest: its manifest, as it was read.
        format: its format.
        remedy: what to do about damage, for messages; None: make the directory anew.

    Raises:
        TcfError: of the format's kind.
    """
    whole = manifest.checksum == _checksum(manifest)
    if not whole or (path / MANIFEST).read_bytes() != _rendered(manifest):
        raise format.error(f"{path / MANIFEST}: differs from what was written; {remedy or f'make {path} anew'}")


def _checksum(manifest: Manifest) -> str:
    return digest({key: value for key, value in vars(manifest).items() if key != "checksum"})


def _rendered(manifest: Manifest) -> bytes:
    text = json.dumps(vars(manifest), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def _expect(path: Path, value: Any, kind: type, place: str, format: Format) -> None:
    """Refuse a value of another type; a whole number is a number too, true and false are none."""
    if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool):
        found = "nothing" if value is None else repr(value)[:60]
        raise format.error(f"{path / MANIFEST}: expected {place}, {_KINDS[kind]}, found {found}; {format.remedy(path)}")


def verify_files(
    path: Path, manifest: Manifest, format: Format, *, names: Collection[str] | None = None, remedy: str | None = None
) -> None:
    """Compare files of a published directory, byte for byte, with its manifest.

    Args:
        path: the directory.
        manifest: its manifest.
        format: its format.
        names: the files to compare; None for all.
        remedy: what to do about damage, for messages; None: make the directory anew.

    Raises:
        TcfError: of the format's kind, naming the first file that is missing or differs.
    """
    remedy = remedy or f"make {path} anew"
    for name in manifest.files if names is None else names:
        file, entry = path / name, manifest.files.get(name)
        if entry is None:
            raise format.error(f"{path / MANIFEST}: expected an entry for {name}, found none; {remedy}")
        if not file.is_file():
            raise format.error(f"{file}: listed in {path / MANIFEST}, but missing; {remedy}")
        if file.stat().st_size != entry["bytes"]:
            raise format.error(f"{file}: expected {entry['bytes']} bytes, found {file.stat().st_size}; {remedy}")
        if sha256_file(file) != entry["sha256"]:
            raise format.error(f"{file}: its sha256 differs from {path / MANIFEST}; {remedy}")


def differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """What differs between the settings or inputs of something that exists and those asked for; empty if nothing does.

    >>> differences({"width": 16, "seed": 0}, {"width": 32, "seed": 0, "cache": "a"})
    'cache: nothing there, a asked for; width: 16 there, 32 asked for'
    """
    return "; ".join(
        f"{key}: {_shown(there.get(key))} there, {_shown(asked.get(key))} asked for"
        for key in sorted({*there, *asked})
        if there.get(key) != asked.get(key)
    )


def _shown(value: Any) -> str:
    """A value for a message; digests are cut short."""
    text = "nothing" if value is None or value == [] else repr(value) if value == "" else str(value)
    return text if len(text) <= 60 else text[:12] + "..."
