"""What to say of a model whose blocks cannot be run one by one."""

from pathlib import Path

from tcf.common.errors import ModelError

__all__ = ["Inseparable", "cannot_take_apart"]


class Inseparable(ModelError):
    """A model that cannot be taken apart into blocks; as a whole it may run."""


def cannot_take_apart(path: Path, why: str) -> Inseparable:
    """The error for a model.

    Args:
        path: the model folder.
        why: what stands against it.
    """
    return Inseparable(
        f"{path}: this model cannot be taken apart into blocks ({why}); pass --schedule dispatch or --schedule resident"
    )
