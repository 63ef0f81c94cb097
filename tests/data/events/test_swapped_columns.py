"""Swapped columns of users and items: an error or a warning with one id of each side, and no false alarm."""

import re
from pathlib import Path

import pytest

from small.data.raw import write_files
from tcf.common.errors import DataError
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.data.prepare import prepare

ITEMS = ["i1", "i2", "i3", "i4"]
# The columns are the other way round: user "i1" has the items u1, u2, u3, and so on.
SWAPPED = [(item, f"u{number}") for item in ITEMS[:3] for number in (1, 2, 3)]
SETTINGS = {"min_history": 3, "events": "e.csv", "items": "i.csv", "item_id_column": "key", "text_columns": ("title",)}


def table(folder: Path, pairs: list[tuple[str, str]], items: list[str] = ITEMS) -> Path:
    events = "".join(f"{user},{item}\n" for user, item in pairs)
    texts = "".join(f"{item},Title {item}\n" for item in items)
    return write_files(folder, {"e.csv": f"who,what\n{events}", "i.csv": f"key,title\n{texts}"})


def prepared(raw: Path, user: str = "who", item: str = "what", **settings: str) -> None:
    config = PrepareConfig(user_column=user, item_column=item, **{**SETTINGS, **settings})  # type: ignore[arg-type]
    prepare("table", raw, raw.parent / "out", config)


def test_no_item_known_and_users_that_are_items(tmp_path: Path) -> None:
    raw = table(tmp_path / "raw", SWAPPED)
    for mode in ("error", "skip"):
        with pytest.raises(DataError) as raised:
            prepared(raw, bad_rows=mode)
        assert str(raised.value) == (
            f"{raw}/e.csv:2: expected item ids of {raw}/i.csv, found 'u1', and no event names an item of that file; "
            f"of 3 ids in column what 0 are in {raw}/i.csv, but of 3 in column who 3 are: what has 'u1', which is not "
            "in it, and who has 'i1', which is; if the columns are swapped, exchange --user-column and --item-column"
        )
    prepared(raw, user="what", item="who")  # as it says


def test_some_items_known_by_chance(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Numbers on both sides: of the users 1 to 6 (in column what) three are items as well, of the items all three.
    numbers = [(str(item), str(user)) for item in (1, 2, 3) for user in (1, 2, 3, 4, 5, 6)]
    prepared(table(tmp_path / "raw", numbers, ["1", "2", "3"]), bad_rows="skip")
    warning = (
        "of 6 ids in column what 3 are in .*, but of 3 in column who 3 are: what has '4', which is not in it, and "
    )
    assert re.search(f"{warning}who has '1', which is; if", caplog.text)


@pytest.mark.parametrize(
    ("users", "items", "known"),
    [
        (["u1", "u2", "u3"], ["i1", "i2", "i3", "gone"], ITEMS),  # the catalogue is incomplete
        (["i1", "u1", "u2", "u3", "u4"], ["i1", "gone", "away", "lost", "old"], ITEMS),  # one of five each
        (["i1", "i2"], ["i1", "i2", "i3"], ITEMS),  # all are known
        (["i1", "i2"], [f"i{number}" for number in range(12)], [f"i{number}" for number in range(11)]),  # nearly all
    ],
)
def test_no_sign_no_warning(
    users: list[str], items: list[str], known: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = [(user, item) for user in users for item in [*items, known[0], known[0]]]
    prepared(table(tmp_path / "raw", pairs, known), bad_rows="skip")
    assert "swapped" not in caplog.text


@pytest.mark.parametrize(
    ("format", "files"),
    [
        (
            "tcf",
            {
                "behaviors.tsv": "".join(f"{item}\tu1 u2 u3\n" for item in ITEMS[:3]),
                "items.tsv": "".join(f"{item}\tTitle\n" for item in ITEMS),
            },
        ),
        (
            "recbole",
            {
                "x.inter": "user_id:token\titem_id:token\n" + "".join(f"{user}\t{item}\n" for user, item in SWAPPED),
                "x.item": "item_id:token\ttitle:token_seq\n" + "".join(f"{item}\tTitle\n" for item in ITEMS),
            },
        ),
        (
            "tcf",
            {
                "x_pair.csv": "user,item\n" + "".join(f"{user},{item}\n" for user, item in SWAPPED),
                "x_item.csv": "item_id,title\n" + "".join(f"{item},Title\n" for item in ITEMS),
            },
        ),
    ],
    ids=["histories", "recbole", "pairs"],
)
def test_other_formats(format: RawFormat, files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="has 'i1', which is; if the columns are swapped, check which of them holds the"
    ):
        prepare(format, write_files(tmp_path / "raw", files), tmp_path / "out", PrepareConfig(min_history=3))
