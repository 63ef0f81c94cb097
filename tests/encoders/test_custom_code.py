"""Models that come with their own code, which runs only on request."""

import json
import sys
from pathlib import Path

import pytest
import torch
import transformers.dynamic_module_utils
from safetensors.torch import save_file

from small.encoders.models import edit_json, save_bert
from tcf.common.errors import ModelError
from tcf.encoders.encoder import load_encoder
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder

CPU = torch.device("cpu")
CODE = """
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

Path({mark!r}).write_text("ran")


class OwnConfig(PreTrainedConfig):
    model_type = "tcf_own"

    def __init__(self, hidden_size=4, vocab_size=9, **rest):
        self.hidden_size, self.vocab_size = hidden_size, vocab_size
        super().__init__(**rest)


class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    base_model_prefix = "own"

    def __init__(self, config):
        super().__init__(config)
        self.table = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids, **rest):
        return BaseModelOutput(last_hidden_state=2 * self.table(input_ids))
"""
TABLE = torch.arange(36.0).reshape(9, 4)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose code writes `ran` when it is imported; transformers' copies of it stay in the test's folder."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "own"
    path.mkdir()
    auto_map = {"AutoConfig": "own_code.OwnConfig", "AutoModel": "own_code.OwnModel"}
    settings = {"model_type": "tcf_own", "hidden_size": 4, "vocab_size": 9, "auto_map": auto_map}
    (path / "config.json").write_text(json.dumps(settings))
    (path / "own_code.py").write_text(CODE.format(mark=str(tmp_path / "ran")))
    save_file({"own.table.weight": TABLE, "head.weight": torch.zeros(2)}, path / "model.safetensors", {"format": "pt"})
    return path


def ran(path: Path) -> bool:
    return (path.parent / "ran").exists()


def test_code_is_not_run_unasked(own: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: this model comes with its own code.*--trust-remote-code"):
        open_model_folder(own)
    assert not ran(own)


def test_code_is_run_when_it_is_trusted(own: Path) -> None:
    folder = open_model_folder(own, trust_remote_code=True)
    assert ran(own)
    assert (folder.family, folder.width, folder.n_blocks, folder.max_positions) == ("other", 4, 0, None)
    assert folder.poolings == ("mean",)
    encoder = load_encoder(folder, torch.float32, CPU, trust_remote_code=True)
    (states_BTD,) = encoder.states(torch.tensor([[3, 1]]))
    assert torch.equal(states_BTD, 2 * TABLE[[3, 1]][None])


def test_weights_are_not_loaded_with_code_that_is_not_trusted(own: Path) -> None:
    folder = open_model_folder(own, trust_remote_code=True)
    with pytest.raises(ModelError, match="--trust-remote-code"):
        load_encoder(folder, torch.float32, CPU)


def test_code_is_part_of_what_a_model_is(own: Path) -> None:
    before = open_model_folder(own, trust_remote_code=True).architecture
    assert open_model_folder(own, trust_remote_code=True).architecture == before
    with (own / "own_code.py").open("a") as file:
        file.write("# more\n")
    assert open_model_folder(own, trust_remote_code=True).architecture != before


def test_code_of_another_repository_is_refused(own: Path) -> None:
    edit_json(own / "config.json", auto_map={"AutoConfig": "a/b--c.Config", "AutoModel": "a/b--c.Model"})
    with pytest.raises(ModelError, match="this model's code is in another repository"):
        open_model_folder(own, trust_remote_code=True)


@pytest.mark.parametrize("trusted", [False, True])
def test_where_transformers_has_the_model_its_own_code_is_taken(own: Path, trusted: bool) -> None:
    path = save_bert(own.parent / "bert")
    auto_map = {"AutoConfig": "own_code.OwnConfig", "AutoModel": "own_code.OwnModel"}
    plain = open_model_folder(path).architecture
    edit_json(path / "config.json", auto_map=auto_map)
    (path / "own_code.py").write_text((own / "own_code.py").read_text())
    folder = open_model_folder(path, trust_remote_code=trusted)
    load_encoder(folder, torch.float32, CPU, trust_remote_code=trusted)
    assert not ran(own)
    assert folder.architecture != plain


def test_a_tokenizer_with_code_of_its_own(own: Path) -> None:
    path = save_bert(own.parent / "bert")
    settings = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["own_code.OwnTokenizer", None]}}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "own_code.py").write_text((own / "own_code.py").read_text())
    with pytest.raises(ModelError, match="this tokenizer comes with its own code.*--trust-remote-code"):
        load_tokenizer(open_model_folder(path))
    assert not ran(own)
