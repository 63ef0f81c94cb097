"""What a comparison says, row by row; the names of the fields are the columns of files and frames."""

from dataclasses import dataclass

__all__ = ["DifferenceRow", "MeanRow", "ServedRow"]


@dataclass(frozen=True)
class MeanRow:
    """The mean of a metric under one ranking.

    Attributes:
        by: what decided the group; empty for all targets.
        group: the group; empty for all targets.
        metric: the metric.
        ranking: the name of the ranking.
        seeds: number of evaluations that it is the mean of.
        users: users with a target in the group.
        targets: targets in the group.
        mean: the mean over users and seeds.
        low: lower end of its interval.
        high: upper end.
        alike: letters: two rankings with a letter in common cannot be told apart.
    """

    by: str
    group: str
    metric: str
    ranking: str
    seeds: int
    users: int
    targets: int
    mean: float
    low: float
    high: float
    alike: str


@dataclass(frozen=True)
class DifferenceRow:
    """The difference of a metric between two rankings, user by user.

    Attributes:
        by: what decided the group; empty for all targets.
        group: the group; empty for all targets.
        metric: the metric.
        first: the name of one ranking.
        second: the name of the other one.
        difference: the mean of the first less that of the second.
        low: lower end of its interval.
        high: upper end.
        p: p-value of the sign-flip test over users.
        p_holm: the larger of `p` and `p_seeds` after Holm's correction for all pairs of rankings, and for all groups
            of a grouping.
        p_mcnemar: p-value of McNemar's exact test, of `hr@k` without ties and seeds; otherwise None.
        p_seeds: p-value over users crossed with seeds, of settings with several seeds; otherwise None.
        told_apart: whether `p_holm` is at most the level.
        detectable: the smallest true difference that would be found with a probability of 80 %; None where all users
            have the same difference, which says nothing about others.
        only_first: of `hr@k`: the share of users with a hit of the first ranking alone; otherwise None.
        only_second: of the second one alone.
        both: of both.
        neither: of neither.
    """

    by: str
    group: str
    metric: str
    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    p_mcnemar: float | None
    p_seeds: float | None
    told_apart: bool
    detectable: float | None
    only_first: float | None
    only_second: float | None
    both: float | None
    neither: float | None


@dataclass(frozen=True)
class ServedRow:
    """The share of users with a hit, by who has it.

    Attributes:
        by: what decided the group; empty for all targets.
        group: the group; empty for all targets.
        metric: the hit rate, `hr@k`.
        served_by: `only NAME` for that ranking alone, `several, not all`, `all` or `none`.
        share: of the users.
    """

    by: str
    group: str
    metric: str
    served_by: str
    share: float
