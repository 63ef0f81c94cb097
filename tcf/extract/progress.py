"""The progress of an extraction: items are counted, and the time left follows floating-point operations.

Texts differ in length, and a shard's long texts are computed first, so the time per item is not constant.
"""

from dataclasses import dataclass

import numpy as np

from tcf.common.progress import Progress
from tcf.extract.plan.plan import FlopCost
from tcf.extract.schedules.engine import ProgressCallback
from tcf.extract.shards import Shard

__all__ = ["ExtractionProgress"]


@dataclass(frozen=True)
class ExtractionProgress:
    """Counts items and floating-point operations.

    Attributes:
        progress: displays them; its work is measured in floating-point operations.
        cost: the cost of a text in floating-point operations.
        share: the share of this cost that is computed; the rest is of tokens whose states other texts have as well.
    """

    progress: Progress
    cost: FlopCost
    share: float = 1.0

    def pass_over(self, shard: Shard) -> None:
        """Count a shard that nobody has to compute any more."""
        lengths = shard.sequences.lengths.astype(np.float64)
        self.progress.advance(shard.span, work=self.share * self.cost.of(lengths.sum(), np.square(lengths).sum()))

    def wait(self) -> None:
        """Display that this process waits for another worker's shard."""
        self.progress.advance(0, "waiting for another worker")

    def of_shard(self, shard: Shard) -> ProgressCallback:
        """A progress callback that counts a shard's items, in proportion to the texts computed."""
        n, span = len(shard.keys), shard.span
        done = 0.0

        def advance(texts: float, tokens: float, note: str = "", *, resumed: bool = False) -> None:
            nonlocal done
            before, done = done, done + texts
            items = int(span * done / n + 1e-6) - int(span * before / n + 1e-6)
            # As of equally long texts, which those of a tree are only on average.
            work = self.share * self.cost.of(tokens, tokens**2 / texts if texts else 0.0)
            self.progress.advance(items, note, extra=0 if resumed else tokens, work=work, resumed=resumed)

        return advance
