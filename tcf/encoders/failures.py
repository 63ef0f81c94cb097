"""What goes wrong when transformers reads a model folder, in words that a user can act on."""

import pickle
from pathlib import Path

from tcf.common.errors import ModelError
from tcf.encoders.accelerate_internals import silence

__all__ = ["NotSeparableError", "failures", "not_separable_error", "quiet", "reason"]


def failures() -> tuple[type[Exception], ...]:
    """What transformers and the libraries below it raise on such folders: each has its own way to say no."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    missing = (LookupError, AttributeError, TypeError, EOFError, ImportError)
    impossible = (ValueError, RuntimeError, ArithmeticError, AssertionError)
    return (OSError, *missing, *impossible, pickle.UnpicklingError, SafetensorError, StrictDataclassError)


def reason(error: Exception) -> str:
    """What went wrong, on one line."""
    match error:
        case KeyError():
            return f"it asks for {error}, which transformers does not know"
        case pickle.UnpicklingError():
            # Torch's own text advises to run whatever the file holds.
            return "a file is damaged or holds more than tensors, and nothing else is read from it"
        case _:
            text = " ".join(str(error).split())
            return text if len(text) <= 300 else text[:300] + "..."


def quiet() -> None:
    """Keep transformers and accelerate from writing to the terminal and to log files: it is checked instead."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    silence()


class NotSeparableError(ModelError):
    """A model that cannot be run block by block; as a whole it may run."""


def not_separable_error(path: Path, why: str) -> NotSeparableError:
    """The error for a model.

    Args:
        path: the model folder.
        why: what stands against it.
    """
    return NotSeparableError(
        f"{path}: this model cannot be taken apart into blocks ({why}); pass --schedule dispatch or --schedule resident"
    )
