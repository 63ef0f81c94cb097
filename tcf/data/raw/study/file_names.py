"""Names of history and item files, in the study's raw format and in what its authors released besides.

The names come from public code and documentation on GitHub:

- `westlake-repl/TCF` (README.md, pre_inference/datamodules/configs.py): `behaviors.tsv` with `items.tsv` (hm_200k),
  `news.tsv` (mind_200k) or `videos.tsv` (bl_50k), in these folders and those that end in `_20`, `_50` and `_200`.
- `westlake-repl/IDvs.MoRec` (bce_text/): `mind_60w_users.tsv` with `mind_60w_items.tsv`.
- `westlake-repl/NineRec` (README.md): `QB_behaviour.tsv` or `QB_pair.csv`, with `QB_item.csv`; also `QB_url.csv`, which
  is ignored. Each of its datasets, including Bili_2M, has files with such names.
"""

import re
from pathlib import Path

from tcf.common.errors import DataError
from tcf.data.tables.source_file import require_folder

__all__ = ["STUDY_ITEMS", "is_item_column", "is_time_column", "is_user_column", "tcf_files"]

STUDY_ITEMS = ("items.tsv", "news.tsv", "videos.tsv")
"""Names of item files in the study's folders."""

_SEQUENCES, _PAIRS = "behaviors.tsv", "NAME_pair.csv"
_SEQUENCES_LIKE = re.compile(r"(.*_)?behaviou?rs?\.tsv|.+_users\.tsv", re.IGNORECASE)
_PAIRS_LIKE = re.compile(r"(.*_)?pairs?\.csv", re.IGNORECASE)
_ITEMS_LIKE = re.compile(r".*(item|news|video|title|text).*\.(tsv|csv)", re.IGNORECASE)
_EXPECTED = (
    f"expected {_SEQUENCES} and exactly one of {', '.join(STUDY_ITEMS)} (or files with similar names: one "
    f"NAME_behaviour.tsv, NAME_users.tsv or {_PAIRS}; one .tsv or .csv with item, news, video, title or text in its "
    "name)"
)
_USER = re.compile(r"#?(user|uid|userid|users|customer|customerid|reviewerid|session|sessionid)")
_ITEM = re.compile(
    r"#?(id|iid|nid|vid|mid|pid|asin|((item|news|video|movie|product|article|book|game|track|song)s?(id)?))"
)
_TIME = re.compile(r"(time(stamp)?|date(time)?|ts|unixtime)")


def tcf_files(folder: Path) -> tuple[Path, Path]:
    """Find the files of a folder that are to be read: histories (`.tsv`) or pairs (`.csv`), then items.

    `behaviors.tsv` and item files with one of the study's three names take precedence over files with similar names;
    histories take precedence over pairs.

    Raises:
        DataError: a file is missing, or there are several of a kind.
    """
    require_folder(folder)
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    sequences = [name for name in names if _SEQUENCES_LIKE.fullmatch(name)]
    pairs = [name for name in names if _PAIRS_LIKE.fullmatch(name)]
    others = [name for name in names if name not in sequences and name not in pairs]
    items = [name for name in others if name in STUDY_ITEMS] or [name for name in others if _ITEMS_LIKE.fullmatch(name)]
    if _SEQUENCES in sequences:
        sequences = [_SEQUENCES]
    events = _only(sequences or pairs, folder, f"keep only one of {_SEQUENCES} and files with similar names there")
    return folder / events, folder / _only(items, folder, "keep only one item file there")


def _only(names: list[str], folder: Path, remedy: str) -> str:
    if not names:
        raise DataError(f"{folder}: {_EXPECTED}, found {_listing(folder)}; name the folder that holds them")
    if len(names) > 1:
        raise DataError(f"{folder}: {_EXPECTED}, found {' and '.join(names)}; {remedy}")
    return names[0]


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "an empty folder"


def is_user_column(name: str) -> bool:
    """Return whether a column with this name holds user ids."""
    return _USER.fullmatch(_plain(name)) is not None


def is_item_column(name: str) -> bool:
    """Return whether a column with this name holds item ids."""
    return _ITEM.fullmatch(_plain(name)) is not None


def is_time_column(name: str) -> bool:
    """Return whether a column with this name holds times."""
    return _TIME.fullmatch(_plain(name)) is not None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()
