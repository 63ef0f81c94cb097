import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tcf.common.integrity.sealed_json import unsealed_json
from tcf.extract.plan import measured_rates as module
from tcf.extract.plan.calibration_memo import remembered_number
from tcf.extract.plan.measured_rates import Rates, measure_rates, measure_storage

CPU = torch.device("cpu")


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Trials find round numbers at once; a list of what was tried."""
    done: list[Any] = []

    def finds(what: str, number: float) -> Callable[..., float]:
        def trial(*given: Any, packed: bool = True) -> float:
            done.append((what if packed else f"plain {what}", given[0]))
            return number if packed else number / 2

        return trial

    monkeypatch.setattr(module, "_product_rate", finds("products", 2e11))
    monkeypatch.setattr(module, "_block_share", finds("block", 0.8))
    monkeypatch.setattr(module, "measure_storage", finds("storage", 1e9))
    return done


def test_each_trial_is_made_once(tmp_path: Path, tried: list[Any]) -> None:
    for _ in range(2):
        found = measure_rates([(64, 256), (256, 64)], torch.float32, CPU, None, tmp_path / "trials")
    assert found == Rates(2e11, 1e11, 0.8, 1e9, None)
    assert (found.flops, found.streamed_flops) == (1.6e11, 0.8e11)
    assert tried == [
        ("products", [(64, 256), (256, 64)]), ("plain products", [(64, 256), (256, 64)]), ("block", 1024),
        ("storage", None),
    ]  # fmt: skip
    assert len(list((tmp_path / "trials").iterdir())) == 4


def test_whatever_matters_makes_another_trial(
    tmp_path: Path, tried: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_rates([(64, 64)], torch.float32, CPU, None, tmp_path)
    measure_rates([(64, 64)], torch.bfloat16, CPU, None, tmp_path)
    measure_rates([(64, 128)], torch.bfloat16, CPU, None, tmp_path)  # the block that is tried is the same one
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    measure_rates([(64, 64)], torch.float32, CPU, None, tmp_path)
    assert [what for what, _ in tried if what != "plain products"] == [
        "products", "block", "storage", "products", "block", "products", "products", "block"
    ]  # fmt: skip


def test_large_products_are_stood_for_by_smaller_ones(tmp_path: Path, tried: list[Any]) -> None:
    measure_rates([(12_288, 49_152), (49_152, 12_288)], torch.float32, CPU, None, tmp_path)
    assert tried[0] == ("products", [(2048, 2048), (2048, 2048)])
    cuda = torch.device("cuda:0")
    assert module._capped([(12_288, 49_152), (768, 768)], cuda) == [(4096, 16_384), (768, 768)]
    assert [module._block_width([(width, 4 * width)], cuda) for width in (768, 2560, 12_288)] == [1024, 2560, 4096]


def test_a_model_without_products_needs_no_trial_of_them(tmp_path: Path, tried: list[Any]) -> None:
    assert measure_rates([], torch.float32, CPU, None, tmp_path).flops == 1.0
    assert [what for what, _ in tried] == ["storage"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", *(f'{{"found": {x}}}' for x in ("0", '"9"', "true", "NaN"))])
def test_what_cannot_be_read_is_tried_again(tmp_path: Path, content: str) -> None:
    assert remembered_number(tmp_path, {"trial": "x"}, lambda: 5.0) == 5.0
    assert remembered_number(tmp_path, {"trial": "x"}, lambda: 6.0) == 5.0
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert remembered_number(tmp_path, {"trial": "x"}, lambda: 7.0) == 7.0
    assert unsealed_json(file.read_text()) == {"trial": "x", "found": 7.0}


@pytest.mark.usefixtures("shown_log")
def test_where_nothing_can_be_remembered_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert remembered_number(tmp_path / "file" / "trials", {}, lambda: 5.0) == 5.0
    assert "the calibration run will be repeated next time" in capsys.readouterr().err


def test_a_call_is_as_long_as_can_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of so many seconds a token: sizes grow until one takes about 0.3 s, or 2048 tokens are reached."""

    def tokens_for(seconds_a_token: float, most: int | None = None) -> int:
        calls: list[int] = []

        def call(tokens: int) -> Callable[[], Any]:
            calls.append(tokens)
            return lambda: None

        monkeypatch.setattr(module, "_seconds", lambda run, device, n: calls[-1] * seconds_a_token)
        tokens, seconds = module._timed(call, CPU, most)
        assert seconds == tokens * seconds_a_token
        return tokens

    assert tokens_for(1e-9) == 2048 and tokens_for(1e-9, 256) == 256
    assert tokens_for(0.01) == 64  # the first takes 0.64 s
    assert tokens_for(0.001) == 256  # 64 take 0.064 s, four times that are less than 0.3 s; 256 take 0.256 s


