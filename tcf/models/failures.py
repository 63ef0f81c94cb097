"""What goes wrong when transformers reads a model folder that is damaged or does not fit together."""

import pickle

__all__ = ["failures", "reason"]


def failures() -> tuple[type[Exception], ...]:
    """What transformers and the libraries below it raise on such folders: each has its own way to say no."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    missing = (KeyError, AttributeError, TypeError, EOFError)
    impossible = (ValueError, RuntimeError, ArithmeticError, AssertionError)
    return (OSError, *missing, *impossible, pickle.UnpicklingError, SafetensorError, StrictDataclassError)


def reason(error: Exception) -> str:
    """What went wrong, on one line."""
    match error:
        case KeyError():
            return f"it asks for {error}, which transformers does not know"
        case _:
            text = " ".join(str(error).split())
            return text if len(text) <= 300 else text[:300] + "..."
