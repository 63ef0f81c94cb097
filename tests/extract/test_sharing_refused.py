"""Models that would be wrong in silence: what a comparison with the plain forward finds before the first shard."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers.dynamic_module_utils
from safetensors.torch import save_file
from transformers import Lfm2Config, Lfm2ForCausalLM, OPTConfig, OPTModel

from small.data.caches import content
from small.encoders.models import draw_weights, save_byte_pairs, save_dataset
from small.extract.extractions import extracted
from tcf.common.manifest import read_manifest
from tcf.config.extract import ExtractConfig
from tcf.data import Dataset
from tcf.data.cache.cache_files import VECTORS
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.prefix_sharing.tree_attention import use_plain_attention, use_tree_attention
from tcf.encoders.transformers_internals import attention_name
from tcf.extract.resolved_settings import may_share_prefixes

SAYS = "extract: texts that begin alike are computed one by one, as this model cannot share them ("
TEXTS = [f"super mario game boy {word} {number}" for word in ("gold", "star", "zelda") for number in range(10)]
# A token's state is the sum of all embeddings up to it, without any attention.
CODE = """
import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class OwnConfig(PreTrainedConfig):
    model_type = "tcf_sums"

    def __init__(self, hidden_size=4, vocab_size=400, **rest):
        self.hidden_size, self.vocab_size = hidden_size, vocab_size
        super().__init__(**rest)


class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    base_model_prefix = "own"
    _supports_sdpa = True

    def __init__(self, config):
        super().__init__(config)
        self.table = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids, **rest):
        return BaseModelOutput(last_hidden_state=self.table(input_ids).cumsum(1))
"""


def save_sums(folder: Path) -> Path:
    folder.mkdir()
    save_byte_pairs(folder)
    auto_map = {"AutoConfig": "own_code.OwnConfig", "AutoModel": "own_code.OwnModel"}
    settings = {"model_type": "tcf_sums", "hidden_size": 4, "vocab_size": 400, "auto_map": auto_map}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "own_code.py").write_text(CODE)
    table = torch.randn((400, 4), generator=torch.Generator().manual_seed(0))
    save_file({"own.table.weight": table}, folder / "model.safetensors", {"format": "pt"})
    return folder


def save_convolution(folder: Path, strength: float = 1.0) -> Path:
    """LFM2, of which every second block is a convolution over neighbouring tokens."""
    config = Lfm2Config(
        vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, layer_types=["conv", "full_attention"],
    )  # fmt: skip
    model = draw_weights(Lfm2ForCausalLM(config), 0)
    model.get_parameter("model.layers.0.conv.out_proj.weight").data *= strength
    model.save_pretrained(folder)
    save_byte_pairs(folder)
    return folder


# In bfloat16 its states are wrong by less than they are usually rounded, but not everywhere alike.
save_weak_convolution = partial(save_convolution, strength=0.01)


@pytest.fixture
def alike(tmp_path: Path) -> Dataset:
    return save_dataset(tmp_path / "d", TEXTS)


@pytest.mark.usefixtures("shown_log")
@pytest.mark.parametrize(
    ("save", "dtype"),
    [(save_sums, "float32"), (save_convolution, "float32"), (save_weak_convolution, "bfloat16")],
)
def test_a_model_that_mixes_tokens_elsewhere_is_found_out(
    save: Callable[[Path], Path], dtype: Any, alike: Dataset, tmp_path: Path, monkeypatch: Any, capfd: Any
) -> None:
    """One line says so, and all is as if sharing had not been tried."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    model = save(tmp_path / "m")
    extracted(alike, model, tmp_path / "c", trust_remote_code=True, dtype=dtype)
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith(SAYS)]
    assert line.startswith(f"{SAYS}the states of layer -1 differ by ")
    extracted(alike, model, tmp_path / "plain", trust_remote_code=True, share_prefixes=False, dtype=dtype)
    assert "begin alike" not in capfd.readouterr().err
    assert content(tmp_path / "c") == content(tmp_path / "plain")
    [shard] = (tmp_path / "c" / "shards").iterdir()
    assert read_manifest(shard, VECTORS.shard).facts["shares_prefixes"] is False


@pytest.mark.parametrize(
    ("rope", "max_tokens", "shares"),
    [
        ({"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 32}}, 32, True),
        ({"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 32}}, 33, False),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 40}, 41, False),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}, "max_position_embeddings": 40}, 41, True),
        ({"rope_parameters": {"full": {"rope_type": "default"}, "sliding": {"rope_type": "dynamic"}}}, 30, False),
        ({"rope_scaling": None}, 30, True),
    ],
)
def test_angles_that_depend_on_the_longest_text_of_a_call(rope: dict[str, Any], max_tokens: int, shares: bool) -> None:
    folder = ModelFolder(Path("m"), rope, "llama", width=8, max_positions=None, n_blocks=1, poolings=("mean",))
    assert may_share_prefixes(ExtractConfig(max_tokens=max_tokens), folder) == shares


def test_a_model_that_is_refused_has_its_own_attention_again() -> None:
    """The code of some models asks for the name of their attention."""
    model: Any = OPTModel(OPTConfig(hidden_size=8, ffn_dim=8, num_hidden_layers=1, num_attention_heads=2))
    assert attention_name(model) == "sdpa"
    use_tree_attention(model)
    assert attention_name(model) != "sdpa"
    use_plain_attention(model)
    assert attention_name(model) == "sdpa"
    use_plain_attention(model)
    assert attention_name(model) == "sdpa"
