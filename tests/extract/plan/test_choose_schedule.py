"""Which schedule is chosen, which is refused and with which words, on machines of any size."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from small.encoders.models import edit_json
from small.extract.plans import CPU_RATES, GIB, KEYS, MIB, TORCH, cpu_machine, gpu_machine, opt_config, plan
from tcf.common.errors import ConfigError
from tcf.common.units import as_rate
from tcf.config.extract import ExtractConfig
from tcf.encoders.failures import NotSeparableError
from tcf.extract.plan.machine import Machine, parse_max_memory
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.plan.plan import places_in_words, plan_text
from tcf.extract.plan.planner import plan_for_items
from tcf.extract.plan.workload import Workload, expected_workload

BLOCK_13B = 12 * 5120**2 + 13 * 5120
AROUND_13B = (50_272 + 2050 + 2) * 5120


@pytest.fixture(scope="module")
def thirteen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return opt_config(tmp_path_factory.mktemp("13b") / "m", "opt-13b")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return opt_config(tmp_path_factory.mktemp("125m") / "m", "opt-125m")


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = opt_config(tmp_path_factory.mktemp("quantised") / "m", "opt-13b")
    edit_json(folder / "config.json", quantization_config={"quant_method": "awq", "bits": 4})
    return folder


@pytest.mark.parametrize(
    ("machine", "schedule"),
    [
        (gpu_machine(1, gpu=30 * GIB), "resident"),
        (gpu_machine(1, gpu=24 * GIB), "resident"),  # a sweep if it were not quantised, for larger micro-batches
        (gpu_machine(1, gpu=20 * GIB), "dispatch"),  # a sweep
        (gpu_machine(2, gpu=16 * GIB), "dispatch"),  # a pipeline
        (cpu_machine(24 * GIB), "dispatch"),
    ],
)
def test_quantised_weights_are_loaded_as_a_whole(quantised: Path, machine: Machine, schedule: str) -> None:
    found = plan(quantised, machine, 1000)
    assert found.schedule == schedule
    assert ("its weights are quantised" in found.reason) == (schedule == "dispatch")


@pytest.mark.parametrize(("schedule", "devices"), [("sweep", "cpu"), ("pipeline", "cpu,cpu")])
def test_a_plan_refuses_schedules_that_quantised_weights_do_not_have(
    quantised: Path, schedule: Any, devices: str
) -> None:
    config = ExtractConfig(schedule=schedule, devices=devices)
    with pytest.raises(NotSeparableError, match=r"its weights are quantised by awq\); pass --schedule dispatch or"):
        plan_for_items(str(quantised), 10, None, None, config)


def test_a_model_that_fits_is_resident_on_each_device(thirteen: Path) -> None:
    found = plan(thirteen, gpu_machine(2), 10**6)
    weights = 2 * (40 * BLOCK_13B + AROUND_13B)
    assert (found.schedule, found.around, set(found.blocks)) == ("resident", "cuda:0", {"cuda:0"})
    assert found.weight_bytes_read == found.checkpoint_bytes == weights
    assert found.memory_parts["cuda:1"]["weights"] == weights
    assert found.memory_parts["cpu"]["weights"] == 2 * weights  # on the way to two devices
    assert (found.macro_batches, found.macro_batch_rows, found.micro_batch_tokens) == (16, 65_536, None)
    assert found.compute_seconds == pytest.approx(found.flops / (2 * 480e12))
    assert found.seconds == pytest.approx(found.compute_seconds + weights / 6e9)


@pytest.mark.parametrize(
    ("machine", "schedule"),
    [
        (gpu_machine(1, gpu=30 * GIB), "resident"),  # 23.9 GiB of weights
        (gpu_machine(1, gpu=24 * GIB), "sweep"),
        (gpu_machine(2, gpu=16 * GIB), "pipeline"),
        (gpu_machine(2, gpu=8 * GIB), "sweep"),
        (cpu_machine(60 * GIB), "resident"),  # 47.9 GiB in float32
        (cpu_machine(24 * GIB), "sweep"),
    ],
)
def test_the_first_schedule_that_fits_is_chosen(thirteen: Path, machine: Any, schedule: str) -> None:
    found = plan(thirteen, machine, 1000)
    assert found.schedule == schedule
    assert all(found.peak_memory_bytes[place] <= found.memory_limits[place] for place in found.peak_memory_bytes)
    # Requested by name, it is the same.
    assert plan(thirteen, machine, 1000, schedule=schedule).as_json() == {**found.as_json(), "reason": "as requested"}


def test_processors_share_memory_and_speed(small: Path) -> None:
    one, two = plan(small, cpu_machine(24 * GIB), 1000), plan(small, cpu_machine(24 * GIB, n=2), 1000)
    assert two.memory_parts["cpu"] == {name: 2 * size for name, size in one.memory_parts["cpu"].items()}
    assert two.compute_seconds == one.compute_seconds
    laid = plan(small, cpu_machine(24 * GIB, n=2), 1000, schedule="pipeline")
    assert (laid.devices, laid.blocks) == (("cpu", "cpu"), ("cpu",) * 12)
    assert laid.memory_parts["cpu"]["base"] == TORCH


def test_a_type_that_onednn_lacks_is_not_laid_out_for_it(small: Path) -> None:
    """A block of 7.1 million parameters in 16 bits is 13.5 MiB; oneDNN itself takes 90 MiB less."""
    machine = cpu_machine(24 * GIB)
    with_it = plan(small, machine, 1000, schedule="sweep", dtype="bfloat16")
    without = plan(small, replace(machine, onednn_types=frozenset()), 1000, schedule="sweep", dtype="bfloat16")
    block = (12 * 768**2 + 13 * 768) * 2
    assert (with_it.packs, without.packs) == (True, False)
    assert with_it.memory_parts["cpu"]["slots"] - without.memory_parts["cpu"]["slots"] == block
    assert without.memory_parts["cpu"]["base"] == TORCH - 90 * MIB


def test_the_micro_batch_is_left_to_the_trial_where_that_fits(small: Path) -> None:
    """Of 124 million parameters in float32, 500 MB; a token takes 58 kB of workspace, 8,192 tokens 453 MiB."""
    token = (4 * 768 + 2 * 3072) * 4 + 4 * 768
    # The trial ends after a size whose three calls bring it beyond 5 s: here, by 0.87 ms a token, with 2,048.
    found = plan(small, cpu_machine(8 * GIB), 1000)
    assert (found.micro_batch_tokens, found.memory_parts["cpu"]["workspace"]) == (None, 2048 * token)
    quick = plan(
        small, cpu_machine(8 * GIB), 1000, rates=Rates(products=1e13, plain=1e13, block_share=1.0, storage=1e9)
    )
    assert quick.memory_parts["cpu"]["workspace"] == 8192 * token
    narrow = plan(small, cpu_machine(TORCH + 490 * MIB, base=0), 100)
    assert narrow.schedule == "resident" and narrow.micro_batch_tokens == 256
    assert plan(small, cpu_machine(8 * GIB), 1000, tokens_per_batch=100).micro_batch_tokens == 100


def test_a_micro_batch_has_no_more_tokens_than_texts_of_one_length_have(small: Path) -> None:
    work = Workload(1000, 1000, 1000, 14_000, 0.0, longest=30, group_tokens=1500, exact=True)
    token = (4 * 768 + 2 * 3072) * 4 + 4 * 768
    whole = plan(small, cpu_machine(8 * GIB), work, schedule="sweep")
    assert whole.memory_parts["cpu"]["workspace"] == 1500 * token and whole.micro_batch_tokens == 2048
    # A tenth of the texts in each shard; but never less than the longest text.
    assert (
        plan(small, cpu_machine(8 * GIB), work, schedule="sweep", shard_rows=100).memory_parts["cpu"]["workspace"]
        == 150 * token
    )
    assert (
        plan(small, cpu_machine(8 * GIB), work, schedule="sweep", shard_rows=2).memory_parts["cpu"]["workspace"]
        == 30 * token
    )


def test_weights_that_stay_in_their_file_are_no_memory(small: Path) -> None:
    """Stored as float16: computed in that type, embeddings are read from the file's own pages."""
    blocks, around = 12 * (12 * 768**2 + 13 * 768), (50_272 + 2050 + 2) * 768
    for dtype, weights in (
        ("float16", 2 * blocks),
        ("bfloat16", 2 * (blocks + around)),
        ("float32", 4 * (blocks + around)),
    ):
        assert plan(small, cpu_machine(8 * GIB), 100, dtype=dtype).memory_parts["cpu"]["weights"] == weights


