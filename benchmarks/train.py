"""Training compared with a straightforward step and RecTools' SASRec: targets/s, memory, NDCG@10 after equal time.

    python benchmarks/train.py --data DATASET --cache CACHE --rectools PYTHON --seconds 300 --repeats 3
        --expect-rectools 3 --expect-straightforward 5

Every contender runs in a separate process, in turn, for the same time on the same training items, with the same width,
layers, heads, length, batch size, dropout and learning rate; then its model ranks the whole catalogue for the same
validation users. Medians over the seeds are printed, for ratios too.

- idcf, idcf-full: tcf with items as ids; in-batch and full softmax.
- tcf-WIDTH, tcf-WIDTH-full: tcf with items as cached vectors of that width. If the cache has another width, a random
  projection of its vectors is used; without a cache, the vectors are random.
- straightforward-WIDTH: a straightforward implementation of the study's model with in-batch softmax
  (`train_straightforward.py`): a DataLoader of padded samples, every position through the DTL, every position a
  candidate. Its loss and gradients on one batch without dropout must equal those of tcf, which is checked first.
- rectools: RecTools' SASRec with full softmax, in the environment of the interpreter given (`rectools_sasrec.py`).

A target is an item to be predicted from those before it; padding does not count. Memory is the peak of anonymous and
shared memory, which no file backs, until the end of training. On a GPU, tcf computes in bfloat16, its default there,
and the others in float32. The exit status is 1 if an expectation is not met.
"""

import argparse
import statistics
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import torch
from processes import end_orderly, expect, mib, table
from train_contenders import Bench, Contender, Outcome, contenders

from tcf.common.errors import TcfError
from tcf.config.fields import from_mapping
from tcf.config.train import TrainConfig
from tcf.data.dataset import open_dataset

_ROUNDING = 1e-4  # relative tolerance of loss and gradients in float32

Outcomes = dict[Contender, list[Outcome]]


