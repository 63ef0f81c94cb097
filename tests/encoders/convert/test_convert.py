"""GGUF files become model folders that compute what the original models do."""

import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants
from tokenizers import Regex, Tokenizer, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from small.encoders.gguf import SmallGguf, byte_pairs, small_gpt2, small_llama, write_gguf
from small.encoders.models import TITLES
from tcf.common.errors import ModelError, RunError
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import read_manifest, sha256_file
from tcf.encoders.convert.convert import CONVERTED, convert
from tcf.encoders.convert.gguf_model import smallest_type
from tcf.encoders.encoder import load_encoder
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.tokenize import tokenize

CPU = torch.device("cpu")
TEXTS = (*TITLES, "Mario Kart  64 ½", "1998's 2000 in 3-in-1\n64")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return byte_pairs()


@pytest.fixture(scope="module")
def llama(tokenizer: Tokenizer) -> SmallGguf:
    return SmallGguf(small_llama(), tokenizer)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, llama: SmallGguf) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", llama)


def logits(model: PreTrainedModel) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(input_ids=torch.arange(3, 63).reshape(2, 30)).logits
    return found


def loaded(folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    return model


def ids_of(folder: Path, texts: tuple[str, ...] = TEXTS) -> list[list[int]]:
    """What tcf's own tokenizing makes of texts."""
    sequences = tokenize(load_tokenizer(open_model_folder(folder)), texts, max_tokens=128)
    return [part.tolist() for part in np.split(sequences.tokens, sequences.offsets[1:-1])]


@pytest.mark.parametrize(
    ("kind", "stored"),
    [("F32", torch.float32), ("F16", torch.float16), ("BF16", torch.bfloat16)],
)
@pytest.mark.parametrize("tied", [False, True])
def test_plain_numbers_are_kept_exactly(
    tmp_path: Path, tokenizer: Tokenizer, kind: str, stored: torch.dtype, tied: bool
) -> None:
    model = small_llama(tied=tied, kind=stored)
    source = write_gguf(tmp_path / "tiny.gguf", SmallGguf(model, tokenizer, kind=kind))
    done = convert(source, tmp_path / "out")
    assert done.made
    assert done.dtype == str(stored).removeprefix("torch.")
    assert done.parameters == sum(weight.numel() for weight in model.parameters())
    ours = loaded(done.folder)
    assert {name: weight.tolist() for name, weight in ours.state_dict().items()} == {
        name: weight.tolist() for name, weight in model.state_dict().items()
    }
    torch.testing.assert_close(logits(ours), logits(model), rtol=1e-5, atol=1e-5)


def test_sixteen_bit_numbers_in_a_float32_file_take_sixteen_bits(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = small_llama(kind=torch.bfloat16)
    with torch.no_grad():
        model.get_parameter("model.norm.weight")[0] = 2.0**100  # beyond float16
    source = write_gguf(tmp_path / "tiny.gguf", SmallGguf(model, tokenizer))
    assert convert(source, tmp_path / "out").dtype == "bfloat16"
    assert loaded(tmp_path / "out").get_parameter("model.norm.weight")[0] == 2.0**100


def test_quantised_numbers_are_those_of_the_file_in_float16(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = small_llama(tied=True)
    source = write_gguf(tmp_path / "tiny.gguf", SmallGguf(model, tokenizer, kind="Q8_0"))
    done = convert(source, tmp_path / "out")
    assert done.dtype == "float16"
    facts = read_manifest(done.folder, CONVERTED).facts
    assert facts["tensor_types"] == {"F32": 5, "Q8_0": 15}
    ours = loaded(done.folder)
    original = logits(model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            kind = GGMLQuantizationType.Q8_0 if weight.ndim > 1 else GGMLQuantizationType.F32
            weight.copy_(torch.from_numpy(quants.dequantize(quants.quantize(weight.numpy(), kind), kind)))
            torch.testing.assert_close(ours.get_parameter(name), weight, rtol=2**-11, atol=1e-7)
    assert original.std() > 1
    assert (logits(model) - original).std() > 0.05  # quantising changed something,
    assert (logits(ours) - logits(model)).std() < 0.005  # rounding to float16 far less


def test_gpt2_with_its_transposed_matrices(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = small_gpt2()
    done = convert(write_gguf(tmp_path / "tiny.gguf", SmallGguf(model, tokenizer)), tmp_path / "out")
    torch.testing.assert_close(logits(loaded(done.folder)), logits(model), rtol=1e-4, atol=1e-4)


def test_the_folder_is_read_by_the_encoder(tmp_path: Path, file: Path, llama: SmallGguf) -> None:
    folder = open_model_folder(convert(file, tmp_path / "out").folder)
    assert (folder.family, folder.width, folder.n_blocks, folder.max_positions) == ("llama", 64, 2, 128)
    tokens = torch.arange(3, 33).reshape(1, 30)
    (ours,) = load_encoder(folder, torch.float32, CPU).states(tokens)
    with torch.inference_mode():
        expected = llama.model.get_submodule("model")(input_ids=tokens).last_hidden_state
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_a_second_call_returns_what_is_there(tmp_path: Path, file: Path) -> None:
    first = convert(file, tmp_path / "out")
    written = {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    second = convert(file.parent, tmp_path / "out")
    assert (second.made, second.dtype, second.parameters) == (False, first.dtype, first.parameters)
    assert {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()} == written
    manifest = read_manifest(first.folder, CONVERTED)
    verify_files(first.folder, manifest, CONVERTED)
    assert manifest.inputs == {"source": sha256_file(file)}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(manifest.files)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (first.folder / "model.safetensors").stat().st_mode == (first.folder / "config.json").stat().st_mode


def test_another_file_or_other_files_at_the_place_are_refused(
    tmp_path: Path, file: Path, llama: SmallGguf, tokenizer: Tokenizer
) -> None:
    convert(file, tmp_path / "out")
    other = write_gguf(tmp_path / "other.gguf", llama.but(kind="F16"))
    with pytest.raises(ModelError, match=r"out: holds another converted model \(source: \w+\.\.\. found, \w+\.\.\. re"):
        convert(other, tmp_path / "out")
    (tmp_path / "out" / "tokenizer.json").unlink()
    with pytest.raises(
        ModelError, match=r"out/tokenizer\.json: expected a file, .* lists it, found none; .*tcf convert"
    ):
        convert(file, tmp_path / "out")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"taken: expected an unused path"):
        convert(file, tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["notes.txt"]


def test_other_files_beside_the_source_are_no_part_of_the_model(
    tmp_path: Path, file: Path, tokenizer: Tokenizer
) -> None:
    (tmp_path / "source").mkdir()
    shutil.copy(file, tmp_path / "source" / "model")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "source" / name).write_text("{")
    done = convert(tmp_path / "source" / "model", tmp_path / "out")
    assert ids_of(done.folder) == [tokenizer.encode(text).ids for text in TEXTS]


@pytest.mark.parametrize("keep", [3, 10, 500, 60_000, -2000])
def test_a_truncated_file_is_an_error_and_nothing_is_published(tmp_path: Path, file: Path, keep: int) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"short\.gguf: expected .*GGUF.*; download it again") as caught:
        convert(short, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["short.gguf"]


def test_what_is_no_gguf_file_is_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(ModelError, match=r"absent: expected a GGUF file, .* or a folder with these, found nothing"):
        convert(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(ModelError, match=r"expected a GGUF file, .*, found none of these; pass"):
        convert(tmp_path, tmp_path / "out")
    (tmp_path / "a.gguf").write_bytes(b"")
    with pytest.raises(ModelError, match=r"a\.gguf: expected a GGUF file .*, found an empty one"):
        convert(tmp_path, tmp_path / "out")
    (tmp_path / "b.gguf").write_bytes(b"Rar! and so on")
    with pytest.raises(ModelError, match=r"b\.gguf: expected a GGUF file .*begins with the bytes 52 61 72 21"):
        convert(tmp_path / "b.gguf", tmp_path / "out")
    with pytest.raises(ModelError, match=r"expected a GGUF file, .*, found a\.gguf, b\.gguf; pass"):
        convert(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_architecture_that_transformers_does_not_know(tmp_path: Path, file: Path) -> None:
    content = file.read_bytes()
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(content.replace(b"llama", b"lalma"))
    with pytest.raises(ModelError, match=r"strange\.gguf: expected a complete GGUF file .*lalma"):
        convert(strange, tmp_path / "out")


def test_numbers_without_a_place_and_missing_ones_are_refused(tmp_path: Path, llama: SmallGguf) -> None:
    factors = write_gguf(tmp_path / "factors.gguf", llama.but(extra={"rope_freqs.weight": np.ones(8, np.float32)}))
    with pytest.raises(ModelError, match=r"factors\.gguf: expected a model with all.*rope_freqs"):
        convert(factors, tmp_path / "out")
    scaled = write_gguf(tmp_path / "scaled.gguf", llama.but(entries={"llama.rope.scaling.type": "linear"}))
    with pytest.raises(ModelError, match=r"scaled\.gguf: expected plain rotary positions, found 'linear' scaling"):
        convert(scaled, tmp_path / "out")
    renamed = tmp_path / "renamed.gguf"
    renamed.write_bytes(scaled.read_bytes().replace(b"linear", b"none\0\0").replace(b"blk.1.ffn_up", b"blk.1.ffn_ap"))
    with pytest.raises(ModelError, match=r"renamed\.gguf: .*"):
        convert(renamed, tmp_path / "out")
    missing = tmp_path / "missing.gguf"
    whole = write_gguf(tmp_path / "whole.gguf", llama).read_bytes()
    missing.write_bytes(whole.replace(b"blk.1.ffn_up", b"blk.1.ffn_ap"))
    with pytest.raises(ModelError, match=r"missing\.gguf: lacks 1 weights.*model\.layers\.1\.mlp\.up_proj\.weight"):
        convert(missing, tmp_path / "out")


@pytest.mark.parametrize("add_bos", [None, False, True])
def test_tokens_are_those_of_the_original_tokenizer(
    tmp_path: Path, llama: SmallGguf, tokenizer: Tokenizer, add_bos: bool | None
) -> None:
    done = convert(write_gguf(tmp_path / "tiny.gguf", llama.but(add_bos=add_bos)), tmp_path / "out")
    first = [1] if add_bos else []
    assert ids_of(done.folder) == [first + tokenizer.encode(text).ids for text in TEXTS]


def test_single_digits_where_the_file_names_such_a_cutting(tmp_path: Path, llama: SmallGguf) -> None:
    digits = pre_tokenizers.Digits(individual_digits=True)
    original = byte_pairs([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    done = convert(write_gguf(tmp_path / "tiny.gguf", llama.but(tokenizer=original, pre="smollm")), tmp_path / "out")
    expected = [original.encode(text).ids for text in TEXTS]
    assert ids_of(done.folder) == expected
    original.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert [original.encode(text).ids for text in TEXTS] != expected


def test_llama_3_takes_whole_words_and_begins_with_its_first_token(tmp_path: Path, llama: SmallGguf) -> None:
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    cutting = [
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    original = byte_pairs(cutting, whole_words=True)
    original.add_tokens(["<s>"])
    done = convert(write_gguf(tmp_path / "tiny.gguf", llama.but(tokenizer=original, pre="llama-bpe")), tmp_path / "out")
    assert ids_of(done.folder) == [[1, *original.encode(text).ids] for text in TEXTS]
    backend = load_tokenizer(open_model_folder(done.folder)).backend
    assert backend.model.ignore_merges


@pytest.mark.parametrize(("pre", "found"), [(None, "nothing"), ("default", "'default'"), ("poro-chat", "'poro-chat'")])
def test_an_unknown_cutting_is_refused(tmp_path: Path, llama: SmallGguf, pre: str | None, found: str) -> None:
    source = write_gguf(tmp_path / "tiny.gguf", llama.but(pre=pre))
    with pytest.raises(
        ModelError, match=rf"tiny\.gguf: expected a known pre-tokenizer under tokenizer\.ggml\.pre.*{found}"
    ):
        convert(source, tmp_path / "out")


def test_quantised_numbers_beyond_float16_stay_float32() -> None:
    inside, beyond = torch.tensor([1.0, 3.3]), torch.tensor([1.0, 1e6])
    assert smallest_type({"a": inside}, {"Q4_1": 1}) is torch.float16
    assert smallest_type({"a": inside, "b": beyond}, {"Q4_1": 1, "F32": 1}) is torch.float32
    assert smallest_type({"a": inside}, {"F32": 1}) is torch.float32
    assert smallest_type({"a": torch.zeros(3)}, {"F32": 1}) is torch.float16


def test_a_place_that_cannot_be_written(tmp_path: Path, file: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file may become longer, as on a full disk
    try:
        with pytest.raises(RunError, match=r"out: cannot be written \(.*[Ff]ile too large.*free space"):
            convert(file, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/out: cannot be written"):
        convert(file, tmp_path / "file" / "out")
