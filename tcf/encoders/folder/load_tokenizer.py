"""Loading the tokenizer of a model folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tcf.assets.weight_index import INDEX
from tcf.common.errors import ModelError
from tcf.common.untrusted.lfs_pointer import refuse_pointers
from tcf.encoders.failures import quiet, reason

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
from tokenizers import Tokenizer, normalizers

from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.tokenize import TextTokenizer

__all__ = ["begins_with_class_token", "load_tokenizer"]

# The files that a vocabulary is read from; without one, transformers builds a tokenizer without words.
_VOCABULARIES = (
    ("tokenizer.json",),
    ("vocab.txt",),
    ("vocab.json", "merges.txt"),
    ("tokenizer.model",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
)
# Endings of the files that tokenizers are read from: vocabularies, merges, pieces, settings.
_LARGEST = 256 << 20  # bytes; the largest published one has 35 MB
_READ = (".json", ".txt", ".model", ".spm", ".vocab", ".codes", ".tiktoken")


def _read_tokenizer(path: Path, *, trust_remote_code: bool = False) -> "PreTrainedTokenizerFast":
    """Read the fast tokenizer of a model folder.

    Args:
        path: the folder.
        trust_remote_code: run code of the folder if its tokenizer needs it.

    Raises:
        ModelError: the folder has no readable tokenizer, only a slow one, a git-LFS pointer in place of a file, or one
            whose code is not trusted.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if not any(all((path / name).is_file() for name in names) for names in _VOCABULARIES):
        expected = ", ".join(" + ".join(names) for names in _VOCABULARIES)
        raise ModelError(f"{path}: expected a tokenizer ({expected}), found none; add the tokenizer's files")
    files = [file for file in sorted(path.glob("*")) if file.suffix in _READ]
    refuse_pointers(files)
    _check_sizes(files)
    quiet()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:  # the library of tokenizers raises nothing narrower
        if not trust_remote_code and _names_own_code(path):
            raise ModelError(
                f"{path}: this tokenizer comes with its own code, which tcf does not run by default; read {path}/*.py "
                "and, if you trust it, pass --trust-remote-code"
            ) from None
        raise ModelError(f"{path}: the tokenizer cannot be read ({reason(error)}); add its tokenizer.json") from None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(f"{path}: expected a fast tokenizer, found a slow one; add its tokenizer.json")
    # Set once here and never changed, so that several threads may use it.
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def _check_sizes(files: Iterable[Path]) -> None:
    """Refuse tokenizers that take minutes and gigabytes to be read.

    Raises:
        ModelError: a file is too large.
    """
    for file in files:
        size = file.stat().st_size if file.is_file() and not file.name.endswith(INDEX) else 0
        if size > _LARGEST:
            raise ModelError(
                f"{file}: expected files of a tokenizer of at most {_LARGEST >> 20} MiB, found one of {size >> 20}; "
                "download the model again, or move it elsewhere if the tokenizer does not need it"
            )


def _names_own_code(path: Path) -> bool:
    files = [file for file in (path / "tokenizer_config.json", path / "config.json") if file.is_file()]
    return any("AutoTokenizer" in file.read_text(encoding="utf-8", errors="replace") for file in files)


def begins_with_class_token(path: Path, *, trust_remote_code: bool) -> bool:
    """Whether a folder's tokenizer adds a class token at the start of every text, as BERT's does."""
    tokenizer = _read_tokenizer(path, trust_remote_code=trust_remote_code)
    first = tokenizer.backend_tokenizer.encode("").ids[:1]
    return first == [tokenizer.cls_token_id]


def load_tokenizer(folder: ModelFolder, *, trust_remote_code: bool = False) -> TextTokenizer:
    """Load a model folder's tokenizer.

    Args:
        folder: the model folder.
        trust_remote_code: run code of the folder if its tokenizer needs it.

    Raises:
        ModelError: the folder has none, or OPT's does not add `</s>` at the start.
    """
    if folder.family == "words":
        from tcf.encoders.word_vectors.word_encoder import word_tokenizer

        return word_tokenizer(folder)
    tokenizer = _read_tokenizer(folder.path, trust_remote_code=trust_remote_code)
    backend: Tokenizer = tokenizer.backend_tokenizer
    added = backend.encode("").ids
    if folder.family == "opt" and added != [folder.bos_token_id]:
        found = f"one that adds {', '.join(map(str, added[:8]))}" if added else "one that adds none"
        raise ModelError(
            f"{folder.path}: expected a tokenizer that adds token {folder.bos_token_id} at the start, as OPT needs it, "
            f"found {found}; {_remedy_of_opt(folder, backend)}"
        )
    sentence = folder.sentence
    if sentence is None or not sentence.obeys_modules:
        return TextTokenizer(backend, folder, special=frozenset(tokenizer.all_special_ids))
    if sentence.lower_case:
        _lower_case(backend)
    return TextTokenizer(
        backend,
        folder,
        keeps_end=tokenizer.truncation_side == "left",
        special=frozenset(tokenizer.all_special_ids),
    )


def _lower_case(backend: Tokenizer) -> None:
    """Lower-case texts before anything else, unless the tokenizer does; its own setting is for cased vocabularies."""
    own = backend.normalizer
    match own:
        case None:
            steps = []
        case normalizers.Sequence():
            steps = [own[place] for place in range(len(own))]
        case _:
            steps = [own]
    if not any(isinstance(step, normalizers.Lowercase) for step in steps):
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])


def _remedy_of_opt(folder: ModelFolder, backend: Tokenizer) -> str:
    """Say what makes transformers 5 add the first token of OPT.

    A `tokenizer.json` has its own rule for what is added, and `add_bos_token` does not change it. With `vocab.json` and
    `merges.txt` alone it is the rule, for the token named `bos_token`.
    """
    entries = f'"add_bos_token": true and "bos_token": "{backend.id_to_token(folder.bos_token_id)}"'
    pairs = all((folder.path / name).is_file() for name in ("vocab.json", "merges.txt"))
    match (folder.path / "tokenizer.json").is_file(), pairs:
        case False, _:
            return f"set {entries} in tokenizer_config.json"
        case True, True:
            return f"remove tokenizer.json, which overrides tokenizer_config.json, and set {entries} in the latter"
        case _:
            return (
                "put vocab.json, merges.txt and tokenizer_config.json of facebook/opt-125m, whose tokenizer all sizes "
                "of OPT share, in the place of tokenizer.json"
            )
