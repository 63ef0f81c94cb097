"""Plans for OPT-175B on machines that few have; all numbers were worked by hand.

A block has 12 x 12288^2 + 13 x 12288 = 1,812,099,072 numbers, of which 12 x 12288^2 are of matrices. Around the blocks
are 50,272 + 2,050 embeddings of width 12,288 and a norm, together 642,957,312.
"""

from pathlib import Path

import pytest

from small.extract.plans import GIB, TORCH, cpu_machine, gpu_machine, opt_config, plan
from tcf.common.errors import ConfigError
from tcf.extract.plan.measured_rates import Rates

BLOCK, AROUND, WIDTH = 1_812_099_072, 642_957_312, 12_288
PARAMETERS = 96 * BLOCK + AROUND
MATRICES = 96 * 12 * WIDTH**2
STATES = 14 * WIDTH * 2  # of a text of 14 tokens
WORKSPACE = (12 * 2 + 4) * WIDTH  # of a token


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return opt_config(tmp_path_factory.mktemp("175b") / "m", "opt-175b")


def flops(texts: int) -> int:
    return 2 * MATRICES * texts * 14 + 4 * WIDTH * texts * 14**2 * 96


def test_one_gpu_takes_all_texts_of_a_small_catalogue_through_each_block_once(folder: Path) -> None:
    found = plan(folder, gpu_machine(1), 100_000)
    assert (found.schedule, found.dtype, found.devices) == ("sweep", "float16", ("cuda:0",))
    assert found.parameters == PARAMETERS == 174_604_468_224
    assert found.checkpoint_bytes == found.weight_bytes_read == 2 * PARAMETERS
    assert (found.macro_batches, found.macro_batch_rows, found.micro_batch_tokens) == (1, 131_072, 16_384)
    # Nothing is read twice, so that nothing has to stay.
    assert set(found.blocks) == {"disk"} and len(found.blocks) == 96
    assert (found.hidden_states, found.hidden_state_bytes) == ("device", 100_000 * STATES)
    assert found.flops == flops(100_000) == 487_141_775_769_600_000
    assert found.compute_seconds == pytest.approx(487.1417757696e15 / 480e12)
    # Around the blocks 1.29 GB, all blocks 348 GB at 6 GB/s; computing, which takes longer, hides the latter.
    assert found.read_seconds == pytest.approx(2 * PARAMETERS / 6e9)
    first_block = 2 * BLOCK / 6e9
    assert found.seconds == pytest.approx(2 * AROUND / 6e9 + first_block + found.compute_seconds)
    assert found.items_per_second == pytest.approx(100_000 / found.seconds)
    assert found.memory_parts["cuda:0"] == {
        "slots": 2 * 2 * BLOCK,
        "weights": 2 * AROUND,
        "workspace": 16_384 * WORKSPACE,
        "states": 100_000 * STATES,
    }
    assert found.memory_parts["cpu"] == {"slots": 4 * BLOCK, "base": TORCH, "outputs": 100_000 * WIDTH * 2}
    assert found.output_bytes == 100_000 * (2 * WIDTH + 16 + 32)


def test_one_gpu_keeps_blocks_there_and_in_ram_for_a_large_catalogue(folder: Path) -> None:
    found = plan(folder, gpu_machine(1), 10**8)
    # Reading all blocks takes 57.99 s, a text 0.010149 s: reading is 5 % of computing from 114,277 texts on, and states
    # of 131,072 are 45 GB, more than half of the 71.7 GB that the GPU has left.
    assert (found.macro_batch_rows, found.hidden_states) == (131_072, "memory")
    assert found.macro_batches == 763  # 100,000,000 / 131,072 = 762.9
    # 85.90 GB less 7.25 of slots, 1.29 around and 5.64 of workspace is room for 19 blocks of 3.62 GB; RAM has it for
    # all others.
    assert found.blocks == ("cuda:0",) * 19 + ("cpu",) * 77
    assert found.places == {"around": "cuda:0", "blocks 1-19": "cuda:0", "blocks 20-96": "cpu"}
    assert found.weight_bytes_read == 2 * PARAMETERS
    assert found.memory_parts["cpu"]["weights"] == 77 * 2 * BLOCK
    assert found.memory_parts["cpu"]["states"] == 131_072 * STATES
    assert found.memory_parts["cpu"]["outputs"] == 2 * 131_072 * WIDTH * 2  # one shard is saved, one computed
    assert found.memory_parts["cuda:0"]["weights"] == 2 * AROUND + 19 * 2 * BLOCK
    assert all(found.peak_memory_bytes[place] <= found.memory_limits[place] for place in ("cuda:0", "cpu"))
    # Copied to the GPU: 77 blocks 763 times, and the states to and fro once a block.
    copied = 763 * 77 * 2 * BLOCK + 2 * 96 * 10**8 * STATES
    assert found.read_seconds == pytest.approx(2 * PARAMETERS / 6e9 + copied / 50e9)
    assert found.seconds == pytest.approx(2 * PARAMETERS / 6e9 + flops(10**8) / 480e12)


