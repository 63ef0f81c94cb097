"""The hub's own client against a small server that answers as the hub does."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXT_FILES = {"config.json": b"{}", "tokenizer.json": b"{}", "tokenizer_config.json": b"{}"}
INDEX = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})
SHARDED = {
    **TEXT_FILES,
    "model-00001-of-00002.safetensors": b"a",
    "model-00002-of-00002.safetensors": b"b",
    "model.safetensors.index.json": INDEX.encode(),
}


@dataclass
class Hub:
    """A small hub: repositories by id, and every request that it had."""

    address: str
    cache: Path
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    damages: bool = False
    requests: list[str] = field(default_factory=list)

    def resolve(self, name: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """What resolve_model says about a name in a fresh process whose hub this is."""
        script = (
            "import sys; from tcf.assets.resolve import resolve_model; from tcf.common.errors import ModelError\n"
            "try: print(resolve_model(sys.argv[1]))\n"
            "except ModelError as error: sys.exit(f'ModelError: {error}')"
        )
        variables = {
            **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(self.cache),
            "TCF_HOME": str(self.cache / "tcf"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **environment,
        }
        command = [sys.executable, "-c", script, name]
        return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=120)

    def folder(self, name: str) -> Path:
        """The folder that resolve_model gives."""
        answer = self.resolve(name)
        assert answer.returncode == 0, answer.stderr
        return Path(answer.stdout.strip())

    def error(self, name: str, **environment: str) -> str:
        """The last line of a failure; it must be a ModelError on one line."""
        answer = self.resolve(name, **environment)
        assert answer.returncode == 1
        last = answer.stderr.splitlines()[-1]
        assert last.startswith("ModelError: "), answer.stderr
        return last.removeprefix("ModelError: ")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        hub = Hub(f"http://127.0.0.1:{server.server_port}", tmp_path)
        server.RequestHandlerClass = handler_for(hub)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()


def handler_for(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.requests.append(self.path)
            path = unquote(self.path.split("?")[0]).removeprefix("/api/models").strip("/")
            owner_and_name = "/".join(path.split("/")[:2])
            files = hub.repositories.get(owner_and_name)
            if files is None:
                self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
            elif owner_and_name in hub.gated:
                self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
            elif "/revision/" in path:
                self._json({"id": owner_and_name, "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]})
            elif "/tree/" in path:
                self._json([{"type": "file", "path": n, "size": len(c), "oid": etag(c)} for n, c in files.items()])
            else:
                content = files[path.split(f"/resolve/{COMMIT}/")[1]]
                sent = content.replace(b"good", b"baad") if hub.damages else content
                self._answer(200, sent, {"ETag": f'"{etag(content)}"', "X-Repo-Commit": COMMIT})

        do_HEAD = do_GET

        def _json(self, value: Any) -> None:
            self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are in `hub.requests`."""

    return Handler


def etag(content: bytes) -> str:
    """What the hub states: sha256 for large files (here: safetensors content that says so), git's sha1 for others."""
    if content.startswith(b"large"):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def names_in(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_safetensors_are_preferred_and_a_second_call_asks_nobody(hub: Hub) -> None:
    useless = {"pytorch_model.bin": b"p", "tf_model.h5": b"t", "onnx/model.onnx": b"o", "openvino/model.bin": b"v"}
    hub.repositories["owner/name"] = {
        **TEXT_FILES,
        "model.safetensors": b"s",
        "1_Pooling/config.json": b"{}",
        **useless,
    }
    folder = hub.folder("owner/name")
    assert names_in(folder) == {*TEXT_FILES, "model.safetensors", "1_Pooling/config.json"}
    asked = len(hub.requests)
    assert hub.folder("owner/name") == folder
    assert len(hub.requests) == asked


def test_the_modules_of_a_sentence_encoder_are_fetched(hub: Hub) -> None:
    paths = ["", "1_Pooling", "2_Dense", "odd [name]/3"]
    modules = json.dumps([{"type": "sentence_transformers.models.Any", "path": path} for path in paths]).encode()
    needed = {
        **TEXT_FILES,
        "model.safetensors": b"s",
        "modules.json": modules,
        "config_sentence_transformers.json": b"{}",
        "sentence_bert_config.json": b"{}",
        "1_Pooling/config.json": b"{}",
        "2_Dense/config.json": b"{}",
        "2_Dense/model.safetensors": b"d",
        "odd [name]/3/config.json": b"{}",
        "odd [name]/3/pytorch_model.bin": b"e",
    }
    useless = {"2_Dense/pytorch_model.bin": b"d", "pytorch_model.bin": b"p", "other/config.json": b"{}"}
    hub.repositories["owner/name"] = {**needed, **useless}
    folder = hub.folder("owner/name")
    assert names_in(folder) == set(needed)
    asked = len(hub.requests)
    assert hub.folder("owner/name") == folder
    assert len(hub.requests) == asked


def test_a_copy_without_the_settings_of_a_module_is_completed(hub: Hub) -> None:
    kinds = {"Transformer": "", "Pooling": "pool"}
    listed = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds.items()]
    modules = json.dumps(listed).encode()
    files = {**TEXT_FILES, "model.safetensors": b"s", "modules.json": modules, "pool/config.json": b"{}"}
    hub.repositories["owner/name"] = files
    folder = hub.folder("owner/name")
    for listing in hub.cache.rglob("trees"):
        shutil.rmtree(listing)
    (folder / "pool" / "config.json").unlink()
    assert hub.folder("owner/name") == folder
    assert names_in(folder) == set(files)


