"""A hash table from strings of one length to codes, made of NumPy arrays, which looks up thousands of strings at once.

A table that looks up strings one by one waits for memory at each of them; here the reads of many overlap. Strings are
compared in full, so codes are exact whatever the hash does. The hash is linear in the words of a string (multiply and
add, upper bits; Dietzfelbinger et al., A reliable randomized algorithm for the closest-pair problem, 1997, section 2);
collisions are resolved by linear probing.

Shapes: N strings at once, W words of 8 bytes in a string, K distinct strings so far, S slots,
R strings looked up at once at most.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.common.random_streams import RandomStream, generator

__all__ = ["IdHashTable", "words_of"]

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]

_ROWS = 1 << 15  # strings looked up at once: their words stay in a processor core's cache
_LONGEST = 64  # bytes in a string
_FREE = np.int32(-1)


def words_of(strings: "pa.LargeStringArray") -> tuple[int, Words] | None:
    """Return the bytes of strings as words, if all strings have one length between 1 and 64 bytes.

    Args:
        strings: (N,), without nulls.

    Returns:
        The length in bytes, and (N, W) words padded with zeros, where W is 1, 2, 4 or 8; None for strings of other or
        unequal lengths.
    """
    n_strings = len(strings)
    if n_strings == 0:
        return None
    _, offset_bytes, data = strings.buffers()
    offsets = np.frombuffer(offset_bytes, np.int64)[strings.offset : strings.offset + n_strings + 1]
    length = int(offsets[1] - offsets[0])
    if not 0 < length <= _LONGEST or (np.diff(offsets) != length).any():
        return None
    rows = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].reshape(n_strings, length)
    if length != 8 * _width(length):
        padded = np.zeros((n_strings, 8 * _width(length)), np.uint8)
        padded[:, :length] = rows
        rows = padded
    return length, np.require(rows.view(np.uint64), requirements=["ALIGNED"])


class IdHashTable:
    """Assigns codes to strings of one length, in order of first appearance.

    Args:
        length: bytes in each string.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        width = _width(length)
        stream = generator(RandomStream.HASH_OF_IDS, 0)
        self._factors_W: Words = stream.integers(0, 2**64, width, np.uint64) | np.uint64(1)
        self._known_KW: Words = np.zeros((_ROWS, width), np.uint64)
        self._slots_S: Codes = np.full(4 * _ROWS, _FREE)
        self._count = 0
        # Reused for each lookup: the system clears new memory, which costs as much as the lookup.
        self._wanted_RW: Words = np.empty((_ROWS, width), np.uint64)
        self._found_RW: Words = np.empty((_ROWS, width), np.uint64)

    def __len__(self) -> int:
        """Number of distinct strings."""
        return self._count

    def encode(self, words_NW: Words) -> Codes:
        """Return the code of each string; new strings get the next codes."""
        codes_N = np.empty(len(words_NW), np.int32)
        for start in range(0, len(words_NW), _ROWS):
            part = slice(start, start + _ROWS)
            codes_N[part] = self._encode_runs(words_NW[part])
        return codes_N

    def values(self) -> "pa.LargeStringArray":
        """Return the distinct strings, (K,), in the order of their codes."""
        text = np.ascontiguousarray(self._known_KW[: self._count].view(np.uint8)[:, : self.length])
        offsets = np.arange(self._count + 1, dtype=np.int64) * self.length
        return pa.LargeStringArray.from_buffers(self._count, pa.py_buffer(offsets), pa.py_buffer(text))

    def _encode_runs(self, words_NW: Words) -> Codes:
        """Look up equal neighbours once: logs are often sorted by user, at least within a day."""
        begins = np.ones(len(words_NW), bool)
        np.logical_not(_equal_rows(words_NW[1:], words_NW[:-1]), out=begins[1:])
        if 4 * np.count_nonzero(begins) > 3 * len(begins):
            return self._encode_few(words_NW)
        rows = np.flatnonzero(begins)
        wanted = words_NW.take(rows, axis=0, out=self._wanted_RW[: len(rows)], mode="clip")
        return np.repeat(self._encode_few(wanted), np.diff(rows, append=len(words_NW)))

    def _encode_few(self, words_NW: Words) -> Codes:
        self._make_room(len(words_NW))
        slots_N = self._first_slots(words_NW)
        codes_N = self._look_up(words_NW, slots_N)
        missing = np.flatnonzero(codes_N < 0)
        if len(missing):
            codes_N[missing] = self._insert(words_NW[missing], slots_N[missing])
        return codes_N

    def _first_slots(self, words_NW: Words) -> Places:
        """Return the slot where the search for each string starts."""
        bits = np.uint64(64 - (len(self._slots_S).bit_length() - 1))
        return ((words_NW @ self._factors_W) >> bits).astype(np.int64)

    def _look_up(self, words_NW: Words, slots_N: Places) -> Codes:
        """Return the codes of strings, -1 if unknown, and advance their slots to where the search ended."""
        codes_N = self._slots_S[slots_N]
        others = np.flatnonzero((codes_N >= 0) & ~self._are(codes_N, words_NW))
        while len(others):
            slots_N[others] = (slots_N[others] + 1) & (len(self._slots_S) - 1)
            codes_N[others] = found = self._slots_S[slots_N[others]]
            others = others[(found >= 0) & ~self._are(found, words_NW[others])]
        return codes_N

    def _are(self, codes_N: Codes, words_NW: Words) -> npt.NDArray[np.bool_]:
        """Return whether these are the strings of these codes; meaningless where a code is -1."""
        known = self._known_KW.take(codes_N, axis=0, out=self._found_RW[: len(codes_N)], mode="clip")
        return _equal_rows(known, words_NW)

    def _insert(self, words_NW: Words, slots_N: Places) -> Codes:
        """Assign codes to unknown strings, which may be equal to each other and whose slots are free."""
        begin, codes_N = self._count, np.full(len(words_NW), _FREE)
        left, new = np.arange(len(words_NW)), list[Places]()
        while len(left):
            # If several strings want a slot, the first one gets it; the others then search again.
            self._slots_S[slots_N[left[::-1]]] = left[::-1]
            new.append(left[self._slots_S[slots_N[left]] == left])
            codes = np.arange(self._count, self._count + len(new[-1]), dtype=np.int32)
            self._known_KW[codes] = words_NW[new[-1]]
            self._slots_S[slots_N[new[-1]]] = codes
            self._count += len(codes)
            slots = slots_N[left]
            codes_N[left] = found = self._look_up(words_NW[left], slots)
            slots_N[left] = slots
            left = left[found < 0]
        # Codes were assigned slot by slot; now renumber them in order of appearance.
        order = np.argsort(np.concatenate(new))
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(begin, self._count, dtype=np.int32)
        rows = np.concatenate(new)[order]
        self._known_KW[begin : self._count] = words_NW[rows]
        codes_N = rank[codes_N - begin]
        self._slots_S[slots_N[rows]] = codes_N[rows]
        return codes_N

    def _make_room(self, n_strings: int) -> None:
        """Make room for this many more distinct strings, with half of the slots left free."""
        wanted = self._count + n_strings
        if wanted > len(self._known_KW):
            known = np.zeros((2 * max(wanted, len(self._known_KW)), self._known_KW.shape[1]), np.uint64)
            known[: self._count] = self._known_KW[: self._count]
            self._known_KW = known
        if 2 * wanted > len(self._slots_S):
            self._slots_S = np.full(2 << (wanted - 1).bit_length(), _FREE)
            self._place_known()

    def _place_known(self) -> None:
        """Assign a free slot to every known string."""
        for start in range(0, self._count, _ROWS):
            codes = np.arange(start, min(start + _ROWS, self._count), dtype=np.int32)
            slots = self._first_slots(self._known_KW[codes])
            while len(codes):
                free = self._slots_S[slots] < 0
                self._slots_S[slots[free]] = codes[free]
                left = self._slots_S[slots] != codes
                codes, slots = codes[left], (slots[left] + 1) & (len(self._slots_S) - 1)


def _width(length: int) -> int:
    """Return the number of words in a string of this many bytes."""
    return 1 << (-(-length // 8) - 1).bit_length()


def _equal_rows(left_NW: Words, right_NW: Words) -> npt.NDArray[np.bool_]:
    """Return which rows are equal, (N,)."""
    same = left_NW == right_NW
    # A row of booleans is read as one number: NumPy takes many times longer to reduce an axis as short as this.
    width = same.shape[1]
    rows: npt.NDArray[np.bool_] = same.view(f"u{width}")[:, 0] == int.from_bytes(b"\1" * width, "little")
    return rows
