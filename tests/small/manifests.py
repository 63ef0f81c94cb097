"""Manifests that agree with what a test has changed, so that another error than the change itself can be reached."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tcf.common import manifest as module
from tcf.common.files import MANIFEST
from tcf.common.manifest import Manifest, sha256_file


def reseal(folder: Path, **entries: Any) -> Path:
    """Let a manifest state the entries, and its files as they are now; one that has been damaged stays so.

    Args:
        folder: a published directory.
        entries: new values of the manifest's entries.
    """
    content = {**json.loads((folder / MANIFEST).read_text()), **entries}
    for name in content["files"]:
        if (folder / name).exists():
            content["files"][name] = {
                "bytes": (folder / name).stat().st_size,
                "sha256": sha256_file(folder / name),
            }
    manifest = Manifest(**content)
    manifest = replace(manifest, checksum=module._checksum(manifest))
    (folder / MANIFEST).write_bytes(module._rendered(manifest))
    return folder