def test_what_neither_gpu_nor_ram_can_keep_is_read_for_every_macro_batch(folder: Path) -> None:
    found = plan(folder, gpu_machine(1, ram=200 * GIB), 10**7)
    # RAM: 214.7 GB less slots 7.25, the program 0.10, states 45.1 and vectors 6.44 is room for 43 blocks.
    assert found.blocks == ("cuda:0",) * 19 + ("cpu",) * 43 + ("disk",) * 34
    assert found.macro_batches == 77
    assert found.weight_bytes_read == 2 * (AROUND + 62 * BLOCK) + 77 * 34 * 2 * BLOCK


def test_eight_gpus_hold_it_together(folder: Path) -> None:
    found = plan(folder, gpu_machine(8), 10**6)
    assert (found.schedule, found.around) == ("pipeline", "cuda:0")
    assert found.blocks == tuple(f"cuda:{number // 12}" for number in range(96))
    assert found.weight_bytes_read == 2 * PARAMETERS
    assert found.memory_parts["cuda:7"] == {
        "weights": 2 * (AROUND + 12 * BLOCK), "workspace": 16_384 * (WORKSPACE + 3 * WIDTH * 2)
    }  # fmt: skip
    assert found.memory_parts["cuda:3"]["weights"] == 2 * 12 * BLOCK  # what is around is on the first and the last
    assert (found.macro_batch_rows, found.macro_batches) == (65_536, 16)
    assert found.compute_seconds == pytest.approx(flops(10**6) / (8 * 480e12))
    # 854 micro-batches; in each of 16 shards the last GPU waits for seven others.
    waiting = found.compute_seconds * 7 * 16 / 854
    assert found.seconds == pytest.approx(2 * PARAMETERS / 6e9 + found.compute_seconds + waiting)


def test_uneven_layer_ranges_where_even_ones_do_not_fit(folder: Path) -> None:
    found = plan(folder, gpu_machine(5), 10**6)
    # Each has 85.90 - 6.84 - 1.29 GB for blocks of 3.62 GB: 21 at most, and 20 if they are laid evenly.
    assert [found.blocks.count(f"cuda:{number}") for number in range(5)] == [20, 20, 20, 20, 16]
    assert found.compute_seconds == pytest.approx(flops(10**6) / (5 * 480e12) * 20 / (96 / 5))


def test_gpus_that_do_not_hold_it_share_every_block(folder: Path) -> None:
    found = plan(folder, gpu_machine(2), 100_000)
    assert (found.schedule, found.devices) == ("sweep", ("cuda:0", "cuda:1"))
    assert found.hidden_states == "memory"
    assert found.weight_bytes_read == 2 * PARAMETERS  # once for both
    assert found.compute_seconds == pytest.approx(flops(100_000) / (2 * 480e12))
    assert found.memory_parts["cuda:0"] == found.memory_parts["cuda:1"]


def test_a_machine_of_24_gib_without_gpu(folder: Path) -> None:
    found = plan(folder, cpu_machine(22 * GIB, base=300 * 2**20), 5000, dtype="bfloat16")
    assert (found.schedule, found.macro_batches, found.hidden_states) == ("sweep", 1, "memory")
    # A slot of float16 as stored, two of bfloat16 as computed, and the block in turn laid out for its products.
    assert found.memory_parts == {
        "cpu": {
            "slots": 4 * 2 * BLOCK,
            "weights": 2 * AROUND,
            "base": 300 * 2**20 + TORCH,
            "workspace": 2048 * WORKSPACE,
            "outputs": 5000 * WIDTH * 2,
            "states": 5000 * STATES,
        }
    }
    assert found.peak_memory_bytes["cpu"] == 18_749_980_672
    assert found.packs and found.compute_seconds == pytest.approx(flops(5000) / 0.24e12)
    as_stored = plan(folder, cpu_machine(22 * GIB), 5000, dtype="float16")
    assert as_stored.memory_parts["cpu"]["slots"] == 3 * 2 * BLOCK


