"""The speed-up of each optimisation of the training step: from the straightforward step to tcf's, one at a time.

    python benchmarks/train_steps.py --data DATASET --cache CACHE --width 4096 --seconds 10 --repeats 3

All steps compute the study's in-batch softmax with text items, on the same batches, in turn, in one process. Their
losses on one batch without dropout must be equal within rounding, which is checked first. Finally, validation is timed
and compared with an epoch of tcf's step. The exit status is 1 if losses differ.

Shapes: B users, L positions, S = L + 1 items of a sample, P targets, U distinct items, D width.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from processes import table
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from train_straightforward import PaddedSamples, Straightforward, log_frequency
from train_vectors import cache_of_width

from tcf.config.train import TrainConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import open_dataset
from tcf.train.assemble import TrainingSetup, assemble, training_data
from tcf.train.batch.batch import Batch
from tcf.train.inputs import Inputs

_ROUNDING = 1e-4  # relative tolerance of the loss in float32


@dataclass(frozen=True)
class Step:
    """A training step.

    Attributes:
        name: the optimisation that it adds to the step before it.
        loss: the loss of a batch.
        train: forward pass, backward pass and optimiser step; returns the number of targets.
        batches: batches of epochs without end.
    """

    name: str
    loss: Callable[[Batch], Tensor]
    train: Callable[[object], int]
    batches: Iterator[object]


def main() -> None:
    """Measure and print."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tcf-benchmark-") as scratch:
        cache = cache_of_width(open_dataset(options.data), options.cache, options.width, Path(scratch))
        bench = _Bench.build(options.data, cache)
        steps = bench.steps()
        _check(steps, bench)
        rates: dict[str, list[float]] = {step.name: [] for step in steps}
        for _ in range(options.repeats):
            for step in steps:
                rates[step.name].append(_rate(step, options.seconds))
        _print(rates)
        _print_validation(bench.ours, statistics.median(rates[steps[-1].name]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--width", type=int, default=384, help="width of cached vectors")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


@dataclass
class _Bench:
    """Both models, with equal weights, and their training data."""

    config: TrainConfig
    ours: TrainingSetup
    plain: Straightforward
    samples: PaddedSamples

    @staticmethod
    def build(data: Path, cache: Path) -> "_Bench":
        config = TrainConfig(items="text", width=128, dropout=0.2, batch_size=256, devices="cpu")
        inputs = Inputs.open(config.items, data, [cache])
        part = training_data(inputs, config)
        device = torch.device("cpu")
        ours = assemble(inputs, part, inputs.fit(config, part.items, device), config, device)
        plain = Straightforward(
            torch.from_numpy(VectorCache.open(cache).vectors_for(inputs.dataset).astype(np.float32)),
            log_frequency(part),
            width=config.width,
            layers=config.dtl_layers,
            positions=config.history,
            blocks=config.blocks,
            heads=config.heads,
            dropout=config.dropout,
        )
        plain.load_state_dict(ours.trainer.model.state_dict())
        return _Bench(config, ours, plain, PaddedSamples(part))

    def steps(self) -> list[Step]:
        """The steps; each includes the optimisations of those before it."""
        adamw = torch.optim.AdamW(self.plain.parameters(), lr=self.config.learning_rate, weight_decay=0.1)

        def follow(name: str, loss: Callable[[Batch], Tensor]) -> Step:
            def train(batch: object) -> int:
                assert isinstance(batch, Batch)
                return _descend(adamw, loss(batch), batch.n_targets)

            return Step(name, loss, train, self._fed())

        def padded(sample: object) -> int:
            items_BS, real_BS = cast(tuple[Tensor, Tensor], sample)
            targets = int((real_BS[:, 1:] & real_BS[:, :-1]).sum())
            return _descend(adamw, self.plain(items_BS, real_BS), targets)

        def own(batch: object) -> int:
            assert isinstance(batch, Batch)
            self.ours.trainer.step(batch, None)
            return batch.n_targets

        return [
            Step("straightforward", self._grid_loss, padded, self._loaded()),
            follow("batches sliced from arrays, prefetched by a thread", self._grid_loss),
            follow("each distinct item through the DTL once", self._distinct_loss),
            follow("scores of real positions only", self._real_loss),
            follow("each distinct item as candidate once", self._column_loss),
            follow("softmax in chunks, gradient in the same pass", self._kernel_loss),
            Step("transformer over real positions, fused AdamW: tcf", self._own_loss, own, self._fed()),
        ]

    def _loaded(self) -> Iterator[object]:
        loader = DataLoader(self.samples, batch_size=self.config.batch_size, shuffle=True)
        while True:
            yield from loader

    def _fed(self) -> Iterator[object]:
        epoch = 0
        while True:
            epoch += 1
            with closing(self.ours.trainer.feed.epoch(epoch)) as batches:
                for fed in batches:
                    yield fed.batch

    def _grid(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Indices into the distinct items on the padded grid, (B, S), and the mask of real entries, (B, S)."""
        shape = (batch.layout.users, self.config.history + 1)
        places_BS, real_BS = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.bool)
        places_BS[batch.layout.rows_P, batch.layout.positions_P] = batch.inputs_I
        real_BS[batch.layout.rows_P, batch.layout.positions_P] = True
        # The last item of a row is only a target.
        places_BS[:, -1] = batch.targets_P[batch.layout.last_B]
        real_BS[:, -1] = True
        return places_BS, real_BS

    def _grid_loss(self, batch: Batch) -> Tensor:
        places_BS, real_BS = self._grid(batch)
        loss: Tensor = self.plain(batch.items_U[places_BS], real_BS)
        return loss

    def _distinct_loss(self, batch: Batch) -> Tensor:
        places_BS, real_BS = self._grid(batch)
        vectors_BSD = self.plain.items(batch.items_U)[places_BS]
        return self.plain.loss(vectors_BSD, batch.items_U[places_BS], real_BS)

    def _real_loss(self, batch: Batch) -> Tensor:
        places_BS, real_BS = self._grid(batch)
        vectors_BSD = self.plain.items(batch.items_U)[places_BS]
        states_BLD = self.plain.backbone(vectors_BSD[:, :-1], real_BS[:, :-1])
        return self.plain.loss_of_real(states_BLD, vectors_BSD, batch.items_U[places_BS], real_BS)

    def _states(self, batch: Batch) -> tuple[Tensor, Tensor]:
        places_BS, real_BS = self._grid(batch)
        vectors_UD = self.plain.items(batch.items_U)
        states_BLD = self.plain.backbone(F.embedding(places_BS[:, :-1], vectors_UD), real_BS[:, :-1])
        return states_BLD[real_BS[:, :-1]], vectors_UD

    def _column_loss(self, batch: Batch) -> Tensor:
        states_PD, vectors_UD = self._states(batch)
        numerator_U = -self.plain.log_popularity_N[batch.items_U]  # type: ignore[index]
        logits_PU = states_PD @ vectors_UD.T + (numerator_U + batch.counts_U.log())
        own_P1 = (logits_PU.gather(1, batch.targets_P[:, None])) - batch.counts_U.log()[batch.targets_P][:, None]
        logits_PU = logits_PU.scatter(1, batch.masked_BK[batch.rows_P], float("-inf"))
        return F.cross_entropy(logits_PU.scatter(1, batch.targets_P[:, None], own_P1), batch.targets_P)

    def _kernel_loss(self, batch: Batch) -> Tensor:
        return self.ours.trainer.loss(*self._states(batch), batch)

    def _own_loss(self, batch: Batch) -> Tensor:
        trainer = self.ours.trainer
        states_PD, vectors_UD = trainer.model(batch)
        return trainer.loss(states_PD, vectors_UD, batch)


def _descend(adamw: torch.optim.Optimizer, loss: Tensor, targets: int) -> int:
    adamw.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    adamw.step()
    return targets


def _check(steps: list[Step], bench: _Bench) -> None:
    """Compare the losses of all steps on one batch, without dropout."""
    bench.plain.eval()
    bench.ours.trainer.model.eval()
    batch = next(bench._fed())
    assert isinstance(batch, Batch)
    with torch.no_grad():
        losses = [float(step.loss(batch)) for step in steps]
    bench.plain.train()
    bench.ours.trainer.model.train()
    print(f"loss of one batch without dropout: {losses[0]:.6f}, the others within {max(losses) - min(losses):.1e}")
    if max(losses) - min(losses) > _ROUNDING * losses[0]:
        sys.exit(f"expected equal losses, found {losses}")


def _rate(step: Step, seconds: float) -> float:
    """Targets per second; the first batch is not counted."""
    step.train(next(step.batches))
    targets, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        targets += step.train(next(step.batches))
    return targets / (time.perf_counter() - began)


def _print(rates: dict[str, list[float]]) -> None:
    first, rows, before = next(iter(rates.values())), [], next(iter(rates.values()))
    for name, found in rates.items():
        ratio, gain = (statistics.median(a / b for a, b in zip(found, base, strict=True)) for base in (first, before))
        rows.append((name, f"{statistics.median(found):,.0f}", f"{ratio:.2f}", f"{gain:.2f}"))
        before = found
    print(f"{torch.get_num_threads()} threads")
    print(table(("step", "targets/s", "speed-up over the first", "speed-up over the previous"), rows))


def _print_validation(ours: TrainingSetup, rate: float) -> None:
    """Time a validation as after each epoch, and compare it with an epoch of tcf's step."""
    epoch, taken = ours.trainer.feed.rows.n_targets / rate, []
    if ours.validation is None:
        raise ValueError("expected a training with a validation, found a refit")
    validation = ours.validation.sample(ours.trainer.config.validation_users, 0)
    for _ in range(3):
        began = time.perf_counter()
        validation.measure(ours.trainer.model, "cpu")
        taken.append(time.perf_counter() - began)
    seconds = statistics.median(taken)
    users = len(validation.targets)
    print(f"validation ({users} users): {seconds:.2f} s, {100 * seconds / epoch:.1f} % of an epoch of {epoch:.1f} s")


if __name__ == "__main__":
    main()
