"""Comparing model-parallel ranks: what each must have of its own, and what all must share.

Ranks hold different rows or columns of the same matrices, so equal numbers in two of them mean that one file is a copy
of another under a wrong name. Norms, positions and biases of row-parallel layers are copies in every rank.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from tcf.common.errors import ModelError
from tcf.encoders.convert.file_ranges import (
    TensorInFiles,
    are_equal,
    is_constant,
    largest_absolute,
    largest_difference,
)

__all__ = ["RankDifference", "check_not_copied", "check_shards_not_copied", "compare_shared", "tolerance"]

_HEAD = 1024  # numbers that are read of a run before all of it is compared
_RUN = 64  # numbers; shorter runs may be equal by chance
_STEPS = 4  # steps of the type between copies that differ by rounding


@dataclass(frozen=True)
class RankDifference:
    """Differences between the ranks' copies of tensors that all model-parallel ranks should share.

    Attributes:
        tensors: number of tensors that differ.
        name: the tensor with the largest difference.
        difference: the largest absolute difference.
    """

    tensors: int = 0
    name: str = ""
    difference: float = 0.0


def tolerance(tensor: TensorInFiles) -> float:
    """Return the largest difference between two copies of a tensor that rounding explains.

    The ranks update their copies separately, from gradients that were summed in another order. OPT is trained in
    float16 arithmetic, whatever type a file has, so that both copies are right to a step of float16 (bfloat16, where
    the tensor has it) at the size of the tensor's largest numbers: smaller ones are sums of such terms. Two roundings
    on either side are 4 steps, 0.4 % of the largest number (3 % in bfloat16); independently trained norms or biases
    differ by much more.
    """
    step = max(torch.finfo(tensor.dtype).eps, torch.finfo(torch.float16).eps)
    return _STEPS * step * largest_absolute(tensor)


def compare_shared(shared: Mapping[str, Sequence[TensorInFiles]]) -> RankDifference:
    """Compare the ranks' copies of tensors that they should share.

    Args:
        shared: the tensor of every rank, by name.

    Raises:
        ModelError: two copies differ by more than rounding.
    """
    differing: dict[str, float] = {}
    for name, (first, *others) in shared.items():
        differences = {number: largest_difference(first, other) for number, other in enumerate(others, 1)}
        for number, difference in differences.items():
            if difference != 0 and not difference <= tolerance(first):
                raise ModelError(
                    f"{_files(shared[name][number])}: expected {name} of model-parallel rank {number} to equal that of "
                    f"rank 0 ({_files(first)}) up to rounding, by at most {tolerance(first):.3g}, found a difference "
                    f"of {difference:.3g}; the files are of different checkpoints: download both again"
                )
        if any(differences.values()):
            differing[name] = max(differences.values())
    if not differing:
        return RankDifference()
    name = max(differing, key=lambda key: differing[key])
    return RankDifference(len(differing), name, differing[name])


def check_not_copied(own: Mapping[str, Sequence[TensorInFiles]]) -> None:
    """Refuse ranks with the same numbers where each has rows or columns of its own.

    Args:
        own: the tensor of every rank, by name. Every file that a tensor is spread over is compared on its own.

    Raises:
        ModelError: two ranks have the same numbers.
    """
    for name, tensors in own.items():
        for runs in _aligned_runs(tensors):
            found = _equal_pair(runs)
            if found is not None:
                one, other = (runs[number] for number in found)
                raise ModelError(
                    f"{_files(other)}: expected model-parallel rank {found[1]}'s own part of {name}, found the numbers "
                    f"of rank {found[0]} ({_files(one)}); one is a copy of the other: download both again"
                )


def check_shards_not_copied(name: str, shards: Sequence[TensorInFiles]) -> None:
    """Refuse shards of a flattened parameter that have the same numbers.

    Raises:
        ModelError: two shards do.
    """
    found = _equal_pair(shards)
    if found is not None:
        one, other = (shards[number] for number in found)
        raise ModelError(
            f"{_files(other)}: expected its own part of {name}, found the numbers of {_files(one)}; one is a copy of "
            "the other: download both again"
        )


def _aligned_runs(tensors: Sequence[TensorInFiles]) -> Iterator[list[TensorInFiles]]:
    """Yield the ranks' runs of numbers of a file each, or their whole tensors if their files are cut differently."""
    counts = [[run.count for run in tensor.ranges] for tensor in tensors]
    if any(other != counts[0] for other in counts):
        yield list(tensors)
        return
    for runs in zip(*(tensor.ranges for tensor in tensors), strict=True):
        yield [TensorInFiles(tensors[0].dtype, (run.count,), (run,)) for run in runs]


def _equal_pair(runs: Sequence[TensorInFiles]) -> tuple[int, int] | None:
    """Return the numbers of two equal runs; constant ones, such as biases that are all zero, do not count."""
    known: dict[bytes, list[int]] = {}
    for number, run in enumerate(runs):
        if run.count < _RUN:
            continue
        head = run.cut(0, (min(run.count, _HEAD),)).read()
        others = known.setdefault(head.view(torch.uint8).numpy().tobytes(), [])
        for other in others:
            if are_equal(runs[other], run) and not is_constant(run):
                return other, number
        others.append(number)
    return None


def _files(tensor: TensorInFiles) -> str:
    names: Iterable[str] = (str(file) for file in tensor.files[:1])
    more = f" and {len(tensor.files) - 1} more" if len(tensor.files) > 1 else ""
    return "".join(names) + more
