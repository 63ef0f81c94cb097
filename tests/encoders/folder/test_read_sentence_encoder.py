"""What a folder of sentence-transformers says that tcf does not do is refused by name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from small.encoders.models import edit_json
from small.encoders.sentence_encoders import Module, SentenceFolder, dense, save_sentence_encoder
from tcf.common.errors import ModelError
from tcf.encoders.folder.read_sentence_encoder import read_sentence_encoder
from tcf.encoders.folder.sentence_encoder import Dense, Normalize, SentenceEncoder
from tcf.encoders.vector_modules import load_modules, modules_width


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A language model's folder without a model: what its modules say is read without it."""
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 1000000000000000019884624838656}')
    return folder


def read(bare: Path, content: SentenceFolder) -> SentenceEncoder:
    found = read_sentence_encoder(save_sentence_encoder(bare, bare.with_name("m"), content))
    assert found is not None
    return found


def test_what_is_read(bare: Path) -> None:
    content = SentenceFolder(modules=[dense(32, 8), Module("Normalize")], own={"prompts": {"a": "b", "c": None}})
    found = read(bare, content)
    folder = bare.with_name("m")
    tanh = "torch.nn.modules.activation.Tanh"
    assert found == SentenceEncoder(
        file=folder / "modules.json",
        transformer=folder,
        poolings=("mean",),
        modules=(Dense(folder / "2_Dense", 32, 8, bias=True, activation=tanh, residual=False), Normalize()),
        prompts={"a": "b", "c": ""},
        max_tokens=60,
        limited_by=f"{folder / 'sentence_bert_config.json'}: max_seq_length",
        stated_widths={f"{folder / '1_Pooling' / 'config.json'}: word_embedding_dimension": 32},
    )
    assert modules_width(found.modules, 32) == 8


def test_a_folder_that_is_no_sentence_encoder(bare: Path) -> None:
    assert read_sentence_encoder(bare) is None


@pytest.mark.parametrize(
    "kind",
    ["CNN", "LSTM", "WeightedLayerPooling", "WordWeights", "Router", "Asym", "StaticEmbedding", "BoW", "CLIPModel",
     "sentence_transformers.sparse_encoder.models.SpladePooling", "custom_st.Transformer", "modeling.Dense"],
)  # fmt: skip
def test_an_unknown_module(bare: Path, kind: str) -> None:
    with pytest.raises(
        ModelError, match=rf"modules.json: expected modules .* that tcf knows .*, found '.*{kind}'; choose"
    ):
        read(bare, SentenceFolder(modules=[Module(kind)]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SentenceFolder({"pooling_mode": "attention"}), "'pooling_mode', one of cls, .*, found 'attention'"),
        (SentenceFolder({"pooling_mode": []}), "'pooling_mode', one of cls, .*, found \\[\\]"),
        (SentenceFolder({"include_prompt": "no"}), "'include_prompt', true or false, found 'no'"),
        (SentenceFolder({"temperature": 2}), "1_Pooling/config.json: .* that tcf knows, found 'temperature': 2"),
        (SentenceFolder(modules=[Module("Pooling", {})]), "expected one Transformer and one Pooling, found another"),
        (SentenceFolder(modules=[dense(32, 8, out_features=0)]), "'out_features', a whole number from 1, found 0"),
        (SentenceFolder(modules=[dense(32, 8, module_input_name="token_embeddings")]),
         "'module_input_name', 'sentence_embedding', found 'token_embeddings'"),
        (SentenceFolder(modules=[Module("Normalize", {"module_output_name": "other"})]), "'module_output_name', "),
        (SentenceFolder(modules=[dense(32, 8, rank=4)]), "2_Dense/config.json: .* that tcf knows, found 'rank': 4"),
        (SentenceFolder(own={"model_type": "SparseEncoder"}), "'model_type', .*, found 'SparseEncoder'"),
        (SentenceFolder(own={"default_prompt_name": "ask"}), "one of query, document, found 'ask'"),
        (SentenceFolder(own={"prompts": {"query": 3}}), "'prompts.query', a string, found 3"),
        (SentenceFolder(own={"truncate_dim": 0}), "'truncate_dim', a whole number from 1, found 0"),
        (SentenceFolder(texts={"max_seq_length": "60"}), "'max_seq_length', a whole number from 1, found '60'"),
        (SentenceFolder(texts={"modality_config": {"text": {}, "message": {}}}), r"'a chat template \(message\)'"),
        (SentenceFolder(texts={"transformer_task": "fill-mask"}), "'transformer_task', 'feature-extraction', found"),
        (SentenceFolder(texts={"config_args": {"is_causal": False}}), "'config_args.is_causal', left out, found false"),
        (SentenceFolder(texts={"processing_kwargs": {"text": {"max_length": 4}}}), "'processing_kwargs': "),
    ],
)  # fmt: skip
def test_what_a_file_says_that_is_not_done(bare: Path, content: SentenceFolder, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(bare, content)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("{}", r"expected a JSON array, found \{\}"),
        ("[]", "found an empty one"),
        ("[1]", "expected modules with a type and a path, found 1"),
        ('[{"type": "sentence_transformers.models.Transformer", "path": "../x"}]', "paths within the folder, found"),
        ('[{"type": "sentence_transformers.models.Normalize", "path": ""}]', "a Transformer as the first module"),
        (
            '[{"type": "sentence_transformers.models.Transformer", "path": ""}]',
            "a Pooling after the Transformer, found",
        ),
        (
            '[{"name": "0", "type": "sentence_transformers.models.Transformer", "path": ""}, '
            '{"name": "0", "type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]',
            "a name of its own for each module, found '0' twice",
        ),
        ("[", "invalid JSON"),
    ],
)
def test_a_list_of_modules_that_is_none(bare: Path, listed: str, message: str) -> None:
    (bare / "modules.json").write_text(listed)
    with pytest.raises(ModelError, match=f"modules.json: .*{message}"):
        read_sentence_encoder(bare)


