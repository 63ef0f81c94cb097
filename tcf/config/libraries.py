"""Libraries that only some commands need, checked before such a command starts anything slow."""

import importlib.util
from typing import Literal

from tcf.common.errors import TcfError

__all__ = ["Library", "install_command", "require_library"]

Library = Literal["accelerate", "faiss", "gguf", "matplotlib", "optuna", "submitit"]


def require_library(name: Library, needed_by: str) -> None:
    """Check that a library is installed; it is not imported, so this takes no time.

    Args:
        name: name to import.
        needed_by: what needs it, such as an option, for the message.

    Raises:
        TcfError: it is not installed; the message names the command that installs it.
    """
    if importlib.util.find_spec(name) is None:
        raise TcfError(f"{needed_by}: expected the library {name}, found none; install it with {install_command(name)}")


def install_command(name: Library) -> str:
    """Return the command that installs a library, for messages.

    Example:
        >>> install_command("matplotlib")
        '`pip install "text-cf[plot]"`'
    """
    match name:
        case "faiss":
            return '`pip install "text-cf[cpu]"`, or on a machine with an NVIDIA GPU `pip install "text-cf[gpu]"`'
        case "matplotlib":
            return '`pip install "text-cf[plot]"`'
        case "submitit":
            return '`pip install "text-cf[slurm]"`'
        case "accelerate" | "gguf" | "optuna":
            return f"`pip install {name}`"
