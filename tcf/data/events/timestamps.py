"""Times of raw files, numbers or ISO 8601 dates, read in blocks as sortable whole numbers.

The first value of a file that is a number or a date decides which of the two its times are, and the unit of numbers:
below 10^11 seconds since 1970 with up to six decimal places, below 10^14 milliseconds, below 10^17 microseconds, else
nanoseconds. A date may have a time of day and an offset from UTC; without an offset it is in UTC.
"""

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["TimeReader"]

_MILLION = 10**6
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_LARGEST = 2**62
_FEW_RUNS = 0.1  # runs of equal values per value; parsing a value costs about as much as hashing ten

Times = npt.NDArray[np.int64]


class TimeReader:
    """Reads the times of one file.

    Attributes:
        per_second: units of the whole numbers in a second.
        expected: the format of a time in words, for messages.
    """

    def __init__(self) -> None:
        self.per_second = _MILLION
        self.expected = "a time, as a number or a date such as 2019-11-12 14:14:46"
        self._dates: bool | None = None
        self._scale = _MILLION

    def read(self, written: "pa.LargeStringArray") -> tuple[Times, npt.NDArray[np.bool_]]:
        """Read the times of a block.

        Args:
            written: (n,) times as strings.

        Returns:
            (n,) times, and (n,) which of them could be read; the others are 0.
        """
        if self._dates is None and len(written):
            self._decide(written)
        # Files are often sorted by time, so that few neighbours differ, or have few distinct values.
        runs = pc.run_end_encode(written, run_end_type=pa.int64())
        if len(runs.values) < _FEW_RUNS * len(written):
            times, usable = self._times_of(runs.values)
            lengths = np.diff(np.asarray(runs.run_ends), prepend=0)
            return np.repeat(times, lengths), np.repeat(usable, lengths)
        encoded = pc.dictionary_encode(written)
        times, usable = self._times_of(encoded.dictionary)
        indices = np.asarray(encoded.indices)
        return times[indices], usable[indices]

    def seconds(self, times: Times) -> Times:
        """Convert times that were read to whole seconds since 1970, (n,); the order is kept."""
        return times if self.per_second == 1 else times // self.per_second

    def _times_of(self, written: "pa.LargeStringArray") -> tuple[Times, npt.NDArray[np.bool_]]:
        return self._dates_of(written) if self._dates else self._numbers(written)

    def _decide(self, written: "pa.LargeStringArray") -> None:
        numeric = pc.match_substring_regex(written, _NUMBER)
        dated = np.flatnonzero(np.asarray(_dates_at_all(written)))
        first_number = int(np.argmax(np.asarray(numeric))) if pc.any(numeric).as_py() else len(written)
        first_date = int(dated[0]) if len(dated) else len(written)
        if first_number == first_date:
            return
        self._dates = first_date < first_number
        if self._dates:
            self.expected = "a date such as 2019-11-12 or 2019-11-12 14:14:46"
            return
        self.expected = "a number in the time column"
        self._set_unit(abs(float(written[first_number].as_py())))

    def _set_unit(self, size: float) -> None:
        """Choose the unit from the size of a time: seconds are stored as microseconds, other units unchanged."""
        thousands = sum(size >= bound for bound in (1e11, 1e14, 1e17))
        self._scale = _MILLION if thousands == 0 else 1
        self.per_second = _MILLION if thousands == 0 else 1000**thousands

    def _numbers(self, written: "pa.LargeStringArray") -> tuple[Times, npt.NDArray[np.bool_]]:
        try:
            whole = np.asarray(pc.cast(written, pa.int64()))
        except pa.ArrowInvalid:
            return self._decimals(written)
        if pc.any(pc.match_substring(written, "x", ignore_case=True)).as_py():  # a cast would read hexadecimal
            return self._decimals(written)
        limit = _LARGEST // self._scale
        usable = (whole > -limit) & (whole < limit)
        return np.where(usable, whole, 0) * self._scale, usable

    def _decimals(self, written: "pa.LargeStringArray") -> tuple[Times, npt.NDArray[np.bool_]]:
        numeric = pc.match_substring_regex(written, _NUMBER)
        values = np.asarray(pc.cast(pc.if_else(numeric, written, "0"), pa.float64())) * self._scale
        usable = np.asarray(numeric) & (np.abs(values) < _LARGEST)
        return np.round(np.where(usable, values, 0)).astype(np.int64), usable

    def _dates_of(self, written: "pa.LargeStringArray") -> tuple[Times, npt.NDArray[np.bool_]]:
        for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
            try:
                return np.asarray(pc.cast(written, kind).cast(pa.int64())), np.ones(len(written), bool)
            except pa.ArrowInvalid:
                continue
        found = [_microseconds(text) for text in written.to_pylist()]
        usable = np.array([time is not None for time in found], bool)
        return np.array([time or 0 for time in found], np.int64), usable


def _dates_at_all(written: "pa.LargeStringArray") -> "pa.BooleanArray":
    return pc.match_substring_regex(written, r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T].*)?$")


def _microseconds(text: str) -> int | None:
    """Return a date as microseconds since 1970; None if the text is not a date."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * _MILLION + since.microseconds
