"""Weight files that claim to have a header without end are refused before their content is read."""

import os
from pathlib import Path

import pytest

from small.encoders.models import save_opt
from tcf.common.errors import ModelError
from tcf.encoders.folder.weight_files import weights_digest
from tcf.encoders.safetensors_header import read_header


def test_weights_with_an_endless_header_are_not_read_for_their_checksum(tmp_path: Path) -> None:
    file = save_opt(tmp_path / "opt") / "model.safetensors"
    file.write_bytes((2**31).to_bytes(8, "little"))
    os.truncate(file, 2**31 + 4096)  # takes no space
    with pytest.raises(ModelError, match="model.safetensors: damaged or truncated: expected a header of at most"):
        weights_digest(file.parent)


def test_a_header_longer_than_the_file(tmp_path: Path) -> None:
    file = save_opt(tmp_path / "opt") / "model.safetensors"
    content = file.read_bytes()
    header, start, size = read_header(file)
    assert size == len(content)
    assert start + max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__") == size
    file.write_bytes(content[: start - 1])
    with pytest.raises(ModelError, match=f"expected at least the {start} bytes of its header, found {start - 1}"):
        weights_digest(file.parent)