def main() -> None:
    """Measure and print."""
    end_orderly()
    options = _options()
    wanted = _wanted(options)
    with tempfile.TemporaryDirectory(prefix="tcf-benchmark-", dir=options.folder) as scratch:
        try:
            bench = _bench(options, Path(scratch))
        except TcfError as error:
            sys.exit(str(error))
        _print_setting(bench, options)
        is_right = _check_steps(bench, wanted)
        outcomes: Outcomes = {contender: [] for contender in wanted}
        for seed in range(options.repeats):
            for contender in wanted:
                outcomes[contender].append(bench.train(contender, seed))
                _print_one(contender, seed, outcomes[contender][-1])
    _print_outcomes(outcomes)
    sys.exit(0 if all([is_right, *_compare(outcomes, options)]) else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="A prepared dataset.")
    parser.add_argument("--cache", type=Path, help="Its vector cache; default: random vectors.")
    parser.add_argument("--rectools", type=Path, help="Interpreter of RecTools' environment; default: no RecTools.")
    parser.add_argument("--contenders", help="Some of those above, separated by commas; default: all.")
    parser.add_argument("--widths", default="384,4096", help="Widths of cached vectors.")
    parser.add_argument("--seconds", type=float, default=120.0, help="Training time of each contender and seed.")
    parser.add_argument("--repeats", type=int, default=1, help="Number of seeds; medians are printed.")
    parser.add_argument("--validation-users", type=int, default=10_000, help="Maximum number, drawn at random.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="Threads of torch.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--width", type=int, default=128, help="Width of the model.")
    parser.add_argument("--batch", type=int, default=256, help="Users per step.")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--history", type=int, default=20, help="Items of a history that the model reads.")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1, help="For all but RecTools, whose Adam has none.")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=_SET_HELP)
    parser.add_argument("--folder", type=Path, help="For temporary files; default: the system's.")
    parser.add_argument(
        "--expect-rectools", type=float, help="Minimum speed of idcf relative to rectools, at no lower NDCG."
    )
    parser.add_argument("--expect-straightforward", type=float, help=_STRAIGHTFORWARD_HELP)
    return parser.parse_args()


_SET_HELP = 'A setting of `tcf train` for contenders of tcf, as in a TOML file: norm="pre". May be repeated.'
_STRAIGHTFORWARD_HELP = "Minimum speed of tcf, at the largest width and in-batch, relative to the straightforward step."


def _wanted(options: argparse.Namespace) -> list[Contender]:
    known = {contender.name: contender for contender in contenders([int(width) for width in options.widths.split(",")])}
    names = list(known) if options.contenders is None else options.contenders.split(",")
    for name in names:
        if name not in known:
            sys.exit(f"--contenders: expected some of {','.join(known)}, found {name}")
    if options.rectools is None and "rectools" in names:
        print("rectools: left out; pass --rectools with the interpreter of its environment", flush=True)
        names.remove("rectools")
    found = [known[name] for name in names]
    _refuse_unjudged(found, options)
    return found


def _refuse_unjudged(wanted: list[Contender], options: argparse.Namespace) -> None:
    """Exit if an expectation concerns contenders that do not run, or if the interpreter is missing."""
    kinds = {contender.kind for contender in wanted}
    widest = max(contender.width or 0 for contender in wanted) if wanted else 0
    at_widest = {c.kind for c in wanted if c.width == widest and c.loss == "in-batch"}
    if options.expect_rectools is not None and not ("rectools" in kinds and any(c.is_idcf for c in wanted)):
        sys.exit("--expect-rectools: expected rectools (with --rectools) and idcf or idcf-full among the contenders")
    if options.expect_straightforward is not None and not {"tcf", "straightforward"} <= at_widest:
        sys.exit("--expect-straightforward: expected tcf and straightforward at the largest width among the contenders")
    if "rectools" in kinds and not options.rectools.is_file():
        sys.exit(f"--rectools: expected a Python interpreter, found none at {options.rectools}")


def _bench(options: argparse.Namespace, folder: Path) -> Bench:
    common = {
        "width": options.width,
        "blocks": options.blocks,
        "heads": options.heads,
        "history": options.history,
        "dropout": options.dropout,
        "batch_size": options.batch,
        "learning_rate": options.learning_rate,
        "weight_decay": options.weight_decay,
        "devices": options.device,
    }
    own = _own_settings(options.set)
    from_mapping(TrainConfig, {**common, **own}, "settings")  # refuses what `tcf train` refuses
    return Bench(
        open_dataset(options.data),
        options.cache,
        folder,
        common,
        own,
        options.seconds,
        options.threads,
        options.validation_users,
        options.rectools,
    )


def _own_settings(given: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads("\n".join(given))
    except tomllib.TOMLDecodeError as error:
        sys.exit(f'--set: expected NAME=VALUE as in a TOML file, such as norm="pre", found {given} ({error})')


def _print_setting(bench: Bench, options: argparse.Namespace) -> None:
    """Print the settings that all contenders share."""
    dataset = bench.dataset
    machine = torch.cuda.get_device_name() if options.device == "cuda" else torch.backends.cpu.get_cpu_capability()
    vectors = "random" if options.cache is None else str(options.cache)
    print(f"{dataset.path}: {dataset.n_users} users, {dataset.n_items} items; vectors: {vectors}")
    print(f"{options.device}, {machine}, {bench.threads} threads; {bench.seconds:g} s each, {options.repeats} seeds")
    print(f"all: {', '.join(f'{name} {value}' for name, value in bench.common.items())}")
    print(f"only tcf: {', '.join(options.set) or 'nothing else'}")
    print(f"validation: {len(bench.validation.users)} users, whole catalogue", flush=True)


def _check_steps(bench: Bench, wanted: list[Contender]) -> bool:
    """Whether the straightforward steps compute the same loss and gradients as tcf."""
    is_right = True
    for contender in wanted:
        if contender.kind == "straightforward" and contender.width is not None:
            found = bench.check(contender.width)
            ours, theirs, gap = found["loss"], found["straightforward"], found["gradient_gap"]
            print(f"{contender.name}: loss of one batch {theirs:.6f}, tcf's {ours:.6f}; gradients differ by {gap:.1e}")
            is_equal = abs(ours - theirs) <= _ROUNDING * abs(theirs) and gap <= _ROUNDING
            is_right &= expect(is_equal, f"{contender.name} to compute the same as tcf", f"{theirs}, {ours}, {gap}")
    return is_right


def _print_one(contender: Contender, seed: int, found: Outcome) -> None:
    print(
        f"{contender.name}, seed {seed}: {found.rate:.0f} targets/s, {mib(found.peak)} MiB, NDCG@10 {found.ndcg:.5f}, "
        f"{found.epochs} epochs begun in {found.seconds:.1f} s, {found.parameters} parameters, {found.threads} threads",
        flush=True,
    )


def _print_outcomes(outcomes: Outcomes) -> None:
    """Print medians, and the speed of each contender relative to RecTools."""
    on_gpu = any(found.device_peak for every in outcomes.values() for found in every)
    columns = ["", "targets/s", "speed-up over rectools", "memory, MiB", "NDCG@10 after equal time"]
    rectools = [contender for contender in outcomes if contender.kind == "rectools"]
    rows = []
    for contender, every in outcomes.items():
        ratio = f"{_ratio(every, outcomes[rectools[0]]):.2f}" if rectools else "-"
        memory = mib(statistics.median(found.peak for found in every))
        row = [contender.name, f"{_rate(every):,.0f}", ratio, memory, f"{_ndcg(every):.5f}"]
        rows.append([*row, mib(statistics.median(found.device_peak for found in every))] if on_gpu else row)
    print(f"\n{table([*columns, 'on the GPU, MiB'] if on_gpu else columns, rows)}\n")


def _compare(outcomes: Outcomes, options: argparse.Namespace) -> list[bool]:
    """Print ratios; returns whether each expectation is met."""
    met = []
    for peer, theirs in outcomes.items():
        for own, ours in outcomes.items():
            ratio = _ratio(ours, theirs)
            match peer.kind:
                case "straightforward" if own.kind == "tcf" and own.width == peer.width:
                    print(f"{own.name} is {ratio:.2f} times as fast as {peer.name}")
                    is_judged = own.loss == "in-batch" and own.width == max(c.width or 0 for c in outcomes)
                    if is_judged and options.expect_straightforward is not None:
                        met.append(_expect_ratio(ratio, options.expect_straightforward, own, peer))
                case "rectools" if own.is_idcf and options.expect_rectools is not None:
                    met.append(_expect_ratio(ratio, options.expect_rectools, own, peer))
                    target = f"{own.name}'s NDCG@10 to be at least {peer.name}'s, {_ndcg(theirs):.5f}"
                    met.append(expect(_ndcg(ours) >= _ndcg(theirs), target, f"{_ndcg(ours):.5f}"))
    return met


def _expect_ratio(ratio: float, target: float, own: Contender, peer: Contender) -> bool:
    return expect(ratio >= target, f"{own.name} to be {target:g} times as fast as {peer.name}", f"{ratio:.2f}")


def _rate(every: list[Outcome]) -> float:
    return statistics.median(found.rate for found in every)


def _ratio(ours: list[Outcome], theirs: list[Outcome]) -> float:
    """The median ratio over seeds; runs with the same seed follow one another, so that the machine is equally busy."""
    return statistics.median(own.rate / other.rate for own, other in zip(ours, theirs, strict=True))


def _ndcg(every: list[Outcome]) -> float:
    return statistics.median(found.ndcg for found in every)


if __name__ == "__main__":
    main()
