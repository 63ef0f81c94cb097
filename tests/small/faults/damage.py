"""What happens to files: bits that flip, ends that are cut off, contents that are gone or those of another file."""

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["KINDS", "LATER", "Damage", "damages"]

LATER = 700  # seconds after which a claim does not count, whatever it says
Kind = Literal["flip", "cut", "empty", "delete", "swap"]
KINDS: tuple[Kind, ...] = ("flip", "cut", "empty", "delete", "swap")


@dataclass(frozen=True)
class Damage:
    """A damage to one file.

    Attributes:
        file: the file, from the world's folder.
        kind: what happens to it.
        place: the byte that is flipped or cut before.
        bit: the bit that is flipped.
        other: the file whose content takes its place.
    """

    file: str
    kind: Kind
    place: int = 0
    bit: int = 0
    other: str = ""

    def __str__(self) -> str:
        where = {"flip": f" bit {self.bit} of byte {self.place}", "cut": f" at byte {self.place}"}
        return f"{self.file}: {self.kind}{where.get(self.kind, '')}{self.other and f' with {self.other}'}"

    def inflict(self, folder: Path) -> None:
        """Damage the file in place; its inode stays, as on a disk that errs."""
        file = folder / self.file
        content = bytearray(file.read_bytes())
        match self.kind:
            case "flip":
                content[self.place] ^= 1 << self.bit
            case "cut":
                del content[self.place :]
            case "empty":
                content.clear()
            case "swap":
                content[:] = (folder / self.other).read_bytes()
            case "delete":
                file.unlink()
                return
        file.write_bytes(content)
        if file.suffix == ".claim":  # nobody has renewed it since
            os.utime(file, (time.time() - LATER,) * 2)


def damages(file: str, content: bytes, others: dict[str, bytes], draw: random.Random) -> Iterator[Damage]:
    """All damages to a file: flips at its first, middle, last and one more byte, two cuts, and the others once each.

    Args:
        file: the file, from the world's folder.
        content: its bytes.
        others: the contents of files that may take its place.
        draw: chooses bits and places.
    """
    size = len(content)
    if size:
        for place in sorted({0, size // 2, size - 1, draw.randrange(size)}):
            yield Damage(file, "flip", place, draw.randrange(8))
        for place in sorted({size // 2, size - 1} - {0}):
            yield Damage(file, "cut", place)
        yield Damage(file, "empty")
    yield Damage(file, "delete")
    different = [name for name, other in others.items() if other != content]
    if different:
        yield Damage(file, "swap", other=draw.choice(different))