def test_the_rate_counts_each_product_as_often_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {(8, 8): (100, 2.0), (8, 32): (100, 4.0)}  # seconds for 100 tokens

    def timed(call: Any, device: torch.device, most: int | None) -> tuple[int, float]:
        assert most == (None if packed else 256)
        linear = call.args[0][0]
        weight = getattr(linear, "weight")  # noqa: B009
        return times[(weight.shape[1], weight.shape[0])]

    monkeypatch.setattr(module, "_timed", timed)
    # Three of 2 x 8 x 8 and one of 2 x 8 x 32 for each token, in 3 x 0.02 + 0.04 seconds.
    for packed in (False, True):
        found = module._product_rate([(8, 8), (8, 32), (8, 8), (8, 8)], torch.float32, CPU, packed=packed)
        assert found == pytest.approx((3 * 128 + 512) / 0.1)


def test_real_trials_find_plausible_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And draw nothing from torch's global generator."""
    monkeypatch.setattr(module, "_SECONDS", 0.02)
    before = torch.get_rng_state()
    found = measure_rates([(256, 1024), (1024, 256)], torch.float32, CPU, None, tmp_path)
    assert 1e8 < found.products < 1e14 and 0.1 < found.block_share <= 1.0
    assert 1e6 < found.storage < 1e12 and found.copy is None
    assert torch.equal(torch.get_rng_state(), before)


def test_storage_is_read_to_the_end_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(os.urandom(100_000))
    read: list[tuple[int, int]] = []

    def pread(handle: int, length: int, start: int) -> bytes:
        read.append((start, min(length, 100_000 - start)))
        return b"x" * read[-1][1]

    monkeypatch.setattr(os, "pread", pread)
    monkeypatch.setattr(module, "_CHUNK", 30_000)
    monkeypatch.setattr(module, "_READ", 70_000)
    monkeypatch.setattr(module, "_WRITTEN", 100_000)
    assert measure_storage(file, tmp_path) > 0
    # The last 70,000 bytes, in pieces.
    assert sorted(read)[0][0] == 30_000 and {start for start, _ in read} == {30_000, 60_000, 90_000}


def test_without_a_checkpoint_a_file_is_made_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_READ", 4 * 2**20)
    monkeypatch.setattr(module, "_CHUNK", 2**19)
    assert measure_storage(None, tmp_path / "not" / "there") > 0
    assert list(tmp_path.iterdir()) == []


def test_a_small_checkpoint_is_not_taken_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a few kilobytes is all delay."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x" * 99_999)
    read: list[int] = []

    def pread(handle: int, length: int, start: int) -> bytes:
        read.append(length)
        return b"x" * length

    monkeypatch.setattr(os, "pread", pread)
    monkeypatch.setattr(module, "_CHUNK", 50_000)
    monkeypatch.setattr(module, "_WRITTEN", 100_000)
    assert measure_storage(file, tmp_path) > 0
    assert sum(read) == 100_000
    assert list(tmp_path.iterdir()) == [file]
