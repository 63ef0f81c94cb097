import math
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

from tcf.common.errors import ConfigError
from tcf.config import losses
from tcf.config.evaluate import EvaluateConfig
from tcf.config.extract import ExtractConfig, Pooling
from tcf.config.fields import from_mapping, read_toml, to_mapping, write_toml
from tcf.config.losses import LOSSES, LossInfo, LossName, loss_info, negatives_help
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RAW_FORMATS, RawFormat
from tcf.config.train import TrainConfig

KINDS = (PrepareConfig, ExtractConfig, TrainConfig, EvaluateConfig)


def test_defaults_are_the_studys() -> None:
    prepare, extract, train = PrepareConfig(), ExtractConfig(), TrainConfig()
    assert (prepare.min_history, prepare.keep_last, prepare.sample_users) == (5, 23, None)
    assert (extract.max_tokens, extract.pooling, extract.storage) == (30, "auto", "float16")
    assert (train.batch_size, train.learning_rate, train.weight_decay, train.epochs) == (64, 1e-3, 0.1, 200)
    assert (train.history, train.blocks, train.heads, train.dropout) == (20, 2, 2, 0.1)
    assert (train.width, train.dtl_layers, train.resolved_patience) == (512, 2, 5)
    assert TrainConfig(items="id").resolved_patience == 10
    assert TrainConfig(items="id", patience=3).resolved_patience == 3
    drawn = [TrainConfig(loss=loss).resolved_negatives for loss in ("sampled", "bce", "gbce")]
    assert drawn == [8192, 1, 256]
    assert TrainConfig(loss="bce", negatives=7).resolved_negatives == 7
    assert [TrainConfig(items=items).reads_text for items in ("text", "id", "text+id")] == [True, False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_has_a_help_text(kind: Any) -> None:
    for entry in fields(kind):
        assert entry.metadata["help"].endswith(".")


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_through_toml(kind: Any, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(write_toml(to_mapping(kind())))
    assert from_mapping(kind, read_toml(tmp_path / "c.toml"), "c.toml") == kind()


def test_other_values_there_and_back(tmp_path: Path) -> None:
    config = PrepareConfig(text_columns=("title", "genre ≥ é"), sample_users=7, bad_rows="skip")
    (tmp_path / "c.toml").write_bytes(write_toml({**to_mapping(config), "absent": None}))
    values = read_toml(tmp_path / "c.toml")
    assert values["text_columns"] == ["title", "genre ≥ é"]
    assert "absent" not in values
    assert from_mapping(PrepareConfig, values, "c.toml") == config
    assert "sample_users" not in to_mapping(PrepareConfig())


def test_layers_there_and_back(tmp_path: Path) -> None:
    config = ExtractConfig(layers=(0, 6, -1), token_states=3, prefix='query: "é"', parquet=True)
    (tmp_path / "c.toml").write_bytes(write_toml(to_mapping(config)))
    values = read_toml(tmp_path / "c.toml")
    assert (values["layers"], values["token_states"]) == ([0, 6, -1], 3)
    assert from_mapping(ExtractConfig, values, "c.toml") == config


@pytest.mark.parametrize(
    ("settings", "pooled"),
    [
        ({}, (-1,)),
        ({"layers": (2,)}, (2,)),
        ({"layers": (3, 0)}, (3, 0)),
        ({"token_states": 4}, ()),
        ({"token_states": 0}, ()),
        ({"token_states": 4, "layers": (-1, 2)}, (-1, 2)),
    ],
)
def test_the_last_layer_is_pooled_unless_something_else_is_asked_for(settings: Any, pooled: tuple[int, ...]) -> None:
    assert ExtractConfig(**settings).pooled_layers == pooled


@pytest.mark.parametrize(("shards", "found"), [(None, None), ("0/1", (0, 1)), ("2/3", (2, 3)), ("007/12", (7, 12))])
def test_a_part_of_the_shards(shards: str | None, found: tuple[int, int] | None) -> None:
    assert ExtractConfig(shards=shards).shard_slice == found


@pytest.mark.parametrize(
    "shards", ["3/3", "4/3", "0/0", "-1/3", "1", "1/", "/3", "1/3/5", "1 / 3", "1/x", "", "1/3\n", "١/٣"]
)
def test_no_part_of_the_shards(shards: str) -> None:
    with pytest.raises(ConfigError, match=r"^--shards: expected I/N with 0 <= I < N, such as 0/4, found "):
        ExtractConfig(shards=shards)


def test_an_integer_serves_as_a_float() -> None:
    config = from_mapping(TrainConfig, {"weight_decay": 0}, "c.toml")
    assert isinstance(config.weight_decay, float)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (ExtractConfig, {"max_token": 3}, r"c.toml: unknown setting max_token; did you mean max_tokens\?$"),
        (ExtractConfig, {"zzz": 3}, r"c.toml: unknown setting zzz \(known: layers, token_states, pooling, prefix"),
        (
            ExtractConfig,
            {"pooling": "sum"},
            "c.toml: pooling: expected one of auto, mean, first, last, .*, found 'sum'",
        ),
        (ExtractConfig, {"pooling": ["mean"]}, "c.toml: pooling: expected one of"),
        (ExtractConfig, {"max_tokens": "30"}, "c.toml: max_tokens: expected a whole number, found '30'"),
        (ExtractConfig, {"max_tokens": 30.0}, "c.toml: max_tokens: expected a whole number, found 30.0"),
        (ExtractConfig, {"max_tokens": True}, "c.toml: max_tokens: expected a whole number, found true"),
        (ExtractConfig, {"tokens_per_batch": "x"}, "c.toml: tokens_per_batch: expected a whole number, found 'x'"),
        (ExtractConfig, {"max_tokens": 1}, "c.toml: --max-tokens: expected at least 2, found 1"),
        (ExtractConfig, {"tokens_per_batch": 0}, "c.toml: --tokens-per-batch: expected at least 1, found 0"),
        (ExtractConfig, {"devices": 0}, "c.toml: devices: expected a string, found 0"),
        (ExtractConfig, {"device": "cpu"}, "c.toml: unknown setting device; did you mean devices?"),
        (
            ExtractConfig,
            {"schedule": "swept"},
            "c.toml: schedule: expected one of auto, resident, pipeline, sweep, dis",
        ),
        (ExtractConfig, {"checkpoint_layers": 0}, "c.toml: --checkpoint-layers: expected at least 1, found 0"),
        (ExtractConfig, {"max_memory": 60}, "c.toml: max_memory: expected a string, found 60"),
        (ExtractConfig, {"shards": 3}, "c.toml: shards: expected a string, found 3"),
        (ExtractConfig, {"shards": "0/3", "parquet": True}, "c.toml: --parquet: expected no --shards"),
        (ExtractConfig, {"layers": 3}, "c.toml: layers: expected a list of whole numbers, found 3"),
        (ExtractConfig, {"layers": "0,1"}, "c.toml: layers: expected a list of whole numbers, found '0,1'"),
        (ExtractConfig, {"layers": [0, "1"]}, "c.toml: layers: expected a list of whole numbers"),
        (ExtractConfig, {"layers": [0, True]}, "c.toml: layers: expected a list of whole numbers"),
        (ExtractConfig, {"layers": [0, 1.0]}, "c.toml: layers: expected a list of whole numbers"),
        (ExtractConfig, {"layers": [-1, 2, -1]}, "c.toml: --layers: expected each layer once, found -1,2,-1"),
        (ExtractConfig, {"token_states": [1]}, r"c.toml: token_states: expected a whole number, found \[1\]"),
        (ExtractConfig, {"token_states": True}, "c.toml: token_states: expected a whole number, found true"),
        (ExtractConfig, {"prefix": 1}, "c.toml: prefix: expected a string, found 1"),
        (ExtractConfig, {"storage": "bfloat16"}, "c.toml: storage: expected one of float16, float32, found 'bfloat16'"),
        (ExtractConfig, {"token_storage": "int8"}, "c.toml: token_storage: expected one of float16, bfloat16, float32"),
        (ExtractConfig, {"parquet": 1}, "c.toml: parquet: expected true or false, found 1"),
        (ExtractConfig, {"shard_rows": 0}, "c.toml: --shard-rows: expected at least 1, found 0"),
        (PrepareConfig, {"text_columns": 1}, "c.toml: text_columns: expected a list of strings, found 1"),
        (PrepareConfig, {"text_columns": [1]}, "c.toml: text_columns: expected a list of strings"),
        (TrainConfig, {"dropout": True}, "c.toml: dropout: expected a number, found true"),
        (TrainConfig, {"dropout": 1}, "c.toml: --dropout: expected at least 0 and less than 1, found 1.0"),
        (TrainConfig, {"save_minutes": math.inf}, "c.toml: --save-minutes: expected a finite number, found inf"),
        (TrainConfig, {"clip_norm": 0.0}, "c.toml: --clip-norm: expected more than 0, found 0; leave it out"),
        (TrainConfig, {"step_factor": 0.0}, "c.toml: --step-factor: expected more than 0, found 0; leave it out"),
        (TrainConfig, {"dropout": float("nan")}, "c.toml: --dropout: expected at least 0, found nan"),
        (TrainConfig, {"width": 5}, "c.toml: --width: expected a multiple of --heads 2, found 5"),
        (TrainConfig, {"whiten": 3, "pca": 3}, "c.toml: --pca: expected either --pca or --whiten, found both"),
        (
            TrainConfig,
            {"loss": "gbce", "gbce_t": 1.5},
            "--gbce-t: expected at least 0 and at most 1, found 1.5",
        ),
        (TrainConfig, {"save_minutes": -1}, "c.toml: --save-minutes: expected at least 0, found -1.0"),
        (TrainConfig, {"save_minutes": float("nan")}, "c.toml: --save-minutes: expected at least 0, found nan"),
        (TrainConfig, {"loss": "softmax"}, "c.toml: loss: expected one of in-batch, full, sampled, bce, gbce, found"),
        (TrainConfig, {"device": "cpu"}, "c.toml: unknown setting device; did you mean devices?"),
        (TrainConfig, {"batch_size": 1}, "c.toml: --batch-size: expected at least 2, found 1"),
    ],
)
def test_what_cannot_be_is_refused(kind: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(kind, values, "c.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"a = ", "expected valid TOML"),
        (b"\xff", "expected text in UTF-8, found another encoding at byte 0"),
        (b"a=1\na=2", "expected valid TOML"),
    ],
)
def test_files_that_are_not_toml(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "c.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"c\.toml: {message}"):
        read_toml(tmp_path / "c.toml")


@pytest.mark.parametrize("kind", [PrepareConfig, TrainConfig])
def test_a_seed_that_no_generator_takes_is_refused(kind: type[PrepareConfig] | type[TrainConfig]) -> None:
    assert kind(seed=2**63 - 1).seed == 2**63 - 1
    with pytest.raises(ConfigError, match="--seed: expected at most 9223372036854775807"):
        kind(seed=2**63)


def test_every_loss_and_raw_format_is_described_once() -> None:
    assert [loss.name for loss in LOSSES] == [*get_args(LossName)]
    assert [entry.name for entry in RAW_FORMATS] == [*get_args(RawFormat)]
    assert get_args(ExtractConfig.__annotations__["pooling"]) == ("auto", *get_args(Pooling))


def test_losses_that_read_the_catalogue_name_some_that_do_not() -> None:
    for loss in LOSSES:
        assert bool(loss.instead) == loss.reads_catalogue
        assert not any(loss_info(name).reads_catalogue for name in loss.instead)


def test_a_loss_that_draws_items_is_in_the_help_by_its_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert negatives_help() == (
        "Number of negatives: for each batch with sampled (default 8192), for each target with bce (default 1) or gbce "
        "(default 256)."
    )
    more: Any = LossInfo("in-batch", "", negatives=5), LossInfo("full", "", negatives=6, drawn_for="batch")
    monkeypatch.setattr(losses, "LOSSES", (*LOSSES[2:], *more))
    assert negatives_help() == (
        "Number of negatives: for each batch with sampled (default 8192) or full (default 6), for each target with bce "
        "(default 1) or gbce (default 256) or in-batch (default 5)."
    )


def test_settings_named_for_losses_and_formats_are_there() -> None:
    assert {name for loss in LOSSES for name in loss.options} <= {entry.name for entry in fields(TrainConfig)}
    assert {name for entry in RAW_FORMATS for name in entry.options} <= {entry.name for entry in fields(PrepareConfig)}
