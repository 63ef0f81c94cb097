"""Evaluations on the disk: one, or those of one setting with several seeds, as a pipeline writes them."""

import re
from pathlib import Path

from tcf.common.files import is_published
from tcf.evaluate.evaluation import open_evaluation
from tcf.evaluate.evaluation_table import Compared
from tcf.evaluate.seeds import SeedEvaluations

__all__ = ["open_compared"]

_OF_SEED = re.compile(r"seed-(\d+)")


def open_compared(path: Path) -> Compared:
    """Open an evaluation, or the evaluations `seed-0`, `seed-1`, ... in a folder that holds no others.

    Args:
        path: the evaluation's directory, or the folder.

    Raises:
        ConfigError: the evaluations of the seeds are of different datasets, metrics or policies.
        RunError: there is neither, or an evaluation is damaged.
    """
    of_seeds = {} if is_published(path) else _of_seeds(path)
    if not of_seeds:
        return open_evaluation(path)
    evaluations = {seed: open_evaluation(folder) for seed, folder in of_seeds.items()}
    return SeedEvaluations(evaluations) if len(evaluations) > 1 else next(iter(evaluations.values()))


def _of_seeds(folder: Path) -> dict[int, Path]:
    """The published directories in a folder by their seed; none if one of them is of no seed."""
    if not folder.is_dir():
        return {}
    published = [child for child in folder.iterdir() if child.is_dir() and is_published(child)]
    named = {child: _OF_SEED.fullmatch(child.name) for child in published}
    if not all(named.values()):
        return {}
    return dict(sorted((int(match[1]), child) for child, match in named.items() if match is not None))