def test_weights_are_not_laid_out_anew_where_memory_is_too_small_for_it(folder: Path) -> None:
    found = plan(folder, cpu_machine(15 * GIB, base=300 * 2**20), 5000, dtype="bfloat16")
    assert not found.packs and found.memory_parts["cpu"]["slots"] == 3 * 2 * BLOCK
    assert found.compute_seconds == pytest.approx(flops(5000) / 0.2e12)
    assert plan(folder, cpu_machine(64 * GIB), 5000, dtype="float32").packs
    assert not plan(folder, cpu_machine(64 * GIB, n=2), 5000, dtype="bfloat16").packs


def test_more_texts_than_its_memory_holds_states_of(folder: Path) -> None:
    # 3.09 GB are left; half of them hold 3,930 texts with their results. 8,192 would be wanted on a CPU in any case.
    machine = cpu_machine(22 * GIB - 2 * BLOCK, base=300 * 2**20)
    found = plan(folder, machine, 100_000, dtype="bfloat16")
    assert (found.macro_batch_rows, found.macro_batches, found.hidden_states) == (2048, 49, "memory")
    assert found.weight_bytes_read == 2 * AROUND + 49 * 96 * 2 * BLOCK
    # With 17 GiB it is 1,712, far more than the 14 whose computing takes as long as reading.
    fewer = plan(folder, cpu_machine(17 * GIB, base=300 * 2**20), 100_000, dtype="bfloat16")
    assert (fewer.macro_batch_rows, fewer.hidden_states) == (1024, "memory")


def test_states_on_disk_where_memory_holds_too_few(folder: Path) -> None:
    """A GPU of 16 GiB has 7.24 GB left, RAM of 8 GiB 1.24 GB; half of the latter holds the results of 12,580 texts."""
    machine = gpu_machine(1, gpu=16 * GIB, ram=8 * GIB)
    # Computing takes as long as reading for 5,714 texts at 6 GB/s, and for 17,142 at 2 GB/s.
    on_device = plan(folder, machine, 10**6)
    assert (on_device.macro_batch_rows, on_device.hidden_states) == (8192, "device")
    slow = Rates(products=600e12, plain=600e12, block_share=0.8, storage=2e9, copy=50e9)
    spilled = plan(folder, machine, 10**6, rates=slow)
    assert (spilled.macro_batch_rows, spilled.hidden_states) == (16_384, "disk")
    assert spilled.spill_bytes == spilled.hidden_state_bytes == 16_384 * STATES
    assert "states" not in spilled.memory_parts["cpu"]
    passes, moved = 62, 2 * 96 * 10**6 * STATES
    assert spilled.macro_batches == passes
    assert spilled.blocks == ("cuda:0",) + ("disk",) * 95  # what states would have had on the GPU is room for a block
    read = 2 * AROUND + 2 * BLOCK + passes * 95 * 2 * BLOCK
    assert spilled.weight_bytes_read == read
    assert spilled.read_seconds == pytest.approx((read + moved) / 2e9)
    # The vectors take 24.6 GB; of 5.4 GB beside them, half is for the states of 7,804 texts.
    narrow = gpu_machine(1, gpu=16 * GIB, ram=8 * GIB, disk=30 * 10**9)
    assert plan(folder, narrow, 10**6, rates=slow).macro_batch_rows == 4096
    with pytest.raises(ConfigError, match=r"expected 22.9 GiB of free disk space .*, found 18.6 GiB"):
        plan(folder, gpu_machine(1, gpu=16 * GIB, ram=8 * GIB, disk=20 * 10**9), 10**6, rates=slow)


def test_shard_rows_and_tokens_per_batch_are_taken_as_they_are(folder: Path) -> None:
    found = plan(folder, gpu_machine(1), 100_000, shard_rows=30_000, tokens_per_batch=1000)
    assert (found.macro_batch_rows, found.macro_batches, found.micro_batch_tokens) == (30_000, 4, 1000)
    assert found.hidden_states == "device"
    assert found.memory_parts["cuda:0"]["workspace"] == 1000 * WORKSPACE
    assert found.weight_bytes_read < 2 * 2 * PARAMETERS  # 16 of the blocks stay


def test_saved_states_need_disk_space(folder: Path) -> None:
    found = plan(folder, gpu_machine(1), 100_000, checkpoint_layers=8)
    assert found.spill_bytes == 2 * 100_000 * STATES  # the old ones are there until the new ones are