def test_dispatch_reads_for_every_micro_batch(thirteen: Path) -> None:
    found = plan(thirteen, cpu_machine(10 * GIB), 1000, schedule="dispatch", dtype="float16", tokens_per_batch=448)
    on_disk = [name for name, place in found.dispatch_map.items() if place == "disk"]
    assert on_disk and all(name.startswith("decoder.layers.") for name in on_disk)
    assert found.micro_batch_tokens == 448 and found.blocks == ()
    # 14,000 tokens are 32 micro-batches; without prefetching, reading and computing add up.
    assert found.weight_bytes_read == found.checkpoint_bytes + 31 * len(on_disk) * 2 * BLOCK_13B
    assert found.seconds == pytest.approx(found.compute_seconds + found.read_seconds)
    assert found.places == found.dispatch_map
    assert found.peak_memory_bytes["cpu"] <= 10 * GIB


def test_dispatch_fetches_one_matrix_at_a_time(thirteen: Path) -> None:
    """Hooks bring the weights that are a module's own, and no whole block."""
    found = plan(thirteen, cpu_machine(10 * GIB), 1000, schedule="dispatch", dtype="float16", tokens_per_batch=448)
    assert found.memory_parts["cpu"]["slots"] == 2 * (4 * 5120**2 + 4 * 5120)  # fc1 with its bias


