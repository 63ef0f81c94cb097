"""With `--json`, every command prints one document on standard output, and nothing else there."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import torch
import typer
from typer.testing import CliRunner

from small.encoders.raw_opt import save_settings, small_opt
from small.extract.plans import CPU_RATES
from small.launch.pipelines import workplace
from small.launch.studies import changed
from tcf.commands.app import app
from tcf.commands.output import as_lines, print_result
from tcf.extract.plan import planner

METRICS = (
    "hr@10 ndcg@10 mrr@10 mrr users targets users_without_training candidates targets_outside_catalogue "
    "several_targets catalogue exclude seen untrained_users split intervals"
)
TRAINED = "best_epoch validation_hr@10 validation_ndcg@10 epochs parameters users users_left_out targets device threads"
COUNTS = "items texts sequences computed texts_cut unknown_words texts_without_tokens texts_only_prompt"
EXTRACTED = f"caches parquet {COUNTS} max_tokens"
PIPELINE = """
out = "out"
[data]
raw = "raw"
format = "tcf"
[train.id]
items = "id"
width = 8
epochs = 1
devices = "cpu"
[evaluate]
baselines = ["popularity"]
recommend = 2
device = "cpu"
"""
# In the order in which one makes what another reads; the keys of each document, `*` for more that others test.
COMMANDS = {
    "data download ml-100k": "name path format",
    "data prepare tcf raw --out data": "format path fingerprint items split users examples *",
    "data describe data": "format path fingerprint items split users examples plots *",
    "plan --model model --data data --devices cpu --out cache": "model schedule reason dtype devices places *",
    "extract --data data --model model --out cache --devices cpu": f"{EXTRACTED} shards elsewhere",
    "data overlap data data --cache cache": "a b ids texts folded_texts words vectors",
    "cache describe cache": "path kind fingerprint encoder width *",
    "cache verify cache": "path kind shards rows bytes missing strays verified",
    "cache export cache --out v.csv": "out format vectors width type",
    "cache prune cache --data data --out pruned": "out kind kept dropped shards",
    "cache merge cache pruned --out merged": "out kind rows shards datasets repeated",
    "cache compare cache merged --data data": "compared only_a only_b in_neither largest_difference *",
    "convert bin --out converted --verify": "folder parameters dtype made verified sample",
    "convert converted --verify": "folder verified sample",
    "train --dry-run --data data --items id --out run --devices cpu": "device users users_left_out rows targets *",
    "train --data data --items id --epochs 1 --width 8 --out run --devices cpu": f"run {TRAINED} trained",
    "combine run --baseline popularity --out combined --device cpu": (
        "combination members validation_hr@10 validation_ndcg@10 users fitted_targets"
    ),
    "evaluate run --out e --device cpu": f"evaluation {METRICS}",
    "recommend run --k 2 --out r.parquet --device cpu": (
        "out k users users_with_fewer users_never_trained catalogue exclude untrained_users search"
    ),
    "runs .": "run state epochs best_epoch validation_hr@10 validation_ndcg@10 settings problem *",
    "init quickstart --out i.toml": "file run",
    "pipeline q.toml": "dataset extraction runs combinations evaluations recommendations",
    "study run q.toml": "dataset extraction runs combinations evaluations recommendations",
    "study run s.toml": "study results comparisons recommendations failed left",
    "study status s.toml": "study activity host process stages seconds_left units",
    "compare e popularity=out/evaluations/popularity --resamples 50 --flips 49": (
        "format evaluations rankings split users targets candidates resamples flips seed confidence means differences "
        "served"
    ),
    "doctor .": "versions cuda_devices torch_cuda driver faiss notes machine home stored found problems",
    "doctor --clean partial": "to_be_removed removed freed_bytes",
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What every command printed on standard output, and its exit status."""
    folder = tmp_path_factory.mktemp("json")
    workplace(folder)
    (folder / "q.toml").write_text(PIPELINE)
    (folder / "s.toml").write_text(changed('items = ["text", "id"]', 'items = ["id"]').replace('"out"', '"study"'))
    opt = small_opt()
    (folder / "bin").mkdir()
    torch.save(opt.state_dict(), folder / "bin" / "pytorch_model.bin")
    save_settings(opt, folder / "bin", tokenizer="model")
    (folder / "home" / "datasets" / "ml-100k").mkdir(parents=True)
    for name in ("ml-100k.inter", "ml-100k.item"):
        (folder / "home" / "datasets" / "ml-100k" / name).touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TCF_HOME", str(folder / "home"))
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        patch.setattr(planner, "measure_rates", lambda *given: CPU_RATES)
        yield {words: CliRunner().invoke(app, [*words.split(), "--json"]) for words in COMMANDS}


