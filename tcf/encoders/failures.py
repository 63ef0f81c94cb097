"""Errors that occur when transformers reads a model folder, in words that a user can act on."""

import logging
import pickle
from pathlib import Path

from tcf.common.errors import ModelError, os_error_words
from tcf.encoders.accelerate_internals import silence

__all__ = ["NotSeparableError", "failures", "not_separable_error", "quiet", "reason"]


def failures() -> tuple[type[Exception], ...]:
    """Return the errors that transformers and the libraries below it raise on such folders."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    missing = (LookupError, AttributeError, TypeError, EOFError, ImportError)
    impossible = (ValueError, RuntimeError, ArithmeticError, AssertionError)
    return (OSError, *missing, *impossible, pickle.UnpicklingError, SafetensorError, StrictDataclassError)


def reason(error: Exception) -> str:
    """Say what went wrong, on one line."""
    match error:
        case KeyError():
            return f"it needs {error}, which transformers does not know"
        case pickle.UnpicklingError():
            # Torch's own message advises to run any code in the file.
            return "a file is damaged or contains other objects than tensors, which are not read"
        case OSError():
            text = os_error_words(error)
        case _:
            text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + "..."


def quiet() -> None:
    """Keep transformers and accelerate from writing to the terminal and to log files; tcf checks what they report.

    Their warnings are details: they are shown where tcf logs at DEBUG.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if not logging.getLogger("tcf").isEnabledFor(logging.DEBUG):
        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        silence()


class NotSeparableError(ModelError):
    """A model that cannot be run block by block, but possibly as a whole."""


def not_separable_error(path: Path, why: str) -> NotSeparableError:
    """Return the error for a model that cannot be run block by block.

    Args:
        path: the model folder.
        why: the reason, for the message.
    """
    return NotSeparableError(
        f"{path}: this model cannot be run block by block ({why}); pass --schedule dispatch or --schedule resident"
    )
