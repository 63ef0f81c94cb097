import pytest

from tcf.assets.weight_index import indexed_names


def test_every_file_is_named_once_in_the_order_of_names() -> None:
    index = {"metadata": {"total_size": 3}, "weight_map": {"a": "2.bin", "b": "1.bin", "c": "2.bin"}}
    assert indexed_names(index) == ["1.bin", "2.bin"]
    assert indexed_names({"weight_map": {}}) == []


@pytest.mark.parametrize("content", [None, [], "weight_map", {}, {"weight_map": ["1.bin"]}, {"weight_map": {"a": 1}}])
def test_a_damaged_index_names_nothing(content: object) -> None:
    assert indexed_names(content) is None
