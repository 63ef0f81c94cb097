"""How header lines of the study's raw format and its relatives call their columns.

Case, spaces, hyphens and underscores do not matter.
"""

import re

__all__ = ["is_item_column", "is_time_column", "is_user_column"]

_USER = re.compile(r"#?(user|uid|userid|users|customer|customerid|reviewerid|session|sessionid)")
_ITEM = re.compile(
    r"#?(id|iid|nid|vid|mid|pid|asin|((item|news|video|movie|product|article|book|game|track|song)s?(id)?))"
)
_TIME = re.compile(r"(time(stamp)?|date(time)?|ts|unixtime)")


def is_user_column(name: str) -> bool:
    """Whether a column of this name holds user ids."""
    return _USER.fullmatch(_plain(name)) is not None


def is_item_column(name: str) -> bool:
    """Whether a column of this name holds item ids."""
    return _ITEM.fullmatch(_plain(name)) is not None


def is_time_column(name: str) -> bool:
    """Whether a column of this name holds times."""
    return _TIME.fullmatch(_plain(name)) is not None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()
