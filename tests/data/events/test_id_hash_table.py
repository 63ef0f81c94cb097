"""The table of strings of one length, against a dictionary of Python."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcf.data.events import id_hash_table
from tcf.data.events.id_hash_table import IdHashTable, words_of


def encode(table: IdHashTable, strings: list[str]) -> list[int]:
    found = words_of(pa.array(strings, pa.large_string()))
    assert found is not None and found[0] == table.length
    codes: list[int] = table.encode(found[1]).tolist()
    return codes


def numbered(strings: list[str], numbers: dict[str, int]) -> list[int]:
    return [numbers.setdefault(string, len(numbers)) for string in strings]


@settings(deadline=None, max_examples=80)
@given(st.sampled_from([1, 3, 8, 9, 16, 17, 32, 63, 64]), st.data())
def test_codes_number_strings_by_first_appearance(length: int, data: st.DataObject) -> None:
    """Strings that differ in one place only, wherever it is, and equal neighbours."""
    at = st.integers(0, length - 1)
    letters = st.sampled_from("abc")
    strings = st.builds(lambda place, letter: "a" * place + letter + "a" * (length - 1 - place), at, letters)
    table, numbers = IdHashTable(length), dict[str, int]()
    for part in data.draw(st.lists(st.lists(strings, min_size=1, max_size=12), min_size=1, max_size=6)):
        assert encode(table, part) == numbered(part, numbers)
    assert table.values().to_pylist() == list(numbers)
    assert len(table) == len(numbers)


@pytest.mark.parametrize("slots", ["all the same", "few", "the last"])
def test_strings_that_want_the_same_slot(slots: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def first_slots(self: IdHashTable, words_NW: np.ndarray) -> np.ndarray:
        few = words_NW[:, 0].astype(np.int64) % 3
        match slots:
            case "few":
                return few
            case "the last":  # the next one is the first
                return len(self._slots_S) - 1 - few
            case _:
                return np.zeros(len(words_NW), np.int64)

    monkeypatch.setattr(IdHashTable, "_first_slots", first_slots)
    table, numbers, rng = IdHashTable(2), dict[str, int](), np.random.default_rng(0)
    for _ in range(5):
        part = [f"{number:02d}" for number in rng.integers(0, 60, 40)]
        assert encode(table, part) == numbered(part, numbers)
    assert table.values().to_pylist() == list(numbers)


def test_a_table_that_grows_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_hash_table, "_ROWS", 16)
    table, numbers, rng = IdHashTable(10), dict[str, int](), np.random.default_rng(1)
    for _ in range(20):
        part = [f"{number:010d}" for number in rng.integers(0, 3000, 500)]
        assert encode(table, part) == numbered(part, numbers)
    assert len(table) > 2500
    assert table.values().to_pylist() == list(numbers)


def test_which_strings_a_table_takes() -> None:
    for strings in (["a", "bc"], ["", ""], ["x" * 65], []):
        assert words_of(pa.array(strings, pa.large_string())) is None
    found = words_of(pa.array(["skip", "abcd", "é-x", "skip"], pa.large_string()).slice(1, 2))
    assert found is not None
    length, words_NW = found
    assert length == 4
    assert words_NW.view(np.uint8)[:, :4].tobytes() == "abcdé-x".encode()
