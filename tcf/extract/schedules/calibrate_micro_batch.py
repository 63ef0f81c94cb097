"""How many tokens a device should compute at once: found by a calibration run, and remembered.

The size that was found is one of the things that decide the last bits of a vector. It is stored below `TCF_HOME`, so
that a machine of the same kind, with the same model and libraries, takes the same size again, in a new container too.

Shapes: B texts, T tokens.
"""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from tcf.encoders.blocks import LAST
from tcf.encoders.encoder import Encoder
from tcf.encoders.pooling import pool
from tcf.extract.plan.calibration_memo import conditions, remembered_number

__all__ = ["best_micro_batch", "calibrated_micro_batch"]

logger = logging.getLogger(__name__)

_TEXT_TOKENS = 12  # length of its texts; about that of a title
_CALLS = 3  # of each size
_SECONDS = 5.0  # approximate duration of the whole run
_GAIN = 1.05  # a larger size must be faster by this factor to be preferred


def calibrated_micro_batch(encoder: Encoder, dtype: torch.dtype, folder: Path, *, compiled: bool) -> int:
    """Tokens per call of the model, from an earlier calibration run on this machine or from a new one.

    Args:
        encoder: the language model.
        dtype: type that it computes in.
        folder: directory of the remembered calibration runs.
        compiled: whether its blocks are compiled.
    """
    what = {
        "architecture": encoder.folder.architecture,
        "blocks": -1 if LAST in encoder.layers else max(encoder.layers),
        "compiled": compiled,
        **conditions(encoder.device, dtype),
    }

    def calibrate() -> int:
        logger.info("extract: measuring the best batch size; --tokens-per-batch skips this")
        return best_micro_batch(lambda tokens: _seconds(encoder, tokens), _sizes(encoder.device))

    consequence = ", and may then choose another size"
    return int(remembered_number(folder, what, calibrate, key="tokens_per_batch", whole=True, consequence=consequence))


def best_micro_batch(seconds: Callable[[int], float | None], sizes: Iterator[int]) -> int:
    """The smallest size whose time per token is about as short as that of any other.

    Args:
        seconds: how long a call with a number of tokens takes; None if they do not fit into memory.
        sizes: sizes to try in ascending order; the first is assumed to fit.
    """
    best, best_rate, spent = 0, 0.0, 0.0
    for tokens in sizes:
        taken = seconds(tokens)
        if taken is None:
            break
        if tokens / taken > best_rate * _GAIN:
            best, best_rate = tokens, tokens / taken
        spent += taken * _CALLS
        if spent > _SECONDS:
            break
    return best or tokens


def _sizes(device: torch.device) -> Iterator[int]:
    first, last = (4096, 262_144) if device.type == "cuda" else (512, 8192)
    while first <= last:
        yield first
        first *= 2


def _seconds(encoder: Encoder, tokens: int) -> float | None:
    """The shortest time of several calls, or of the first alone if it takes long."""
    length = min(_TEXT_TOKENS, encoder.folder.max_positions or _TEXT_TOKENS)
    shape = (max(1, tokens // length), length)
    tokens_BT = torch.zeros(shape, dtype=torch.int64, device=encoder.device)  # every vocabulary has a token 0
    times: list[float] = []
    try:
        while len(times) < _CALLS and sum(times) < _SECONDS:
            began = time.perf_counter()
            with torch.inference_mode():
                for states_BTD in encoder.states(tokens_BT):
                    pool(states_BTD, "mean")
            if encoder.device.type == "cuda":
                torch.cuda.synchronize(encoder.device)
            times.append(time.perf_counter() - began)
    except torch.OutOfMemoryError:
        return None
    return min(times)
