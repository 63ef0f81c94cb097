"""What a folder of sentence-transformers says beside the language model: prompts, limits, pooling and later modules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tcf.config.extract import Pooling

__all__ = ["TANH", "Dense", "LayerNorm", "Normalize", "SentenceEncoder", "Truncate", "VectorModule", "output_width"]


TANH = "torch.nn.modules.activation.Tanh"
"""The activation of a dense layer that names none, as sentence-transformers writes it."""


@dataclass(frozen=True)
class Dense:
    """A linear layer with an activation.

    Attributes:
        folder: the folder with its weights.
        in_width: width of its input.
        out_width: width of its output.
        bias: whether it has a bias.
        activation: name of a class of `torch.nn`.
        residual: whether its input is added to its output, through a second linear layer if the widths differ.
    """

    folder: Path
    in_width: int
    out_width: int
    bias: bool
    activation: str
    residual: bool


@dataclass(frozen=True)
class LayerNorm:
    """A layer norm.

    Attributes:
        folder: the folder with its weights.
        width: width of its input and output.
    """

    folder: Path
    width: int


@dataclass(frozen=True)
class Normalize:
    """Division by the Euclidean norm."""


@dataclass(frozen=True)
class Truncate:
    """Only the first numbers of a vector are kept, without dividing by their norm.

    Attributes:
        width: how many.
    """

    width: int


VectorModule = Dense | LayerNorm | Normalize | Truncate
"""A module that comes after the pooling."""


@dataclass(frozen=True)
class SentenceEncoder:
    """What a folder says beside its language model.

    Attributes:
        file: `modules.json`, or the pooling's `config.json` if there is no such file.
        transformer: the folder of the language model, often the same folder.
        poolings: how token states become a vector; several are concatenated.
        include_prompt: whether the tokens of a prompt are pooled too.
        modules: the modules after the pooling, in order.
        prompts: texts to put before an item's text, by name.
        default_prompt: name of the prompt to use by default; None for none.
        max_tokens: maximum number of tokens of a text, special tokens included; None if not limited.
        limited_by: the entry that limits them, for messages: its file and name.
        lower_case: whether texts are lower-cased first.
        unused: entries of `config_sentence_transformers.json` that tcf does not use.
        stated_widths: the language model's width as the pooling states it, by file and name of the entry.
    """

    file: Path
    transformer: Path
    poolings: tuple[Pooling, ...]
    include_prompt: bool = True
    modules: tuple[VectorModule, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    max_tokens: int | None = None
    limited_by: str = ""
    lower_case: bool = False
    unused: tuple[str, ...] = ()
    stated_widths: Mapping[str, int] = field(default_factory=dict)

    @property
    def obeys_modules(self) -> bool:
        """Whether the folder has a `modules.json`, so that it is read as sentence-transformers reads it."""
        return self.file.name == "modules.json"


def output_width(module: VectorModule, width: int) -> int:
    """Return the width of a module's output.

    Args:
        module: the module.
        width: width of its input.
    """
    match module:
        case Dense():
            return module.out_width
        case LayerNorm() | Normalize():
            return width
        case Truncate():
            return min(width, module.width)
