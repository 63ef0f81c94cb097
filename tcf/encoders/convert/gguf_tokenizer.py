"""The tokenizer that a GGUF file describes, with the rules for cutting texts that the file only names."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, pre_tokenizers

from tcf.common.errors import ModelError

if TYPE_CHECKING:
    from gguf import GGUFReader
    from transformers import PreTrainedTokenizerFast

__all__ = ["load_gguf_tokenizer"]


def load_gguf_tokenizer(folder: Path, reader: "GGUFReader", file: Path) -> "PreTrainedTokenizerFast":
    """The tokenizer of `model.gguf` in a folder.

    Transformers builds it from vocabulary and merges. Of byte-level vocabularies, the file tells by a name only how
    texts are cut into words before merging; transformers knows some of the names and passes over the others, so those
    are treated here or refused.

    Args:
        folder: holds the file as `model.gguf`.
        reader: the same file, opened.
        file: its name, for messages.

    Raises:
        ModelError: the file does not say how texts are cut, or in a way that is not known.
    """
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), gguf_file="model.gguf", local_files_only=True)
    kind, cutting, adds_bos = (_entry(reader, key) for key in ("model", "pre", "add_bos_token"))
    if kind == "gpt2":
        _cut_as_named(tokenizer.backend_tokenizer, cutting, file)
        if adds_bos is None and _is_llama_3(cutting):
            tokenizer.add_bos_token = True
    found: PreTrainedTokenizerFast = tokenizer
    return found


def _entry(reader: "GGUFReader", key: str) -> Any:
    field = reader.fields.get(f"tokenizer.ggml.{key}")
    return None if field is None else field.contents()


def _cut_as_named(backend: Tokenizer, cutting: Any, file: Path) -> None:
    """Bring the cutting of texts, and the use of merges, in line with the name that the file gives."""
    match cutting:
        case "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais":
            return  # as every byte-level vocabulary is treated
        case "smollm" | "starcoder" | "refact" | "command-r" | "codeshell":
            words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
            digits = pre_tokenizers.Digits(individual_digits=True)
            backend.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
        case _ if _is_llama_3(cutting) or cutting == "tekken":
            backend.model.ignore_merges = True  # a word that is in the vocabulary is one token
        case _ if isinstance(backend.pre_tokenizer, pre_tokenizers.Sequence):
            return  # transformers knew the name
        case _:
            found = "no name" if cutting is None else repr(cutting)
            raise ModelError(
                f"{file}: expected a known name under tokenizer.ggml.pre, which says how texts are cut into words, "
                f"found {found}; use the model's own safetensors and tokenizer"
            )


def _is_llama_3(cutting: Any) -> bool:
    """Whether texts are cut as for Llama 3; such models read their first token even if the file has no entry for it."""
    return cutting in ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2")