def test_a_model_whose_blocks_are_not_recognised(family: Callable[[str], Path]) -> None:
    folder = family("albert")
    assert plan(folder, cpu_machine(8 * GIB), 100).schedule == "resident"
    for schedule in ("sweep", "pipeline"):
        with pytest.raises(ConfigError, match=f"--schedule {schedule}: .* blocks are not recognised; pass --schedule"):
            plan(folder, cpu_machine(8 * GIB, n=2), 100, schedule=schedule)
    # In bfloat16, as on CUDA; there is no room for anything beside the weights.
    weights = plan(folder, cpu_machine(8 * GIB), 1).memory_parts["cpu"]["weights"]
    tight = plan(folder, gpu_machine(1, gpu=weights // 2), 1, tokens_per_batch=1)
    assert tight.schedule == "dispatch" and "cpu" in tight.dispatch_map.values()


@pytest.mark.parametrize(
    ("machine", "settings", "words"),
    [
        # Two buffers for a block of 0.59 GiB.
        (gpu_machine(1, gpu=GIB), {}, r"expected 1.7 GiB on cuda:0 \(block buffers 1.2 GiB, .*, found 1.0 GiB to use"),
        (cpu_machine(GIB), {"dtype": "float16"}, r"small \(--schedule auto, float16\): expected 1.8 GiB on cpu "),
        (cpu_machine(GIB), {"dtype": "float32"}, r"or pass a 16-bit --dtype$"),
        (gpu_machine(1, gpu=1500 * MIB), {}, "expected 1.7 GiB on cuda:0 .*weights 511 MiB"),
        (cpu_machine(1800 * MIB), {"dtype": "float16"}, "expected 1.8 GiB on cpu .*program 100 MiB"),
        (
            cpu_machine(1920 * MIB),
            {"dtype": "float16", "tokens_per_batch": 2000},
            "activations 273 MiB.*, found 1.9 GiB to use; .* or pass a lower --tokens-per-batch",
        ),
        (gpu_machine(1, gpu=23 * GIB), {"schedule": "resident"}, r"--schedule resident.*weights 23.9 GiB.* pass --sch"),
        (gpu_machine(2, gpu=8 * GIB), {"schedule": "pipeline"}, "23.9 GiB for all blocks together on cuda:0, cuda:1"),
        (gpu_machine(1), {"schedule": "pipeline"}, "--schedule pipeline: expected several --devices, found cuda:0"),
        # 10,000 vectors of 5120 float16 numbers, with 16 bytes of key and 32 of the text map.
        (gpu_machine(1, disk=10**8), {}, r"expected 98.1 MiB of free disk space \(102880000 bytes.*, found 95.4 MiB"),
        (gpu_machine(1, disk=10**8), {"storage": "float32"}, "on another disk, or pass --storage float16"),
        (gpu_machine(1, disk=10**8), {"layers": (1, 2)}, "pass fewer --layers"),
        (cpu_machine(2000 * MIB), {"dtype": "float16", "shard_rows": 4096}, "or pass fewer --shard-rows"),
        (cpu_machine(64 * GIB, disk=0), {"checkpoint_layers": 1, "schedule": "sweep"}, "free disk space"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_says_what_would_make_it_fit(
    thirteen: Path, machine: Any, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(thirteen, machine, 10_000, **settings)


@pytest.mark.parametrize(
    ("machine", "settings"),
    [
        (cpu_machine(8 * GIB), {"dtype": "float16"}),
        (cpu_machine(8 * GIB), {"schedule": "resident"}),
        (gpu_machine(2), {"schedule": "pipeline"}),
    ],
)
def test_the_smallest_memory_that_works_is_named(small: Path, machine: Machine, settings: dict[str, Any]) -> None:
    """With the limits that the error names a plan can be made, and with a fifth less of any of them it cannot."""

    def attempt(limits: dict[str, int]) -> None:
        memory = {
            name: replace(found, limit=limits["cpu" if name == "cpu" else "gpu"])
            for name, found in machine.memory.items()
        }
        plan(small, replace(machine, memory=memory), 10_000, **settings)

    with pytest.raises(ConfigError, match=r"pass --max-memory \S+ or more") as caught:
        attempt({"gpu": MIB, "cpu": MIB})
    said = str(caught.value).split("--max-memory ")[1].split(" ")[0]
    limits = parse_max_memory(said.replace("gpu=", "cuda:0="), ["cuda:0"])
    limits = {name.replace("cuda:0", "gpu"): size for name, size in limits.items()}
    assert limits.keys() == ({"cpu"} if machine.on_cpu else {"gpu", "cpu"})
    attempt(limits)
    for place, size in limits.items():
        with pytest.raises(ConfigError, match=f"found .* to use; pass --max-memory {said} or more"):
            attempt({**limits, place: size * 8 // 10})


def test_blocks_in_ram_are_kept_as_stored(thirteen: Path) -> None:
    """Computed in float32 on a GPU, a block of float16 takes half as much in RAM as there."""
    found = plan(thirteen, gpu_machine(1, gpu=12 * GIB, ram=16 * GIB), 10**6, dtype="float32")
    parts = found.memory_parts["cpu"]
    kept = found.blocks.count("cpu")
    assert parts["weights"] == kept * 2 * BLOCK_13B and "disk" in found.blocks
    left = 16 * GIB - sum(parts.values())
    assert 0 <= left < 2 * BLOCK_13B  # another one has no room
    assert found.memory_parts["cuda:0"]["slots"] == 2 * 4 * BLOCK_13B + 2 * BLOCK_13B


def test_saved_states_have_to_fit_the_disk_too(thirteen: Path) -> None:
    machine = gpu_machine(1, gpu=16 * GIB, disk=2 * 10**9)
    # 10,000 texts: vectors of 102.88 MB, and twice 1.43 GB of states.
    assert plan(thirteen, machine, 10_000).spill_bytes == 0
    with pytest.raises(ConfigError, match=r"98.1 MiB of results and, temporarily, 2.7 GiB of hidden states"):
        plan(thirteen, machine, 10_000, checkpoint_layers=4, shard_rows=10_000)
    # Of 6,616 texts at once they would fit.
    fewer = plan(thirteen, machine, 10_000, checkpoint_layers=4)
    assert (fewer.macro_batch_rows, fewer.spill_bytes) == (4096, 2 * 4096 * 14 * 5120 * 2)


def test_processors_of_one_memory_gain_nothing_from_a_pipeline(thirteen: Path) -> None:
    assert plan(thirteen, cpu_machine(40 * GIB, n=2), 1000, dtype="float16").schedule == "sweep"
    assert (
        plan(thirteen, cpu_machine(40 * GIB, n=2), 1000, dtype="float16", schedule="pipeline").blocks == ("cpu",) * 40
    )


def test_states_in_memory_or_on_disk_as_memory_allows(thirteen: Path) -> None:
    """The same machine with a little memory for states, then with hardly any."""
    machine, quick = cpu_machine(2200 * MIB), Rates(products=1e15, plain=1e15, block_share=1.0, storage=1e9)
    # Computing 14 tokens takes 0.36 ms and reading all blocks 25 s: 70,000 texts would be wanted at least.
    spilled = plan(thirteen, machine, 10**6, dtype="float16", rates=quick)
    assert spilled.hidden_states == "disk" and spilled.spill_bytes == spilled.hidden_state_bytes > 0
    slow = plan(thirteen, machine, 10**6, dtype="float16", rates=CPU_RATES)
    assert slow.hidden_states == "memory" and slow.spill_bytes == 0
    for found in (spilled, slow):
        assert found.peak_memory_bytes["cpu"] <= 2200 * MIB


def test_outputs_of_several_layers_and_token_states(small: Path) -> None:
    work = Workload(
        items=3000, texts=2000, sequences=1000, tokens=12_000, squares=0.0, longest=30, group_tokens=3000, exact=True
    )
    plain = plan(small, cpu_machine(8 * GIB), work)
    assert plain.output_bytes == 1000 * (768 * 2 + 16) + 2000 * 32
    several = plan(small, cpu_machine(8 * GIB), work, layers=(0, 6), storage="float32", parquet=True)
    assert several.output_bytes == 2 * (1000 * (768 * 4 + 16) + 2000 * 32 + 3000 * 768 * 4)
    assert len(several.blocks) == 6 and several.parameters < plain.parameters
    tokens = plan(small, cpu_machine(8 * GIB), work, token_states=11, token_storage="bfloat16")
    assert tokens.output_bytes == 12_000 * 768 * 2 + 1000 * (16 + 8) + 2000 * 32
    assert tokens.macro_batch_rows == 8192
    wide = plan(small, cpu_machine(64 * GIB), work, token_states=11, max_tokens=2000, token_storage="float32")
    assert wide.macro_batch_rows == 2**30 // (2000 * 768 * 4)  # as texts may be that long


def test_nothing_to_compute(small: Path) -> None:
    found = plan(small, cpu_machine(8 * GIB), Workload(10, 10, 0, 0, 0.0, 0, 0, exact=True))
    assert (found.macro_batches, found.weight_bytes_read, found.seconds, found.flops) == (0, 0, 0.0, 0)
    assert "time: none: everything is in the cache already" in plan_text(found)


def test_a_hundred_million_items_take_no_time_to_plan(thirteen: Path) -> None:
    plan(thirteen, gpu_machine(1, gpu=16 * GIB), 1000)
    began = time.perf_counter()
    found = plan(thirteen, gpu_machine(1, gpu=16 * GIB, ram=64 * GIB), 10**8)
    assert time.perf_counter() - began < 2
    assert found.macro_batches == -(-(10**8) // found.macro_batch_rows)


def test_json_and_text(thirteen: Path) -> None:
    found = plan(thirteen, gpu_machine(1, gpu=16 * GIB, ram=64 * GIB, disk=2 * 10**12), 10**8)
    shown = json.loads(json.dumps(found.as_json()))
    assert shown.keys() >= KEYS
    assert shown["peak_memory_bytes"] == {place: sum(parts.values()) for place, parts in shown["memory_parts"].items()}
    named = plan_text(replace(found, model="smollm2-135m"))
    assert named.startswith("model: smollm2-135m (SmolLM2-135M-Instruct, 4-bit GGUF): 12.9 billion parameters")
    lines = dict(line.split(": ", 1) for line in plan_text(found).splitlines())
    assert lines["model"].startswith("small: 12.9 billion parameters, computed in float16; checkpoint 23.9 GiB")
    assert lines["schedule"].startswith(
        "sweep on cuda:0 (blocks outside, micro-batches inside), because the whole model "
    )
    assert "does not fit: it needs 24.0 GiB on cuda:0 (weights 23.9 GiB, " in lines["schedule"]
    assert lines["schedule"].endswith("), and 16.0 GiB are available")
    assert "around the blocks on cuda:0, blocks 1-" in lines["weights"] and "in RAM" in lines["weights"]
    assert "about 1,400,000,000 tokens" in lines["texts"]
    assert f"{found.macro_batches:,} macro-batches of at most {found.macro_batch_rows:,} texts" in lines["batches"]
    assert "of 16.0 GiB (block buffers 1.2 GiB, weights" in lines["cuda:0 memory"]
    assert lines["time"].endswith(f", {as_rate(found.items_per_second)} items per second")
    assert lines["output"].endswith("1.8 TiB free on its disk")


def test_slow_plans_say_the_time_per_item(thirteen: Path) -> None:
    found = plan(thirteen, gpu_machine(1, gpu=16 * GIB, ram=64 * GIB, disk=2 * 10**12), 100)
    for seconds, pace in ((8_000, "80.0 s per item"), (144_000, "24 min per item"), (10**6, "2:46:40 per item")):
        slow = replace(found, seconds=float(seconds), items_per_second=100 / seconds)
        assert f", {pace}\n" in plan_text(slow)


def test_ranges_of_blocks_in_words() -> None:
    assert places_in_words(("a", "a", "disk", "b", "b", "b")) == [
        ("blocks 1-2", "a"), ("block 3", "disk"), ("blocks 4-6", "b")
    ]  # fmt: skip
    assert places_in_words(()) == []


def test_a_catalogue_that_is_not_there_is_taken_as_titles() -> None:
    assert expected_workload(1000, None, 30) == Workload(1000, 1000, 1000, 14_000, 196_000.0, 30, 14_000, exact=False)
    assert expected_workload(1000, 50, 30).tokens == 30_000  # cut at the limit