def test_a_language_model_in_the_folder_of_its_module_is_fetched(hub: Hub) -> None:
    modules = json.dumps([{"type": "sentence_transformers.models.Transformer", "path": "0_BERT"}]).encode()
    files = {f"0_BERT/{name}": content for name, content in {**SHARDED, "sentence_bert_config.json": b"{}"}.items()}
    hub.repositories["owner/name"] = {**files, "modules.json": modules, "0_BERT/pytorch_model.bin": b"p"}
    folder = hub.folder("owner/name")
    assert names_in(folder) == {*files, "modules.json"}


def test_pickled_weights_are_taken_where_there_is_nothing_else(hub: Hub) -> None:
    hub.repositories["facebook/opt-125m"] = {
        "config.json": b"{}",
        "vocab.json": b"{}",
        "merges.txt": b"",
        "pytorch_model.bin": b"p",
        "flax_model.msgpack": b"f",
    }
    folder = hub.folder("opt-125m")
    assert names_in(folder) == {"config.json", "vocab.json", "merges.txt", "pytorch_model.bin"}
    asked = len(hub.requests)
    assert hub.folder("facebook/opt-125m") == folder
    assert len(hub.requests) == asked


@pytest.mark.parametrize("number", [1, 2])
def test_a_snapshot_that_lacks_a_shard_is_completed(hub: Hub, number: int) -> None:
    hub.repositories["owner/name"] = SHARDED
    folder = hub.folder("owner/name")
    # Without the client's own list of files, as older versions of it leave the cache, only the index tells.
    for listing in hub.cache.rglob("trees"):
        shutil.rmtree(listing)
    shard = folder / f"model-0000{number}-of-00002.safetensors"
    shard.resolve().unlink()
    shard.unlink()
    assert "HF_HUB_OFFLINE is set" in hub.error("owner/name", HF_HUB_OFFLINE="1")
    assert hub.folder("owner/name") == folder
    assert names_in(folder) == set(SHARDED)


def test_offline_uses_what_is_cached_and_sends_no_request(hub: Hub) -> None:
    hub.repositories["owner/name"] = {**TEXT_FILES, "model.safetensors": b"s"}
    assert "HF_HUB_OFFLINE is set" in hub.error("owner/name", HF_HUB_OFFLINE="1")
    assert hub.requests == []
    folder = hub.folder("owner/name")
    asked = len(hub.requests)
    offline = hub.resolve("owner/name", HF_HUB_OFFLINE="1")
    assert offline.stdout == f"{folder}\n"
    assert len(hub.requests) == asked


def test_a_repository_without_weights_is_refused(hub: Hub) -> None:
    hub.repositories["owner/name"] = {**TEXT_FILES, "model.onnx": b"o"}
    assert hub.error("owner/name").startswith(
        "owner/name: no such folder, and the hub's model cannot be used: the repository lacks config.json"
    )


def test_a_missing_and_a_gated_repository_say_what_to_do(hub: Hub) -> None:
    assert "no such repository, or a private one" in hub.error("owner/absent")
    hub.repositories["owner/gated"] = {}
    hub.gated.add("owner/gated")
    assert "accept its terms at huggingface.co/owner/gated" in hub.error("owner/gated")


def test_an_unreachable_hub_or_proxy_is_a_model_error(hub: Hub) -> None:
    nobody = "http://127.0.0.1:9"
    assert "the hub cannot be reached" in hub.error("owner/name", HF_ENDPOINT=nobody)
    through_proxy = hub.error("owner/name", HF_ENDPOINT="https://hub.invalid", HTTPS_PROXY=nobody)
    assert through_proxy.startswith("owner/name: no such folder, and the hub's model cannot be used: ")
    assert "opt-30b: cannot be downloaded. hub facebook/opt-30b: " in hub.error("opt-30b", HF_ENDPOINT=nobody)


@pytest.mark.parametrize("index", ["[]", '{"weight_map": ["a"]}', '{"weight_map": {"a": [1]}}', "{}", "{"])
def test_a_damaged_index_of_weights_is_a_model_error(hub: Hub, index: str) -> None:
    hub.repositories["owner/name"] = {**SHARDED, "model.safetensors.index.json": index.encode()}
    assert "lacks config.json, a tokenizer, or complete weights" in hub.error("owner/name")
    assert "HF_HUB_OFFLINE is set" in hub.error("owner/name", HF_HUB_OFFLINE="1")


@pytest.mark.parametrize("content", [b"good and small", b"large and good"])
def test_a_file_that_arrived_damaged_is_refused_and_fetched_again(hub: Hub, content: bytes) -> None:
    hub.repositories["owner/name"] = {**TEXT_FILES, "model.safetensors": content}
    hub.damages = True
    assert "model.safetensors was damaged in transfer" in hub.error("owner/name")
    hub.damages = False
    assert (hub.folder("owner/name") / "model.safetensors").read_bytes() == content
