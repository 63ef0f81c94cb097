"""Model-parallel files that are copies of one another, or that disagree on what they should share."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from small.encoders.raw_opt import flat_shards, metaseq_parts, save_metaseq, save_settings, small_opt
from tcf.common.errors import ModelError
from tcf.common.manifest import read_manifest
from tcf.encoders.convert.convert import CONVERTED, convert

BIAS = "decoder.layers.1.final_layer_norm.bias"


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "raw"
    folder.mkdir()
    save_settings(small_opt(), folder)
    return folder


def refused(raw: Path, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        convert(raw, raw.parent / "out")
    assert "\n" not in str(caught.value)
    assert not (raw.parent / "out").exists()


def test_a_file_copied_under_another_ranks_name(raw: Path) -> None:
    save_metaseq(raw, metaseq_parts(small_opt(), 4))
    shutil.copy(raw / "reshard-model_part-1.pt", raw / "reshard-model_part-3.pt")
    refused(
        raw,
        r"reshard-model_part-3\.pt: expected model-parallel rank 3's own part of decoder\.\S+\.weight, found the "
        r"numbers of rank 1 \(\S*reshard-model_part-1\.pt\); one is a copy of the other: download both again",
    )


def test_one_matrix_of_another_rank(raw: Path) -> None:
    name = "decoder.layers.1.fc2.weight"
    parts = metaseq_parts(small_opt(), 2)
    save_metaseq(raw, [parts[0], {**parts[1], name: parts[0][name].clone()}])
    refused(raw, rf"part-1\.pt: expected model-parallel rank 1's own part of {name}, found the numbers of rank 0")


def test_constant_numbers_are_no_copy(raw: Path) -> None:
    name = "decoder.layers.1.fc2.weight"
    save_metaseq(raw, [{**part, name: torch.zeros(32, 32).half()} for part in metaseq_parts(small_opt(), 2)])
    done = convert(raw, raw.parent / "out")
    assert not load_file(done.folder / "model.safetensors")["model." + name].any()


@pytest.mark.parametrize(
    ("copied", "over"), [((0, 1), (1, 1)), ((1, 0), (1, 1))], ids=["of another rank", "of its rank"]
)
def test_a_shard_copied_under_another_name(raw: Path, copied: tuple[int, int], over: tuple[int, int]) -> None:
    for number, part in enumerate(metaseq_parts(small_opt(), 2)):
        for shard, content in enumerate(flat_shards(part, 2, 2)):
            torch.save(content, raw / f"checkpoint_last-model_part-{number}-shard{shard}.pt")
    source, target = (f"checkpoint_last-model_part-{part}-shard{shard}.pt" for part, shard in (copied, over))
    shutil.copy(raw / source, raw / target)
    refused(
        raw, rf"{target}: expected .*own part of .*, found the numbers of .*{source}\)?; one is a copy of the other"
    )


def with_bias(raw: Path, difference: float) -> torch.Tensor:
    """Save two ranks whose copies of a bias differ in a zero; its largest number is 2."""
    bias = torch.zeros(32).half()
    bias[3] = -2
    other = bias.clone()
    other[5] = difference
    one, two = metaseq_parts(small_opt(), 2)
    save_metaseq(raw, [{**one, BIAS: bias}, {**two, BIAS: other}])
    return bias


@pytest.mark.usefixtures("shown_log")
def test_four_steps_of_float16_are_reported(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bias = with_bias(raw, 8 / 1024)  # a step at 2 is 2 / 1024
    done = convert(raw, raw.parent / "out")
    assert "1 tensors that all model-parallel ranks should share differ, most " + BIAS in capsys.readouterr().err
    facts = read_manifest(done.folder, CONVERTED).facts["parts_disagree"]
    assert facts == {"tensors": 1, "name": BIAS, "difference": 8 / 1024}
    assert torch.equal(load_file(done.folder / "model.safetensors")["model." + BIAS], bias)  # of rank 0


@pytest.mark.parametrize("difference", [9 / 1024, -0.5, float("nan")])
def test_more_than_four_steps_are_refused(raw: Path, difference: float) -> None:
    with_bias(raw, difference)
    refused(
        raw,
        rf"part-1\.pt: expected {BIAS} of model-parallel rank 1 to equal that of rank 0 \(\S*part-0\.pt\) up to "
        rf"rounding, by at most 0\.00781, found a difference of {abs(difference):.3g}; the files are of different "
        r"checkpoints: download both again",
    )