@pytest.mark.parametrize(("words", "keys"), COMMANDS.items(), ids=COMMANDS)
def test_one_document_with_these_keys(printed: dict[str, Any], words: str, keys: str) -> None:
    done = printed[words]
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    named = keys.removesuffix(" *").split()
    for entry in document if isinstance(document, list) else [document]:
        assert [key for key in entry if key in named or not keys.endswith("*")] == named


def test_numbers_are_whole_and_paths_are_texts(printed: dict[str, Any]) -> None:
    metrics = json.loads(printed["evaluate run --out e --device cpu"].stdout)
    written = json.loads(Path("e/metrics.json").read_text())
    assert {"evaluation": "e", **written} == metrics
    told = json.loads(printed["pipeline q.toml"].stdout)
    assert [entry["name"] for entry in told["evaluations"]] == ["popularity", "id"]
    assert told["recommendations"] == {"id": str(Path("out/recommendations/id.parquet").absolute())}
    assert told["runs"][0]["run"] == str(Path("out/runs/id").absolute())


def leaves(command: Any, path: Sequence[str] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(getattr(command, "commands", None), dict):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*path, name))
    else:
        yield " ".join(path), command


def test_no_command_lacks_it() -> None:
    commands = dict(leaves(typer.main.get_command(app)))
    options = {name: [option for p in command.params for option in p.opts] for name, command in commands.items()}
    assert [name for name, found in options.items() if "--json" not in found] == []
    untested = [name for name in commands if not any(words.startswith(name) for words in COMMANDS)]
    assert untested == ["search"]  # tests/launch/search/test_search.py


def test_values_for_people() -> None:
    values: dict[str, Any] = {
        "hr@10": 0.12344,
        "validation_mrr": 0.5,
        "test_hr@10": 0.25,
        "item_share": 0.25,
        "jaccard": 0.5,
        "uses_in_a_known_in_b": 0.75,
        "selection_validation_hr@10": 0.125,
        "users": 1_234_567,
        "cosine": 0.123456,
        "bytes": 2048,
        "read_seconds": 83.0,
        "done": True,
        "cut": None,
        "layers": [1, 2],
        "none_of_them": [],
        "a": {"b_c": {}},
        "datasets": [{"path": Path("d")}, {"path": Path("e")}],
    }
    assert as_lines(values).splitlines() == [
        "hr@10: 12.34%",
        "validation mrr: 50.00%",
        "test hr@10: 25.00%",
        "item share: 25.00%",
        "jaccard: 50.00%",
        "uses in a known in b: 75.00%",
        "selection validation hr@10: 12.50%",
        "users: 1,234,567",
        "cosine: 0.1235",
        "bytes: 2.0 KiB",
        "read seconds: 0:01:23",
        "done: yes",
        "cut: none",
        "layers: 1, 2",
        "none of them: none",
        "a:",
        "  b c: none",
        "datasets:",
        "  path: d",
        "datasets:",
        "  path: e",
    ]


def test_names_that_are_no_utf_8(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    path = Path(os.fsdecode(b"a\xff"))
    print_result({"path": path}, as_json=True)
    assert json.loads(capsysbinary.readouterr().out) == {"path": str(path)}
    print_result({"path": path}, as_json=False)
    assert capsysbinary.readouterr().out == b"path: a\\udcff\n"


def test_numbers_that_json_does_not_know_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"a": float("nan"), "b": (Path("c"), float("inf"))}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": ["c", None]}
