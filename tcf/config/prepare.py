"""Settings of `tcf data prepare`."""

from dataclasses import dataclass
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.config.fields import MAIN_OPTIONS, CheckedSettings, option
from tcf.config.raw_formats import Quotes, only_for

__all__ = ["PrepareConfig"]

_SHORTEST = 3  # interactions: one for training, and two targets
_FILTERS = "Filtering"
_SPLIT = "With --split time"
_TABLE = "Format table only"


@dataclass(frozen=True, repr=False)
class PrepareConfig(CheckedSettings):
    """Settings for preparing a dataset from raw files (study, section on datasets).

    Example:
        >>> import tcf
        >>> tcf.PrepareConfig(min_history=4, text_columns=['title', 'genre'])
        PrepareConfig(min_history=4, text_columns=('title', 'genre'))
    """

    min_history: int = option(5, "Drop users with fewer interactions than this.", group=MAIN_OPTIONS, minimum=1)
    max_history: int | None = option(
        None,
        "Drop users with more interactions than this; default: no limit.",
        group=_FILTERS,
        minimum=3,
    )
    min_item_count: int | None = option(
        None,
        "Drop items with fewer interactions than this (--min-item-count-over says which count), then users whose "
        "history has become too short, and so on until all remaining items and users have enough (the study's warm "
        "subsets).",
        group=_FILTERS,
        minimum=1,
    )
    min_item_count_over: Literal["kept", "training"] = option(
        "kept",
        "Which interactions --min-item-count counts. kept: all that are kept, for validation and test too (the study's "
        "way). training: those for training alone, so that what is held out has no part in the choice of items.",
        group=_FILTERS,
    )
    keep_last: int = option(23, "Keep this many of each user's latest interactions.", group=MAIN_OPTIONS, minimum=3)
    sample_users: int | None = option(
        None, "Keep a random sample of this many users; default: all users.", group=_FILTERS, minimum=1
    )
    seed: int = option(0, "Seed of --sample-users.", group=_FILTERS, minimum=0)
    split: Literal["leave-one-out", "time", "given"] | None = option(
        None,
        "How to choose the held-out items. leave-one-out: each user's last item for test, the one before it for "
        "validation. time: each user's first item in the test period and in the validation period. given: as the raw "
        "files say. Default: given if they bring a split, else leave-one-out.",
        group=MAIN_OPTIONS,
    )
    test_from: str | None = option(
        None,
        "Start of the test period: a date such as 2020-09-16 (UTC), a fraction of all interactions such as 0.9, or a "
        "whole number: seconds since 1970, or, with format recbole, in the unit of the file.",
        group=_SPLIT,
        metavar="TIME",
    )
    validation_from: str | None = option(
        None,
        "Start of the validation period, in the same form; default: as long before the test period as that lasts, or "
        "as large a fraction.",
        group=_SPLIT,
        metavar="TIME",
    )
    text_columns: tuple[str, ...] = option(
        (),
        "Column of the item file to use as the text; repeat to join several by a space.",
        group=MAIN_OPTIONS,
        metavar="COLUMN",
    )
    template: str | None = option(
        None,
        "Text made of several columns, such as '{title}. {category}'. If an item has no value for a column, the column "
        "is left out with the text after it. Not with --text-columns.",
        group=MAIN_OPTIONS,
    )
    unescape_html: bool = option(
        False,
        "Make the character references of HTML in texts, such as &amp; and &#39;, characters.",
        group=MAIN_OPTIONS,
    )
    min_label: float | None = option(
        None,
        "Drop rows with a label below this, such as news that was shown and not clicked (--min-label 1); required if "
        f"there are labels {only_for('min_label')}.",
        group=_FILTERS,
    )
    min_rating: float | None = option(
        None,
        f"Drop ratings below this; default: keep all; recbole: required if there are ratings {only_for('min_rating')}.",
        group=_FILTERS,
    )
    collapse_repeats: bool = option(
        False,
        f"Keep one event where a customer bought an article several times on one day {only_for('collapse_repeats')}.",
        group=_FILTERS,
    )
    keep_unseen_items: bool = option(
        False,
        "Keep items that occur in no remaining history as candidates of the catalogue; --min-item-count still removes "
        "rare ones.",
        group=_FILTERS,
    )
    drop_duplicates: bool = option(
        False,
        "Drop exact duplicates of events: the same user, item and time (formats with times; amazon always does).",
        group=_FILTERS,
    )
    events: tuple[str, ...] = option(
        (),
        "File of events in RAW: CSV or other delimited text, Parquet or JSON lines; or a folder of such files, or a "
        "pattern such as 'part-*.csv'. Repeat for several, in the order of their rows.",
        group=_TABLE,
        metavar="FILE",
    )
    items: tuple[str, ...] = option(
        (), "File of items in RAW, likewise; default: the files of events.", group=_TABLE, metavar="FILE"
    )
    user_column: str | None = option(None, "Column of user ids in the file of events.", group=_TABLE, metavar="COLUMN")
    item_column: str | None = option(None, "Column of item ids in the file of events.", group=_TABLE, metavar="COLUMN")
    time_column: str | None = option(
        None,
        "Column of times in the file of events, numbers or dates; default: the file is in order of time.",
        group=_TABLE,
        metavar="COLUMN",
    )
    time_format: str | None = option(
        None,
        "Form of the times, in the notation of strptime, such as '%d/%m/%Y %H:%M'; offsets (%z) count, otherwise times "
        "are in UTC. Default: numbers or ISO dates.",
        group=_TABLE,
        metavar="FORMAT",
    )
    item_id_column: str | None = option(
        None,
        "Column of item ids in the file of items; default: named as --item-column.",
        group=_TABLE,
        metavar="COLUMN",
    )
    header: str | None = option(
        None, "Names of the columns of text files of events without a header.", group=_TABLE, metavar="NAME,NAME,..."
    )
    items_header: str | None = option(None, "The same for the files of items.", group=_TABLE, metavar="NAME,NAME,...")
    delimiter: str | None = option(
        None,
        "Separator of fields in text files; default: a tab in .tsv, else a comma.",
        group=_TABLE,
        metavar="CHARACTER",
    )
    items_delimiter: str | None = option(
        None, "The same for the files of items; default: --delimiter.", group=_TABLE, metavar="CHARACTER"
    )
    encoding: str | None = option(
        None,
        "Encoding of text files and JSON lines, such as latin-1, cp1252, gbk or utf-16; default: UTF-8.",
        group=_TABLE,
    )
    items_encoding: str | None = option(None, "The same for the files of items; default: --encoding.", group=_TABLE)
    quotes: Quotes | None = option(
        None,
        'Quotes in text files. csv: a field that begins with " extends to the closing one. none: they are characters '
        "like others. Default: none in .tsv, else csv.",
        group=_TABLE,
    )
    items_quotes: Quotes | None = option(None, "The same for the files of items; default: --quotes.", group=_TABLE)
    drop: tuple[str, ...] = option(
        (),
        "Drop rows by the value of a column, such as 'InvoiceNo=C*' (* matches any text, ? one character); repeat for "
        "several.",
        group=_TABLE,
        metavar="COLUMN=PATTERN",
    )
    split_column: str | None = option(
        None,
        "Column of events that says their part of the split: train, valid (or validation, val, dev), test or context.",
        group=_TABLE,
        metavar="COLUMN",
    )
    validation_events: tuple[str, ...] = option(
        (),
        "File of events, like --events, that are the validation targets; --events are then those for training.",
        group=_TABLE,
        metavar="FILE",
    )
    test_events: tuple[str, ...] = option((), "The same for the test targets.", group=_TABLE, metavar="FILE")
    bad_rows: Literal["error", "skip"] = option(
        "error", "What to do with an unusable row: stop and name its line, or skip and count it.", group=_FILTERS
    )

    def __post_init__(self) -> None:
        """Check the settings that depend on one another.

        Raises:
            ConfigError: a value is out of range, or settings contradict one another.
        """
        super().__post_init__()
        if self.text_columns and self.template is not None:
            raise ConfigError("--template: expected either --template or --text-columns, found both; leave one out")
        self._check_split()
        if self.min_item_count is None and self.min_item_count_over != "kept":
            raise ConfigError(
                "--min-item-count-over: expected --min-item-count as well, found none; say how many interactions an "
                "item needs"
            )
        if self.max_history is not None and self.max_history < self.min_history:
            raise ConfigError(
                f"--max-history: expected at least --min-history ({self.min_history}), found {self.max_history}"
            )

    def _check_split(self) -> None:
        of_files = {
            "--split-column": self.split_column is not None,
            "--validation-events": bool(self.validation_events),
            "--test-events": bool(self.test_events),
        }
        named = [option for option, is_given in of_files.items() if is_given]
        if self.min_history < _SHORTEST and self.split not in ("given", None):  # None: checked when it is decided
            raise ConfigError(
                f"--min-history: expected at least {_SHORTEST}, so that every user has a target of each part, found "
                f"{self.min_history}; fewer only with --split given"
            )
        if named and self.split not in ("given", None):
            raise ConfigError(f"{named[0]}: expected --split given, found --split {self.split}; leave one of them out")
        if self.split_column is not None and len(named) > 1:
            raise ConfigError(f"--split-column: expected either it or {named[1]}, found both; leave one out")
        if self.split == "time" and self.test_from is None:
            raise ConfigError("--split time: expected --test-from as well, found none; say when the test period begins")
        for name, value in (("--test-from", self.test_from), ("--validation-from", self.validation_from)):
            if self.split != "time" and value is not None:
                found = "none" if self.split is None else f"--split {self.split}"
                raise ConfigError(f"{name}: expected --split time, found {found}; leave {name} out")
