"""The tokenizer of a GGUF file, including the pre-tokenization that the file only names."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, pre_tokenizers

from tcf.common.errors import ModelError, value_words

if TYPE_CHECKING:
    from gguf import GGUFReader
    from transformers import PreTrainedTokenizerFast

__all__ = ["load_gguf_tokenizer"]


def load_gguf_tokenizer(folder: Path, reader: "GGUFReader", file: Path) -> "PreTrainedTokenizerFast":
    """Load the tokenizer of `model.gguf` in a folder.

    Transformers builds it from vocabulary and merges. For byte-level vocabularies, the file gives only the name of the
    pre-tokenizer, which splits texts into words before merging; transformers knows some of the names and ignores the
    others, so those are handled here or refused.

    Args:
        folder: folder with the file as `model.gguf`.
        reader: the same file, opened.
        file: the original path, for messages.

    Raises:
        ModelError: the file names no pre-tokenizer, or an unknown one.
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
    """Set up the pre-tokenizer that the file names, and the use of merges."""
    match cutting:
        case "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais":
            return  # the default of byte-level vocabularies
        case "smollm" | "starcoder" | "refact" | "command-r" | "codeshell":
            words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
            digits = pre_tokenizers.Digits(individual_digits=True)
            backend.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
        case _ if _is_llama_3(cutting) or cutting == "tekken":
            backend.model.ignore_merges = True  # a word in the vocabulary is one token
        case _ if isinstance(backend.pre_tokenizer, pre_tokenizers.Sequence):
            return  # transformers knows the name
        case _:
            raise ModelError(
                f"{file}: expected a known pre-tokenizer under tokenizer.ggml.pre, found {value_words(cutting)}; use "
                "the model's own safetensors and tokenizer"
            )


def _is_llama_3(cutting: Any) -> bool:
    """Whether the pre-tokenizer is that of Llama 3; such models start with a BOS token even without an entry for it."""
    return cutting in ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2")
