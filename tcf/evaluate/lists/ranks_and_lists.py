"""Ranks of all targets, and the lists that an evaluation may ask for besides: of the same candidates."""

from collections.abc import Callable

from tcf.common.progress import Progress
from tcf.config.evaluate import EvaluateConfig
from tcf.evaluate.questions import Questions
from tcf.ranking.ranked_lists import RankedLists
from tcf.ranking.ranker import Ranker, RanksAndLists
from tcf.ranking.ranks import Ranks, excluded_items, rank_and_list, rank_targets

__all__ = ["ranks_and_lists"]


def ranks_and_lists(
    ranker: Ranker, questions: Questions, config: EvaluateConfig, progress: Callable[[str, int], Progress]
) -> tuple[Ranks, RankedLists | None]:
    """Rank the targets, and find lists to the largest cutoff if they are asked for, in one pass if the ranker can.

    Args:
        ranker: ranks `questions.ranked` for each user.
        questions: who is evaluated, and what is ranked.
        config: cutoffs and policies.
        progress: opens what shows the progress of a step, by its name and the number of users.

    Returns:
        The ranks, and the lists of places among `questions.ranked`, None if they are not asked for.

    Raises:
        RunError: a score is not finite.
    """
    seen, targets = questions.ranked.of_histories(questions.seen), questions.targets
    k, n_users = min(max(config.cutoffs), len(questions.ranked)), len(questions.queries)
    if config.lists and isinstance(ranker, RanksAndLists):
        with progress("evaluate: ranking, lists", n_users) as shown:
            return rank_and_list(ranker, seen, targets, k, policy=config.seen, advance=shown.advance)
    with progress("evaluate: ranking", n_users) as shown:
        ranks = rank_targets(ranker, seen, targets, policy=config.seen, advance=shown.advance)
    if not config.lists:
        return ranks, None
    with progress("evaluate: lists", n_users) as shown:
        return ranks, ranker.lists(excluded_items(seen, targets, config.seen), k, shown.advance)
