"""Bundles on a model hub: pushed and loaded through `huggingface_hub`, against a small hub on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import ONE, demo_config, environment

from amber.console import Console
from amber.train import stage as training


@dataclass
class Hub:
    """What a fake hub keeps: one repository of small files, and what was asked of it."""

    files: dict[str, bytes] = field(default_factory=dict)
    private: bool | None = None
    asked: list[str] = field(default_factory=list)
    address: str = ""

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode(), usedforsecurity=False).hexdigest()


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, body: object, code: int = 200, **headers: str) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def do_POST(self) -> None:
            hub.asked.append(f"POST {self.path}")
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = urlsplit(self.path).path
            if path == "/api/repos/create":
                hub.private = json.loads(data).get("private", json.loads(data).get("visibility") == "private")
                self.answer({"url": f"{hub.address}/lab/model", "id": "lab/model"})
            elif path == "/api/validate-yaml":
                self.answer({"errors": [], "warnings": []})
            elif path == "/api/models/lab/model/preupload/main":
                files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                         for one in json.loads(data)["files"]]  # fmt: skip
                self.answer({"files": files})
            elif path == "/api/models/lab/model/commit/main":
                for line in map(json.loads, data.decode().splitlines()):
                    if line["key"] == "file":
                        hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                url = f"{hub.address}/lab/model/commit/{hub.commit}"
                self.answer({"success": True, "commitOid": hub.commit, "commitUrl": url})
            else:
                self.answer({"error": "not found"}, 404)

        def do_GET(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            path = unquote(urlsplit(self.path).path)
            info = {"_id": "0", "id": "lab/model", "sha": hub.commit, "siblings": [{"rfilename": n} for n in hub.files]}
            if path in ("/api/models/lab/model", "/api/models/lab/model/revision/main"):
                self.answer(info)
            elif path.startswith("/api/models/lab/model/tree/"):
                self.answer([{"type": "file", "path": n, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}  # noqa: S324
                             for n, d in hub.files.items()])  # fmt: skip
            elif path.startswith("/lab/model/resolve/") and path.split("/", 5)[5] in hub.files:
                data = hub.files[path.split("/", 5)[5]]
                tag = f'"{hashlib.sha1(data).hexdigest()}"'  # noqa: S324
                self.answer(data, ETag=tag, X_Repo_Commit=hub.commit)
            else:
                self.answer({"error": "not found"}, 404, X_Error_Code="RepoNotFound")

        do_HEAD = do_GET  # noqa: N815

    return Handler


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def experiment(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    overrides = ("train.epochs=2", ONE, "train.seeds=[0]", "train.folds=[1]", "train.variants=[amber2]")
    training.run(demo_config(demo_cache, *overrides, f"train.runs={runs}"), None, Console(quiet=True))
    return runs / "demo"


def called(hub: Hub, home: Path, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line with the fake hub, and a cache and a token of the test's own."""
    own = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home), "HF_TOKEN": "of-this-test",
           "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
           "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}  # fmt: skip
    command = [sys.executable, "-m", "amber.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**environment(), **own}, check=False)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{hub.asked}"
    return done


def test_a_bundle_goes_to_the_hub_and_comes_back(hub: Hub, experiment: Path, tmp_path: Path) -> None:
    target, home = tmp_path / "bundle", tmp_path / "home"
    called(hub, home, "export", "--runs", experiment, "--to", target, "--push", "lab/model")
    written = {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert hub.files == written
    assert hub.private is True
    predict = ("predict", "--text", "what a wonderful day", "--model")
    expected = called(hub, home, *predict, target).stdout
    assert called(hub, home, *predict, "hf://lab/model").stdout == expected
    assert called(hub, home, *predict, f"hf://lab/model@{'main'}").stdout == expected


def test_what_is_not_right_on_the_hub_is_said(hub: Hub, experiment: Path, tmp_path: Path) -> None:
    target, home = tmp_path / "bundle", tmp_path / "home"
    no_name = called(hub, home, "export", "--runs", experiment, "--to", target, "--push", "model", code=2)
    assert "OWNER/NAME" in no_name.stderr
    assert not target.exists()
    called(hub, home, "export", "--runs", experiment, "--to", target, "--push", "lab/model")
    (name,) = (name for name in hub.files if name.endswith("heads.safetensors"))
    hub.files[name] = hub.files[name][:-1] + bytes([hub.files[name][-1] ^ 1])
    predict = ("predict", "--text", "hello", "--model")
    assert "heads.safetensors" in called(hub, home, *predict, "hf://lab/model", code=2).stderr
    assert "lab/other" in called(hub, home, *predict, "hf://lab/other", code=2).stderr
    del hub.files["bundle.json"]
    assert "bundle.json" in called(hub, home, *predict, "hf://lab/model", code=2).stderr
