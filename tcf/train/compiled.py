"""`torch.compile` for the parts of a model that compute most."""

from torch import nn

from tcf.train.model.item_tower import DTL
from tcf.train.model.sasrec import SASRec

__all__ = ["compile_parts"]


def compile_parts(model: nn.Module) -> None:
    """Compile a model's DTLs and SASRec blocks in place; they are compiled when they are first used.

    They are parts that depend on tensors alone, of which every batch has another number of rows; what chooses the rows
    stays as it is. Names of parameters do not change.
    """
    for module in list(model.modules()):
        match module:
            case DTL():
                module.compile(dynamic=True)
            case SASRec():
                for block in module.blocks:
                    block.compile(dynamic=True)
