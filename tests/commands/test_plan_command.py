import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from small.encoders.models import save_dataset
from small.extract.extractions import TEXTS
from small.extract.plans import CPU_RATES, KEYS, opt_config
from tcf.commands.app import app
from tcf.common.errors import ConfigError, DataError, ModelError
from tcf.data import Dataset
from tcf.extract.plan import machine, planner

LIMIT = ["--max-memory", "cpu=6GiB", "--devices", "cpu"]


@pytest.fixture(autouse=True)
def rates(monkeypatch: pytest.MonkeyPatch, own_home: None) -> None:
    """Without trials, which take their time."""
    monkeypatch.setattr(planner, "measure_rates", lambda *given: CPU_RATES)


def run(*arguments: object) -> Any:
    done = CliRunner().invoke(app, ["plan", *map(str, arguments)], catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def as_json(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_a_published_size_by_name_and_a_catalogue_by_size() -> None:
    found = as_json("--model", "opt-175b", "--items", "100000000", "--dtype", "float16", "--max-memory", "cpu=16GiB")
    assert found["parameters"] == 174_604_468_224
    assert (found["items"], found["tokens"], found["exact"]) == (10**8, 14 * 10**8, False)
    assert (found["schedule"], found["disk_free_bytes"]) == ("sweep", None)
    same = as_json("--model", "facebook/opt-175b", "--items", "9", "--dtype", "float16", "--max-memory", "cpu=16GiB")
    assert same["parameters"] == found["parameters"]


def test_nothing_is_left_of_a_size_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    as_json("--model", "opt-125m", "--items", "9", *LIMIT)
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_is_counted_and_its_disk_looked_at(dataset: Dataset, opt: Path, tmp_path: Path) -> None:
    found = as_json("--model", opt, "--data", dataset.path, "--out", tmp_path / "c", *LIMIT)
    assert (found["items"], found["exact"], found["schedule"]) == (len(TEXTS), True, "resident")
    assert found["devices"] == ["cpu"] and found["memory_limit_bytes"] == {"cpu": 6 * 2**30}
    assert found["output_bytes"] == found["sequences"] * (32 * 2 + 16) + len(set(TEXTS)) * 32
    assert found["disk_free_bytes"] > 0
    lines = run("--model", opt, "--data", dataset.path, *LIMIT).stdout
    assert f"{found['tokens']:,} tokens" in lines and lines.startswith(f"model: {opt}")


def test_options_of_extract_are_heard(dataset: Dataset, opt: Path) -> None:
    common = ("--model", opt, "--data", dataset.path, *LIMIT)
    found = as_json(*common, "--schedule", "sweep", "--layers", "1", "--tokens-per-batch", "77", "--shard-rows", "5")
    assert (found["schedule"], found["micro_batch_tokens"], found["macro_batch_rows"]) == ("sweep", 77, 5)
    assert found["places"].keys() == {"around", "block 1"}
    whole, part = as_json(*common), as_json(*common, "--shards", "1/3")
    assert part["sequences"] == -(-whole["sequences"] // 3) and not part["exact"]
    with pytest.raises(ConfigError, match="--layers: expected -1 or 0 to 2"):
        run(*common, "--layers", "3")
    with pytest.raises(ConfigError, match="--max-tokens: expected at most 64"):
        run(*common, "--max-tokens", "65")


def test_a_folder_with_its_configuration_alone(tmp_path: Path, dataset: Dataset) -> None:
    folder = opt_config(tmp_path / "m", "opt-6.7b")
    index = {"metadata": {"total_size": 13_316_947_968}, "weight_map": {"x": "pytorch_model-00001-of-00002.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    found = as_json("--model", folder, "--data", dataset.path, "--dtype", "bfloat16", *LIMIT)
    assert (found["checkpoint_bytes"], found["schedule"]) == (13_316_947_968, "sweep")
    assert not found["exact"]  # there is no tokenizer to count with


def test_word_vectors(tmp_path: Path, dataset: Dataset) -> None:
    file = tmp_path / "words.txt"
    file.write_text("mario 1 2 3\ngame 4 5 6\n")
    found = as_json("--model", file, "--data", dataset.path, *LIMIT)
    assert (found["schedule"], found["parameters"], found["flops"]) == ("resident", 6, 0)
    assert found["micro_batch_tokens"] is None and found["exact"]
    with pytest.raises(ConfigError, match=r"words.txt \(--schedule auto, .*pass --max-memory cpu="):
        run("--model", file, "--data", dataset.path, "--devices", "cpu", "--max-memory", "cpu=1MiB")


def test_the_memory_that_an_error_names_is_enough() -> None:
    asked = ("--model", "opt-125m", "--items", "9", "--devices", "cpu")
    with pytest.raises(ConfigError, match=r"^opt-125m \(--schedule auto, .* found 1.0 MiB to use; pass") as caught:
        run(*asked, "--max-memory", "cpu=1MiB")
    named = str(caught.value).split("--max-memory ")[1].split(" ")[0]
    assert as_json(*asked, "--max-memory", named)["schedule"] == "sweep"


def test_what_is_not_here_is_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*given: Any, **named: Any) -> None:
        raise AssertionError("something was downloaded")

    for name in ("resolve.download_snapshot", "store.download_snapshot", "store.download_wheel"):
        monkeypatch.setattr(f"tcf.assets.{name}", refuse)
    for name in ("minilm", "someone/some-model-that-is-not-here"):
        with pytest.raises(ModelError, match=r"expected a model on this machine, .*downloads nothing"):
            run("--model", name, "--items", "9")
    with pytest.raises(ModelError, match="expected an existing folder or file"):
        run("--model", "opt-7b", "--items", "9")
    assert as_json("--model", "opt-1.3b", "--items", "9", *LIMIT)["parameters"] == 1_315_758_080


def test_a_known_size_that_is_here_is_read_itself(opt: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TCF_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "opt-125m").symlink_to(opt)
    assert as_json("--model", "opt-125m", "--items", "9", *LIMIT)["parameters"] < 100_000


@pytest.mark.parametrize("wrong", [[], ["--items", "9", "--data", "d"], ["--data", "d", "--tokens-per-text", "3"]])
def test_either_a_dataset_or_a_size(wrong: list[str]) -> None:
    with pytest.raises(ConfigError, match="expected either --data alone, or --items"):
        run("--model", "opt-125m", *wrong)


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run("--model", "opt-125m", "--data", tmp_path / "none")


def test_a_disk_that_is_too_small(tmp_path: Path) -> None:
    dataset = save_dataset(tmp_path / "d", TEXTS)
    with pytest.raises(ConfigError, match=r"--out: expected .* of free disk space .*, found 100 B"):
        run("--model", "opt-125m", "--data", dataset.path, "--out", tmp_path, "--max-memory", "disk=100")


def test_the_largest_size_on_a_processor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "host_memory", lambda: (80 * 2**30, 70 * 2**30))
    asked = ("--model", "opt-175b", "--devices", "cpu", "--max-memory", "cpu=64GiB", "--dtype", "bfloat16")
    found = as_json(*asked, "--items", 10**8)
    assert found.keys() >= KEYS
    assert (found["schedule"], found["hidden_states"], found["devices"]) == ("sweep", "memory", ["cpu"])
    assert found["parameters"] == 174_604_468_224
    assert 2 * found["parameters"] == found["checkpoint_bytes"]
    # Every weight at least once, and those of the blocks at most once a macro-batch.
    assert found["checkpoint_bytes"] < found["weight_bytes_read"] <= found["checkpoint_bytes"] * found["macro_batches"]
    assert found["macro_batches"] == -(-(10**8) // found["macro_batch_rows"])
    assert found["flops"] > 2 * 170e9 * found["tokens"]
    assert found["seconds"] >= found["compute_seconds"] == pytest.approx(found["flops"] / CPU_RATES.flops, rel=0.35)
    assert found["items_per_second"] == pytest.approx(10**8 / found["seconds"])
    assert found["peak_memory_bytes"]["cpu"] <= 64 * 2**30 == found["memory_limit_bytes"]["cpu"]
    assert found["output_bytes"] == 10**8 * (12_288 * 2 + 16 + 32)
    told = run(*asked, "--items", 10**8).stdout
    assert "175 billion parameters" in told and "schedule: sweep on cpu" in told and "325 GiB" in told


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--devices", "gpu9"], "--devices"),
        (["--max-memory", "cpu"], "--max-memory: expected PLACE=SIZE"),
        (["--max-memory", "ram=3GiB"], "--max-memory: expected PLACE=SIZE with PLACE one of gpu, cpu, disk"),
        (["--max-memory", "cpu=much"], "--max-memory: expected a size such as 60GiB"),
        (["--max-memory", "cpu=1MiB"], "expected .* found 1.0 MiB"),
        (["--shards", "3/3"], "--shards: expected I/N"),
        (["--schedule", "pipeline", "--devices", "cpu"], "--schedule pipeline: expected several --devices"),
        (["--checkpoint-layers", "0"], "--checkpoint-layers: expected at least 1, found 0"),
        (["--max-tokens", "4000"], "--max-tokens: expected at most 2048"),
    ],
)
def test_options_without_sense_are_named(options: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        run("--model", "opt-125m", "--items", "9", *options)


@pytest.mark.parametrize("options", [["--schedule", "best"], ["--items", "0"], ["--items", "many"], ["--what"]])
def test_options_that_are_not_there_are_refused_with_status_2(options: list[str]) -> None:
    done = run("--model", "opt-125m", "--items", "9", *options)
    assert done.exit_code == 2
    assert options[0] in done.stderr and done.stdout == ""


def test_a_folder_that_is_no_dataset_or_no_model_is_named(opt: Path, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(opt)):
        run("--model", "opt-125m", "--data", opt)
    with pytest.raises(ModelError, match=str(dataset.path)):
        run("--model", dataset.path, "--data", dataset.path)
