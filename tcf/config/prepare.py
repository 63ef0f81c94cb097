"""Settings of `tcf data prepare`."""

from dataclasses import dataclass
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.config.fields import CheckedSettings, option
from tcf.config.raw_formats import only_for

__all__ = ["PrepareConfig"]


@dataclass(frozen=True)
class PrepareConfig(CheckedSettings):
    """Settings of preparing a dataset from raw files (study, section on datasets)."""

    min_history: int = option(5, "Drop users with fewer interactions than this.", minimum=3)
    max_history: int | None = option(
        None, "Drop users with more interactions than this; none are dropped if not given.", minimum=3
    )
    min_item_count: int | None = option(
        None,
        "Warm subset: remove items with fewer interactions than this, with the users whose history is then too short, "
        "until there are none; counted on what is kept in the end.",
        minimum=1,
    )
    keep_last: int = option(23, "Keep this many of a user's latest interactions.", minimum=3)
    sample_users: int | None = option(None, "Keep a random sample of this many users; all if not given.", minimum=1)
    seed: int = option(0, "Seed of the sample of users.", minimum=0)
    split: Literal["leave-one-out", "time"] = option(
        "leave-one-out",
        "leave-one-out: each user's last item is the test target, the one before it the validation target. time: what "
        "is before the validation period is for training, and a user's first item in a period is the target.",
    )
    test_from: str | None = option(
        None,
        "With --split time, where the test period begins: a date such as 2020-09-16 (UTC), a fraction of all "
        "interactions such as 0.9, or a whole number in the unit of the log's times.",
    )
    validation_from: str | None = option(
        None,
        "With --split time, where the validation period begins, likewise; if not given, as long a period before the "
        "test period, or as large a fraction.",
    )
    text_columns: tuple[str, ...] = option(
        (), "Columns of the item file that make up the text, joined by a space; repeat for several."
    )
    template: str | None = option(
        None,
        "How columns of the item file make up the text, for instance '{title}. {category}'; what a row lacks is left "
        "out with the text after it. Not with --text-columns.",
    )
    min_rating: float | None = option(
        None, f"Leave out ratings below this; all count if not given {only_for('min_rating')}."
    )
    collapse_repeats: bool = option(
        False,
        f"Keep one event where a customer bought an article several times on one day {only_for('collapse_repeats')}.",
    )
    events: str | None = option(
        None, f"File of the events, below RAW: CSV or other text, Parquet or JSON lines {only_for('events')}."
    )
    items: str | None = option(
        None, f"File of the items, below RAW; the file of the events if not given {only_for('items')}."
    )
    user_column: str | None = option(None, f"Column of the events with user ids {only_for('user_column')}.")
    item_column: str | None = option(None, f"Column of the events with item ids {only_for('item_column')}.")
    time_column: str | None = option(
        None,
        "Column of the events with numbers or dates to order by; the file's order if not given "
        f"{only_for('time_column')}.",
    )
    item_id_column: str | None = option(
        None, f"Column of the items with their ids; named as --item-column if not given {only_for('item_id_column')}."
    )
    delimiter: str | None = option(
        None,
        "What stands between the fields of text files: a comma, or a tab in .tsv, if not given "
        f"{only_for('delimiter')}.",
    )
    drop: tuple[str, ...] = option(
        (),
        "Leave rows out by the value of a column, such as 'InvoiceNo=C*' (* is anything, ? one character); repeat for "
        f"several {only_for('drop')}.",
    )
    bad_rows: Literal["error", "skip"] = option(
        "error", "What to do with a row that cannot be used: stop and name its line, or skip and count it."
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
        if self.max_history is not None and self.max_history < self.min_history:
            raise ConfigError(
                f"--max-history: expected at least --min-history ({self.min_history}), found {self.max_history}"
            )

    def _check_split(self) -> None:
        if self.split == "time" and self.test_from is None:
            raise ConfigError("--split time: expected --test-from as well, found none; say when the test period begins")
        for name, value in (("--test-from", self.test_from), ("--validation-from", self.validation_from)):
            if self.split != "time" and value is not None:
                raise ConfigError(f"{name}: expected --split time, found --split {self.split}; leave {name} out")
