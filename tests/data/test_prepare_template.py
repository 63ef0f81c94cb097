"""Texts made by a template, from raw files to the dataset, in both raw formats."""

from pathlib import Path
from typing import Any

import pytest

from small.data.raw import HISTORIES, ITEMS, TEXTS, folder_with, histories_of, texts_of, with_engine, write_files
from tcf.common.errors import ConfigError, DataError
from tcf.common.manifest import read_manifest
from tcf.config.fields import from_mapping, to_mapping
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import DATASET
from tcf.data.prepare import prepare
from tcf.data.raw.recbole import read_recbole
from tcf.data.raw.study.read_study import read_tcf
from tcf.data.text_template import parse_template

RECBOLE = {
    "x.item": "price:float\titem_id:token\ttitle:token_seq\tcategory:token_seq\n"
    "9.5\ta\tAlpha\tfun\n7\tb\tBeta\t \n\tc\t\tsad  mad\n3\td\t\t\n",
    "x.inter": "user_id:token\titem_id:token\nu\tc\nu\ta\nu\td\nu\tb\n",
}


def config_of(template: str, **settings: Any) -> PrepareConfig:
    return PrepareConfig(min_history=3, template=template, **settings)


def test_recbole_columns_of_any_type_go_by_their_bare_names(tmp_path: Path) -> None:
    template = parse_template("{item_id}: {title} ({price}), {category}!")
    log = with_engine(read_recbole)(write_files(tmp_path, RECBOLE), bad_rows="error", template=template)
    assert texts_of(log) == {"a": "a: Alpha (9.5), fun!", "b": "b: Beta (7!", "c": "c: sad  mad!", "d": "d: 3!"}


def test_a_row_without_the_fields_has_no_text(tmp_path: Path) -> None:
    write_files(tmp_path, RECBOLE)
    template = parse_template("Item: {title}. {category}.")
    with pytest.raises(DataError, match=r"x.item:5: expected an item with a text, found 'd\\t'; 1 of this kind"):
        with_engine(read_recbole)(tmp_path, bad_rows="error", template=template)
    log = with_engine(read_recbole)(tmp_path, bad_rows="skip", template=template)
    assert texts_of(log) == {"a": "Item: Alpha. fun.", "b": "Item: Beta.", "c": "Item: sad  mad."}
    assert histories_of(log) == {"u": ["c", "a", "b"]}
    assert log.skipped == {"empty_text": 1, "event_of_skipped_item": 1}


def test_a_field_of_no_recbole_column_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, RECBOLE)
    found = r"^--template: .*/x.item: expected one of its columns \(price, item_id, title, category\), found brand$"
    with pytest.raises(ConfigError, match=found):
        with_engine(read_recbole)(tmp_path, bad_rows="skip", template=parse_template("{title} {brand}"))


@pytest.mark.parametrize("header", ["", "item_id\tname\n"])
def test_the_column_of_format_tcf_is_called_title(tmp_path: Path, header: str) -> None:
    folder_with(tmp_path, header + ITEMS)
    log = with_engine(read_tcf)(tmp_path, bad_rows="error", template=parse_template("Song: {title}"))
    assert texts_of(log) == {item: f"Song: {text}" for item, text in TEXTS.items()}
    assert histories_of(log) == HISTORIES
    with pytest.raises(
        ConfigError, match=r"^--template: .*/items.tsv: expected one of its columns \(title\), found name$"
    ):
        with_engine(read_tcf)(tmp_path, bad_rows="error", template=parse_template("{name}"))


def test_rows_of_format_tcf_without_a_title_are_reported_as_they_are_written(tmp_path: Path) -> None:
    folder_with(tmp_path, "d\t \n" + ITEMS + "a\tAgain\n")
    template = parse_template("Song: {title}.")
    with pytest.raises(DataError, match=r"items.tsv:1: expected an item with a text, found 'd\\t'; "):
        with_engine(read_tcf)(tmp_path, bad_rows="error", template=template)
    log = with_engine(read_tcf)(tmp_path, bad_rows="skip", template=template)
    assert log.skipped == {"empty_text": 1, "duplicate_item": 1}
    assert texts_of(log) == {item: f"Song: {text}." for item, text in TEXTS.items()}


def test_a_prepared_dataset_has_the_texts_and_names_the_template(tmp_path: Path) -> None:
    raw = write_files(tmp_path / "raw", RECBOLE)
    config = config_of("{title}. {category}", bad_rows="skip")
    dataset = prepare("recbole", raw, tmp_path / "out", config)
    assert texts_of(dataset) == {"a": "Alpha. fun", "b": "Beta", "c": "sad  mad"}
    assert dataset.statistics["skipped"] == {"empty_text": 1, "event_of_skipped_item": 1}
    assert read_manifest(tmp_path / "out", DATASET).config["template"] == "{title}. {category}"
    assert prepare("recbole", raw, tmp_path / "out", config).fingerprint == dataset.fingerprint
    with pytest.raises(DataError, match=r"with others: template: \{title\}. \{category\} found, \{title\} requested;"):
        prepare("recbole", raw, tmp_path / "out", config_of("{title}", bad_rows="skip"))


def test_columns_joined_are_a_template_with_spaces(tmp_path: Path) -> None:
    raw = write_files(tmp_path / "raw", RECBOLE)
    joined = PrepareConfig(min_history=3, text_columns=("category", "title"), bad_rows="skip")
    first = prepare("recbole", raw, tmp_path / "joined", joined)
    second = prepare("recbole", raw, tmp_path / "template", config_of("{category} {title}", bad_rows="skip"))
    assert texts_of(first) == texts_of(second) == {"a": "fun Alpha", "b": "Beta", "c": "sad  mad"}
    assert first.fingerprint == second.fingerprint


def test_a_template_reaches_the_reader_of_format_tcf(tmp_path: Path) -> None:
    raw = folder_with(tmp_path / "raw")
    assert texts_of(prepare("tcf", raw, tmp_path / "out", config_of("<{title}>"))) == {"a": "<Alpha>", "b": "<Beta>"}


@pytest.mark.parametrize("format", ["tcf", "recbole"])
def test_what_is_no_template_is_refused_before_anything_is_read(tmp_path: Path, format: Any) -> None:
    with pytest.raises(ConfigError, match="^--template: expected braces in pairs"):
        prepare(format, tmp_path / "nowhere", tmp_path / "out", config_of("{title"))


@pytest.mark.parametrize("template", ["{title}", ""])
def test_two_ways_to_ask_for_a_text_are_refused(template: str) -> None:
    with pytest.raises(ConfigError, match="^--template: expected either --template or --text-columns, found both;"):
        PrepareConfig(text_columns=("title",), template=template)
    with pytest.raises(ConfigError, match=r"^p.toml: \[data\]: --template: expected either"):
        from_mapping(PrepareConfig, {"text_columns": ["title"], "template": template}, "p.toml: [data]")


def test_a_template_is_a_setting_of_files_too() -> None:
    config = from_mapping(PrepareConfig, {"template": "{title}. {category}"}, "p.toml: [data]")
    assert config == PrepareConfig(template="{title}. {category}")
    assert from_mapping(PrepareConfig, to_mapping(config), "again") == config
    assert "template" not in to_mapping(PrepareConfig())
    with pytest.raises(ConfigError, match="p.toml: template: expected a string, found 1"):
        from_mapping(PrepareConfig, {"template": 1}, "p.toml")
