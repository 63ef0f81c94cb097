"""The plan that `tcf plan` would print on another machine, whose speed is assumed instead of measured.

    python benchmarks/plan_elsewhere.py 175b --items 100000 --gpus 1 --ram-gib 128

This plans a published size of OPT for the given number of texts of 14 tokens. The plan is computed as by `tcf plan`;
the rates of matrix products, of reading and of copying are arguments.
"""

import argparse
import json
import tempfile
from pathlib import Path

from tcf.config.extract import ExtractConfig
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.folder.opt_sizes import opt_size
from tcf.extract.plan.machine import Machine, Memory
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.plan.plan import Plan, plan_text
from tcf.extract.plan.planner import plan_extraction
from tcf.extract.plan.workload import expected_workload

GIB = 2**30
BASE = 2 * GIB  # memory of the program and its libraries
SHARE = 0.9  # share of the memory that tcf uses without a limit


def machine_of(chosen: argparse.Namespace) -> Machine:
    """The machine described by the arguments; all of its memory is free."""
    places = [f"cuda:{number}" for number in range(chosen.gpus)]
    ram = chosen.ram_gib * GIB
    memory = dict.fromkeys(places, _free(chosen.gpu_gib * GIB)) | {"cpu": _free(ram)}
    return Machine(tuple(places) or ("cpu",), memory, BASE)


def _free(size: int) -> Memory:
    return Memory(size, size, int(SHARE * size))


def plan_of(chosen: argparse.Namespace) -> Plan:
    """The plan for a size of OPT on that machine."""
    size = opt_size(f"opt-{chosen.size}")
    if size is None:
        raise SystemExit(f"{chosen.size}: expected a published size of OPT, such as 175b")
    products = chosen.tflops * 1e12
    copy = chosen.copy_gb_s * 1e9 if chosen.gpus else None  # a CPU reads RAM directly
    rates = Rates(products, products, chosen.block_share, chosen.disk_gb_s * 1e9, copy)
    config = ExtractConfig(dtype="float16" if chosen.gpus else "bfloat16")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(size.settings))
        work = expected_workload(chosen.items, None, config.max_tokens)
        model = open_model_folder(Path(folder))
        return plan_extraction(
            model, work, config, name=f"opt-{size.name}", out=None, machine=machine_of(chosen), rates=rates
        )


def main() -> None:
    """Plan and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--gpus", type=int, default=1, help="number of GPUs; 0 to compute on the CPU")
    parser.add_argument("--gpu-gib", type=int, default=80)
    parser.add_argument("--ram-gib", type=int, default=128)
    parser.add_argument("--tflops", type=float, default=400.0, help="TFLOP/s of matrix products on each device")
    parser.add_argument("--block-share", type=float, default=0.7, help="share of this rate that a whole block reaches")
    parser.add_argument("--disk-gb-s", type=float, default=3.0)
    parser.add_argument("--copy-gb-s", type=float, default=20.0, help="rate of copies from pinned memory to a GPU")
    print(plan_text(plan_of(parser.parse_args())))


if __name__ == "__main__":
    main()
