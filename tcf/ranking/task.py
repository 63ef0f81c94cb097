"""What a ranking is asked: whose targets to rank, among which candidates.

Shapes: U users, T targets of all users.
"""

from dataclasses import dataclass

from tcf.data.histories import Histories

__all__ = ["RankingTask"]


@dataclass(frozen=True)
class RankingTask:
    """The targets to rank, among all items but each user's excluded ones.

    Attributes:
        targets: the targets of each of U users, T in all, distinct within a user; all are candidates. A user may have
            none.
        excluded: each user's items that are no candidates, distinct and rising within a user; none is a target.
        depth: None if ranks must be exact. Otherwise they need be exact for targets with fewer than `depth` candidates
            above them; for the others any count of at least `depth` will do.
    """

    targets: Histories
    excluded: Histories
    depth: int | None = None
