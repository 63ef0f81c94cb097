"""Converted models are checked byte by byte and number by number, and give a vector."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from small.encoders.gguf import SmallGguf, byte_pairs, small_llama, write_gguf
from small.encoders.models import vectors_one_by_one
from small.encoders.raw_opt import metaseq_parts, save_metaseq, save_settings, small_opt
from tcf.commands.app import app
from tcf.common.errors import ConfigError, ModelError
from tcf.common.manifest import read_manifest, seal
from tcf.encoders.convert import raw_model
from tcf.encoders.convert.convert import CONVERTED, convert
from tcf.encoders.convert.verify import verify_converted
from tcf.launch.sample_vector import SAMPLE, sample_vector


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A converted model in several files."""
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(raw_model, "SHARD", 40_000)
    model = small_opt()
    save_metaseq(tmp_path / "raw", metaseq_parts(model, 2))
    save_settings(model, tmp_path / "raw")
    return convert(tmp_path / "raw", tmp_path / "out").folder


def sealed_anew(folder: Path) -> None:
    manifest = read_manifest(folder, CONVERTED)
    seal(folder, CONVERTED, inputs=manifest.inputs, config=manifest.config, facts=manifest.facts)


def test_a_whole_model(folder: Path) -> None:
    found = verify_converted(folder)
    manifest = read_manifest(folder, CONVERTED)
    assert (found.files, found.tensors) == (len(manifest.files), 2 + 2 * 16 + 2)
    assert found.numbers == manifest.facts["parameters"]
    expected = vectors_one_by_one(folder, [SAMPLE], pooling="mean")[0]
    np.testing.assert_allclose(sample_vector(folder), expected, rtol=1e-4, atol=1e-4)


def test_a_changed_byte_a_missing_tensor_and_a_number_that_is_none(folder: Path) -> None:
    files = sorted(folder.glob("model-*.safetensors"))
    content = bytearray(files[1].read_bytes())
    content[-3] ^= 1
    files[1].write_bytes(content)
    with pytest.raises(ModelError, match=rf"{files[1].name}: its sha256 differs"):
        verify_converted(folder)
    content[-3] ^= 1
    files[1].write_bytes(content)
    weights = load_file(files[1])
    name = next(name for name in weights if name.endswith("fc1.bias"))
    weights[name][3] = float("nan")
    save_file(weights, files[1])
    sealed_anew(folder)
    with pytest.raises(ModelError, match=rf"expected finite numbers in {name}, found 1 of 64"):
        verify_converted(folder)
    del weights[name]
    save_file(weights, files[1])
    sealed_anew(folder)
    with pytest.raises(ModelError, match=rf"lacks 1 of 36 tensors, such as {name.removeprefix('model.')}"):
        verify_converted(folder)


def test_the_command(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["convert", str(tmp_path / "raw"), "--out", str(folder), "--verify"])
    assert done.exit_code == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.endswith(" parameters, float16, already converted")
    assert second.endswith(f" 36 tensors, {first.split(': ')[1].split()[0]} numbers, all finite")
    assert third.startswith(f'the vector of "{SAMPLE}": 32 numbers, {sample_vector(folder)[0]:.4f} ')
    alone = CliRunner().invoke(app, ["convert", str(folder), "--verify"])
    assert alone.stdout.splitlines() == [second, third]
    refused = CliRunner().invoke(app, ["convert", str(tmp_path / "raw")])
    assert isinstance(refused.exception, ConfigError)
    assert str(refused.exception).startswith("--out: expected the model folder to make")


def test_the_command_with_gguf_and_hugging_face_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    model, opt = small_llama(), small_opt()
    gguf = write_gguf(tmp_path / "tiny.gguf", SmallGguf(model, byte_pairs()))
    (tmp_path / "bin").mkdir()
    torch.save(opt.state_dict(), tmp_path / "bin" / "pytorch_model.bin")
    save_settings(opt, tmp_path / "bin", tokenizer="model")
    for source, numbers in ((gguf, model.num_parameters()), (tmp_path / "bin", opt.num_parameters())):
        out = tmp_path / f"{source.stem}-out"
        done = CliRunner().invoke(app, ["convert", str(source), "--out", str(out), "--verify"])
        assert done.exit_code == 0, done.stderr
        first, second, third = done.stdout.splitlines()
        assert first.startswith(f"{out}: {numbers:,} parameters, float")
        assert second.endswith(f" tensors, {numbers:,} numbers, all finite")
        width = 64 if source == gguf else 32
        assert third.startswith(f'the vector of "{SAMPLE}": {width} numbers, {sample_vector(out)[0]:.4f} ')
