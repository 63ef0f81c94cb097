from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from small.encoders.models import made_up_texts, save_dataset, token_ids
from small.extract.extractions import TEXTS
from tcf.common.errors import ConfigError
from tcf.data.item_table import ItemTable
from tcf.data.key_set import KeySet
from tcf.data.keys import sequence_keys
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.tokenize import TextTokenizer, tokenize
from tcf.extract.plan import workload as module
from tcf.extract.plan.workload import workload


@pytest.fixture(scope="module")
def tokenizer(opt: Path) -> TextTokenizer:
    return load_tokenizer(open_model_folder(opt))


def table(folder: Path, texts: list[str]) -> ItemTable:
    return ItemTable.open(save_dataset(folder, texts).path)


def test_a_small_catalogue_is_counted(tmp_path: Path, opt: Path, tokenizer: TextTokenizer) -> None:
    found = workload(table(tmp_path / "d", TEXTS), tokenizer, "", 30)
    read = {tuple(token_ids(opt, text, 30)) for text in TEXTS}
    assert (found.items, found.texts, found.sequences) == (len(TEXTS), len(set(TEXTS)), len(read))
    assert found.tokens == sum(map(len, read)) and found.longest == 30 and found.exact
    assert found.squares == sum(len(ids) ** 2 for ids in read)
    assert found.group_tokens == max(len(ids) * sum(len(other) == len(ids) for other in read) for ids in read)
    assert found.tokens_a_text == pytest.approx(found.tokens / found.sequences)
    assert found.tokenise_seconds > 0


def test_prefix_and_limit_count(tmp_path: Path, opt: Path, tokenizer: TextTokenizer) -> None:
    items = table(tmp_path / "d", TEXTS)
    assert workload(items, tokenizer, "", 4).tokens == sum(map(len, {tuple(token_ids(opt, text, 4)) for text in TEXTS}))
    with_prefix = {tuple(token_ids(opt, "the game " + text, 30)) for text in TEXTS}
    assert workload(items, tokenizer, "the game ", 30).tokens == sum(map(len, with_prefix))
    with pytest.raises(ConfigError, match="at most 64"):
        workload(items, tokenizer, "", 65)


def test_what_every_cache_has_is_not_computed(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    items = table(tmp_path / "d", TEXTS)
    sequences = tokenize(tokenizer, sorted(set(TEXTS)), max_tokens=30)
    keys = sequence_keys(sequences.tokens, sequences.offsets)
    whole = workload(items, tokenizer, "", 30)
    half = workload(items, tokenizer, "", 30, [KeySet(keys[::2])])
    assert half.sequences == whole.sequences - len(keys[::2])
    assert half.tokens == whole.tokens - int(sequences.lengths[::2].sum())
    # A sequence that one of two caches lacks is computed.
    assert workload(items, tokenizer, "", 30, [KeySet(keys), KeySet(keys[::2])]).sequences == half.sequences
    nothing = workload(items, tokenizer, "", 30, [KeySet(keys)])
    assert (nothing.sequences, nothing.tokens, nothing.longest) == (0, 0, 0)
    assert nothing.texts == whole.texts


def test_an_empty_cache_has_nothing(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    items = table(tmp_path / "d", TEXTS)
    found, whole = workload(items, tokenizer, "", 30, [KeySet()]), workload(items, tokenizer, "", 30)
    assert (found.sequences, found.tokens) == (whole.sequences, whole.tokens)


def test_a_large_catalogue_is_sampled(
    tmp_path: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4,000 items of 3,000 texts, long ones at the end, so that a sample of the beginning alone would be wrong."""
    titles = sorted(made_up_texts(3000), key=len)
    items = table(tmp_path / "d", titles + titles[2000:])
    whole = workload(items, tokenizer, "", 30)
    assert whole.exact and whole.texts == 3000
    monkeypatch.setattr(module, "_SAMPLE", 800)
    found = workload(items, tokenizer, "", 30)
    assert not found.exact and found.items == 4000
    assert found.texts == 3000  # still counted
    assert found.tokens_a_text == pytest.approx(whole.tokens_a_text, rel=0.15)
    assert found.tokens == pytest.approx(whole.tokens, rel=0.15)
    assert workload(items, tokenizer, "", 30).tokens == found.tokens  # the same sample again
    monkeypatch.setattr(module, "_COUNTED", 3000)
    assert 3000 <= workload(items, tokenizer, "", 30).texts <= 4000  # as few of a sample are equal


def test_a_sample_is_of_all_groups_of_rows(
    tmp_path: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 groups of 10 rows: short texts in the first half, long ones in the second."""
    items = table(tmp_path / "d", ["x"])
    texts = [f"{'game ' * (1 if row < 500 else 9)}{row}" for row in range(1000)]
    rows = pa.table({"item_id": pa.array(map(str, range(1000)), pa.large_string()), "text": texts})
    pa.parquet.write_table(rows, items.path / "items.parquet", row_group_size=10)
    monkeypatch.setattr(module, "_SAMPLE", 64)
    opened = ItemTable(items.path, items.fingerprint, 1000)
    assert opened.groups() == 100
    assert [len(part) for part in opened.texts(100, [0, 99])] == [20]
    found = workload(opened, tokenizer, "", 30)
    short, long = (len(token_ids(tokenizer.folder.path, text, 30)) for text in ("game 123", "game " * 9 + "623"))
    assert found.tokens_a_text == pytest.approx((short + long) / 2, rel=0.1)


def test_tokens_are_estimated_from_bytes_where_there_is_no_tokenizer(tmp_path: Path) -> None:
    # 33 bytes are 10 tokens at 3.3 a token, and one more that the tokenizer adds, for 0 bytes too; é has two bytes.
    items = table(tmp_path / "d", ["x" * 33, "x" * 31 + "é", "", "y" * 1000])
    found = workload(items, None, "", 30)
    assert (found.sequences, found.tokens, found.longest, found.exact) == (4, 11 + 11 + 1 + 30, 30, False)
    assert workload(items, None, "z" * 33, 30).tokens == 21 + 21 + 11 + 30
    assert found.tokenise_seconds == 0.0


def test_estimated_tokens_of_real_titles_are_near(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    texts = [f"{word} {number}" for number, word in enumerate(np.repeat(["Legend of Zelda", "Mario"], 10))]
    found = workload(table(tmp_path / "d", texts), None, "", 30)
    assert found.tokens == sum(-(-len(text) * 10 // 33) + 1 for text in texts)