def test_a_pooling_without_a_list_of_modules(bare: Path) -> None:
    folder = save_sentence_encoder(bare, bare.with_name("m"), SentenceFolder({"pooling_mode_max_tokens": True}))
    (folder / "modules.json").unlink()
    file = folder / "1_Pooling" / "config.json"
    assert read_sentence_encoder(folder) == SentenceEncoder(
        file, folder, ("max",), stated_widths={f"{file}: word_embedding_dimension": 32}
    )
    edit_json(file, temperature=2)
    with pytest.raises(ModelError, match="1_Pooling/config.json: .* that tcf knows, found 'temperature': 2"):
        read_sentence_encoder(folder)


@pytest.mark.parametrize(
    ("stated", "limit"), [(7, 7), (7.0, 7), (1e30, None), (10**30, None), (-1, None), (None, None)]
)
def test_limits_that_only_the_tokenizer_states(bare: Path, stated: float | None, limit: int | None) -> None:
    edit_json(bare / "tokenizer_config.json", model_max_length=stated)
    assert read(bare, SentenceFolder(texts=None)).max_tokens == limit


@pytest.mark.parametrize("pickled", [False, True])
def test_a_pointer_in_the_place_of_a_modules_weights(bare: Path, pickled: bool) -> None:
    found = read(bare, SentenceFolder(modules=[dense(32, 8, pickled=pickled)]))
    file = bare.with_name("m") / "2_Dense" / ("pytorch_model.bin" if pickled else "model.safetensors")
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(ModelError, match=f"{file}: expected the file itself, found a git-LFS pointer to its 12345"):
        load_modules(found.modules)


def test_modules_that_do_not_fit_together(bare: Path) -> None:
    found = read(bare, SentenceFolder(modules=[dense(32, 8), dense(9, 4)]))
    with pytest.raises(ModelError, match=r"3_Dense/config.json: .* of width 8, which come before it, found .* width 9"):
        modules_width(found.modules, 32)


@pytest.mark.parametrize(
    "activation",
    [
        "torch.nn.modules.activation.PReLU",
        "torch.nn.functional.relu",
        "torch.nn.modules.activation.F",
        "torch.nn.MultiheadAttention",
        "torch.nn.Softmax2d",
        "torch.nn.Linear",
        "os.system",
        "transformers.activations.GELUTanh",
    ],
)
def test_an_unknown_activation(bare: Path, activation: str) -> None:
    found = read(bare, SentenceFolder(modules=[dense(32, 8, activation_function=activation)]))
    with pytest.raises(
        ModelError, match=f"2_Dense/config.json: expected an activation of torch.nn .*, found '{activation}'"
    ):
        load_modules(found.modules)


def test_weights_that_are_not_those_of_the_module(bare: Path) -> None:
    found = read(bare, SentenceFolder(modules=[dense(32, 8)]))
    folder = bare.with_name("m") / "2_Dense"
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="2_Dense/model.safetensors: cannot be read"):
        load_modules(found.modules)
    save_file({"linear.weight": torch.ones(8, 31), "linear.bias": torch.ones(8)}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"linear.bias \(8\), linear.weight \(8 x 32\), found .* \(8 x 31\); download"):
        load_modules(found.modules)
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        ModelError, match="2_Dense: expected weights .model.safetensors or pytorch_model.bin., found none"
    ):
        load_modules(found.modules)


def test_half_precision_weights_are_computed_with_in_float32(bare: Path) -> None:
    found = read(bare, SentenceFolder(modules=[dense(32, 8)]))
    file = bare.with_name("m") / "2_Dense" / "model.safetensors"
    stored = {"linear.weight": torch.ones(8, 32).half() / 3, "linear.bias": torch.ones(8).half()}
    save_file(stored, file)
    vectors_BE = load_modules(found.modules)(torch.full((1, 32), 0.1))
    torch.testing.assert_close(vectors_BE, torch.full((1, 8), (3.2 * float(stored["linear.weight"][0, 0]) + 1)).tanh())
