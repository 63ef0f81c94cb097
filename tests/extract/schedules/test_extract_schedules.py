"""Every schedule through the whole stage: the same vectors, one plan, and clear words for what cannot be done."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from small.data.caches import content
from small.encoders.families import save_family, store_weights, stored_weights
from small.encoders.models import save_dataset, save_opt
from small.extract.extractions import TEXTS, extracted, no_model, token_rows, vectors
from small.extract.plans import CPU_RATES, TORCH
from tcf.commands.app import app
from tcf.common.errors import ConfigError
from tcf.common.manifest import read_manifest
from tcf.data import Dataset, VectorCache
from tcf.data.cache.cache_files import VECTORS
from tcf.extract.plan import machine, planner
from tcf.extract.schedules import load_engine
from tcf.extract.schedules.sweep import SweepEngine

N = len(set(TEXTS))
BLOCKS = 12
KIB = 1024


@pytest.fixture(autouse=True)
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans without trials, and as if this process took no memory yet: so limits say what is left for the model."""
    monkeypatch.setattr(planner, "measure_rates", lambda *given: CPU_RATES)
    monkeypatch.setattr(machine, "resident_bytes", lambda: 0)


@pytest.fixture(scope="session")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OPT of many blocks, which takes less memory in a sweep than as a whole."""
    return save_opt(tmp_path_factory.mktemp("deep") / "m", blocks=BLOCKS, shard="50KB", head=True)


def limit(size: int) -> str:
    """`--max-memory` with so many bytes for the model and its texts."""
    return f"cpu={TORCH + size}"


def schedules(out: Path) -> list[str]:
    """How the shards of a cache were computed."""
    shards = sorted((out / "shards").glob("[!.]*"))
    return [read_manifest(shard, VECTORS.shard).facts["schedule"] for shard in shards]


@pytest.mark.parametrize("name", ["opt", "bert", "t5", "llama", "mistral"])
def test_all_schedules_give_the_same_vectors(
    name: str, family: Callable[[str], Path], tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = family(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    extracted(dataset, model, tmp_path / "whole", schedule="resident")
    expected = vectors(tmp_path / "whole", dataset)
    ways: dict[str, dict[str, Any]] = {
        "sweep": {"schedule": "sweep"},
        "sweep-of-two": {"schedule": "sweep", "devices": "cpu,cpu", "tokens_per_batch": 64},
        "sweep-in-parts": {"schedule": "sweep", "shard_rows": 7, "checkpoint_layers": 2},
        "pipeline": {"schedule": "pipeline", "devices": "cpu,cpu"},
        "dispatch": {"schedule": "dispatch", "max_memory": limit(450 * KIB), "tokens_per_batch": 64},
    }
    for way, settings in ways.items():
        done = extracted(dataset, model, tmp_path / way, **settings)
        np.testing.assert_allclose(vectors(tmp_path / way, dataset), expected, rtol=0, atol=1e-5, err_msg=way)
        assert set(schedules(tmp_path / way)) == {way.split("-")[0]}
        assert done.computed == done.sequences > 30
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"d", "whole", *ways}


@pytest.mark.usefixtures("shown_log")
def test_accelerate_reads_from_disk_what_does_not_fit(deep: Path, tmp_path: Path, dataset: Dataset, capfd: Any) -> None:
    extracted(dataset, deep, tmp_path / "whole", schedule="resident")
    capfd.readouterr()
    extracted(dataset, deep, tmp_path / "c", schedule="dispatch", max_memory=limit(350 * KIB), tokens_per_batch=64)
    [weights] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("weights: ")]
    assert "modules on cpu" in weights and "modules streamed from disk" in weights
    np.testing.assert_allclose(
        vectors(tmp_path / "c", dataset), vectors(tmp_path / "whole", dataset), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("size", "rows", "streamed"),
    [(900, None, []), (400, 7, range(1, BLOCKS)), (235, 7, [BLOCKS]), (400, None, [BLOCKS])],
)
def test_a_model_that_does_not_fit_is_swept_by_itself(
    size: int, rows: int | None, streamed: Sequence[int], deep: Path, tmp_path: Path, dataset: Dataset
) -> None:
    """Of several macro-batches the blocks that fit stay in memory; of a single one none would be needed again."""
    extracted(dataset, deep, tmp_path / "whole", schedule="resident")
    swept: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        load = load_engine.load_sweep

        def load_sweep(*given: Any) -> SweepEngine:
            engine = load(*given)
            swept.append(len(engine.streamed))
            return engine

        patch.setattr(load_engine, "load_sweep", load_sweep)
        settings: dict[str, Any] = {"shard_rows": rows, "tokens_per_batch": 64}
        extracted(dataset, deep, tmp_path / "c", max_memory=limit(size * KIB), **settings)
    np.testing.assert_allclose(
        vectors(tmp_path / "c", dataset), vectors(tmp_path / "whole", dataset), rtol=0, atol=1e-5
    )
    assert set(schedules(tmp_path / "c")) == ({"sweep"} if streamed else {"resident"})
    assert len(schedules(tmp_path / "c")) == (1 if rows is None else -(-N // rows))
    assert len(swept) == bool(streamed) and set(swept) <= set(streamed)


@pytest.mark.parametrize("devices", ["cpu", "cpu,cpu"])
def test_several_layers_and_token_states_come_out_of_one_sweep(
    devices: str, family: Callable[[str], Path], tmp_path: Path, dataset: Dataset
) -> None:
    asked: dict[str, Any] = {"layers": (0, 1, -1), "token_states": 2, "token_storage": "float32"}
    extracted(dataset, family("opt"), tmp_path / "whole", **asked)
    for rows in (None, 16):
        out = tmp_path / f"swept-{rows}"
        done = extracted(dataset, family("opt"), out, schedule="sweep", devices=devices, shard_rows=rows, **asked)
        for name in ("layer0", "layer1", "layer-1"):
            expected = vectors(tmp_path / "whole" / name, dataset)
            np.testing.assert_allclose(vectors(out / name, dataset), expected, rtol=0, atol=1e-5)
            assert set(schedules(out / name)) == {"sweep"}
        expected_rows = token_rows(tmp_path / "whole" / "tokens2", dataset)
        for found, expected in zip(token_rows(out / "tokens2", dataset), expected_rows, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        assert [cache.name for cache in done.caches] == ["layer0", "layer1", "layer-1", "tokens2"]


def test_a_layer_that_is_missing_is_swept_beside_those_that_are_there(
    family: Callable[[str], Path], tmp_path: Path, dataset: Dataset
) -> None:
    extracted(dataset, family("t5"), tmp_path / "c", layers=(1, -1), schedule="sweep")
    before = content(tmp_path / "c")
    extracted(dataset, family("t5"), tmp_path / "whole", layers=(1, 2, -1))
    extracted(dataset, family("t5"), tmp_path / "c", layers=(1, 2, -1), schedule="sweep")
    assert {file: found for file, found in content(tmp_path / "c").items() if file in before} == before
    for name in ("layer1", "layer2", "layer-1"):
        np.testing.assert_allclose(
            vectors(tmp_path / "c" / name, dataset), vectors(tmp_path / "whole" / name, dataset), rtol=0, atol=1e-5
        )


def test_a_sweep_appends_to_what_another_schedule_began(
    family: Callable[[str], Path], tmp_path: Path, dataset: Dataset
) -> None:
    model = family("bert")
    some = save_dataset(tmp_path / "some", TEXTS[:15])
    extracted(some, model, tmp_path / "c", schedule="resident")
    before = content(tmp_path / "c")
    done = extracted(dataset, model, tmp_path / "c", schedule="sweep")
    assert 0 < done.computed < done.sequences
    assert {file: found for file, found in content(tmp_path / "c").items() if file in before} == before
    assert sorted(schedules(tmp_path / "c")) == ["resident", "sweep"]
    extracted(dataset, model, tmp_path / "whole", schedule="resident")
    np.testing.assert_allclose(
        vectors(tmp_path / "c", dataset), vectors(tmp_path / "whole", dataset), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("files", [1, 3])
def test_a_checkpoint_that_torch_saved_is_swept(files: int, tmp_path: Path, dataset: Dataset) -> None:
    model = save_family("gpt2", tmp_path / "m")
    extracted(dataset, model, tmp_path / "whole", schedule="resident")
    store_weights(model, stored_weights(model), kind="bin", files=files)
    extracted(dataset, model, tmp_path / "c", schedule="sweep")
    np.testing.assert_allclose(
        vectors(tmp_path / "c", dataset), vectors(tmp_path / "whole", dataset), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("project_out", "width"), [(False, 32), (True, 16)])
@pytest.mark.parametrize("schedule", ["sweep", "pipeline"])
def test_a_projection_at_the_end_is_kept_if_asked_for(
    schedule: str, project_out: bool, width: int, tmp_path: Path, dataset: Dataset
) -> None:
    model = save_opt(tmp_path / "m", norm="post", head=True, shard="20KB")
    extracted(dataset, model, tmp_path / "whole", project_out=project_out)
    devices = "cpu,cpu" if schedule == "pipeline" else "cpu"
    extracted(dataset, model, tmp_path / "c", project_out=project_out, schedule=schedule, devices=devices)
    assert VectorCache.open(tmp_path / "c").width == width
    np.testing.assert_allclose(
        vectors(tmp_path / "c", dataset), vectors(tmp_path / "whole", dataset), rtol=0, atol=1e-5
    )


def test_word_vectors_have_no_blocks_to_sweep(tmp_path: Path, dataset: Dataset) -> None:
    file = tmp_path / "words.txt"
    file.write_text("mario 1 2 3\ngame 4 5 6\n")
    for schedule in ("sweep", "pipeline"):
        with pytest.raises(ConfigError, match=rf"--schedule {schedule}: expected a model .*; pass --schedule resident"):
            extracted(dataset, file, tmp_path / "c", schedule=schedule, devices="cpu,cpu")
    extracted(dataset, file, tmp_path / "c")
    assert not list(tmp_path.glob(".c.*"))


def test_a_model_whose_blocks_cannot_be_told(family: Callable[[str], Path], tmp_path: Path, dataset: Dataset) -> None:
    model = family("albert")
    with pytest.raises(ConfigError, match="--schedule sweep: expected a model .*; pass --schedule dispatch"):
        extracted(dataset, model, tmp_path / "c", schedule="sweep")
    assert not (tmp_path / "c").exists()
    extracted(dataset, model, tmp_path / "whole")
    # Too little memory for all of it, so accelerate has to bring parts of it from disk.
    extracted(dataset, model, tmp_path / "c", max_memory=limit(140 * KIB))
    assert (schedules(tmp_path / "whole"), schedules(tmp_path / "c")) == (["resident"], ["dispatch"])
    np.testing.assert_allclose(
        vectors(tmp_path / "c", dataset), vectors(tmp_path / "whole", dataset), rtol=0, atol=1e-5
    )


def run(dataset: Dataset, model: Path, out: Path, *options: str) -> Any:
    paths = ["--data", str(dataset.path), "--model", str(model), "--out", str(out)]
    done = CliRunner().invoke(app, ["extract", *paths, "--devices", "cpu", "--tokens-per-batch", "2048", *options])
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.usefixtures("shown_log")
@pytest.mark.parametrize("schedule", ["resident", "sweep"])
def test_the_plan_is_told_before_the_work_and_not_on_standard_output(
    schedule: str, family: Callable[[str], Path], tmp_path: Path, dataset: Dataset
) -> None:
    done = run(dataset, family("opt"), tmp_path / "c", "--schedule", schedule)
    told = done.stderr.splitlines()
    subjects = [line.split(":")[0] for line in told]
    first_progress = subjects.index("extract")
    assert subjects[:2] == ["model", "schedule"] and "output" in subjects[:first_progress]
    assert set(subjects[first_progress:]) == {"extract"}
    assert told[1].startswith(f"schedule: {schedule} on cpu (")
    printed = done.stdout.splitlines()
    assert printed[0].startswith(f"{len(TEXTS)} items, ") and printed[-1] == f"cache: {tmp_path / 'c'}"
    assert len(printed) == 3


@pytest.mark.usefixtures("shown_log")
def test_with_nothing_to_compute_there_is_no_plan_and_no_weight_is_read(
    family: Callable[[str], Path], tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = family("opt")
    run(dataset, model, tmp_path / "c", "--schedule", "sweep")
    with no_model():
        # Of these texts nothing is missing, which only making tokens of them shows.
        part = run(save_dataset(tmp_path / "part", TEXTS[:9]), model, tmp_path / "c", "--schedule", "sweep")
        assert "time: none: everything is in the cache already" in part.stderr.splitlines()

        def refuse(*given: object) -> None:
            raise AssertionError("planned")

        monkeypatch.setattr(planner, "measure_rates", refuse)
        again = run(dataset, model, tmp_path / "c", "--schedule", "sweep")
    assert again.stderr == ""
    assert ", 0 computed now" in again.stdout
