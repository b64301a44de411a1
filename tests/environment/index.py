# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A package index on 127.0.0.1 with small wheels, which can fail; and locks that ask for them."""

import base64
import contextlib
import hashlib
import io
import json
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tessera_plugin.environment import bundles

FILLING = 1_500_000


def wheel(name, version="1.0", filling=FILLING):
    """Return a wheel with a module of its name, and some bytes that don't pack."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    noise = hashlib.shake_256(name.encode()).digest(filling)
    files = {
        f"{module}/__init__.py": b"VALUE = 1\n",
        f"{module}/noise.bin": noise,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},{_digest(data)},{len(data)}" for path, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return out.getvalue()


def _digest(data):
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


class Index:
    """Serves wheels as a simple index. `cut`: every wheel ends after so many bytes."""

    def __init__(self, names, filling=FILLING):
        self._wheels = {name: wheel(name, filling=filling) for name in names}
        self.reset()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def reset(self):
        """Serve all of it, at once."""
        self.wheels = dict(self._wheels)
        self.cut = None
        self.bytes_per_s = None
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}/simple"

    def environ(self):
        """Return what a person sets who has an index of their own."""
        return {"PIP_INDEX_URL": self.url, "PIP_CONFIG_FILE": "/dev/null", "PATH": "/usr/bin:/bin"}

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def listing(self, name):
        data = self.wheels[name]
        file = f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
        digest = hashlib.sha256(data).hexdigest()
        return f'<html><body><a href="/files/{file}#sha256={digest}">{file}</a></body></html>'


def _handler(index):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            index.requests.append(self.path)
            part = self.path.strip("/").split("/")
            if part[0] == "simple" and part[-1] in index.wheels:
                self._send(index.listing(part[-1]).encode(), "text/html")
            elif part[0] == "files":
                name = part[-1].split("-1.0")[0].replace("_", "-")
                with contextlib.suppress(ConnectionError):  # it was cancelled
                    self._send(index.wheels[name], "application/zip", cut=index.cut)
            else:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _send(self, data, kind, cut=None):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if cut is not None:
                self.wfile.write(data[:cut])
                self.close_connection = True
                return
            step = index.bytes_per_s // 10 if index.bytes_per_s else len(data)
            for at in range(0, len(data), step):
                self.wfile.write(data[at : at + step])
                if index.bytes_per_s:
                    threading.Event().wait(0.1)

        def log_message(self, *_):
            """Say nothing."""

    return Handler


class RefusingProxy:
    """A proxy that answers everything with one status."""

    def __init__(self, status):
        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                self.send_response(status)
                if status == 407:
                    self.send_header("Proxy-Authenticate", 'Basic realm="x"')
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_CONNECT = do_HEAD = answer

            def log_message(self, *_):
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def write_locks(folder, index, *, wrong_hash=False):
    """Write locks of both bundles for this platform that ask for the index's wheels."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, data in index.wheels.items():
        digest = "0" * 64 if wrong_hash else hashlib.sha256(data).hexdigest()
        lines.append(f"{name}==1.0 --hash=sha256:{digest}")
    size = sum(len(data) for data in index.wheels.values())
    sizes = {}
    for bundle in bundles.BUNDLES:
        name = bundles.lock_name(bundle, "linux-x86_64", "3.11", bundles.CPU)
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", "utf-8")
        sizes[name] = {"download": size, "installed": size}
    (folder / "sizes.json").write_text(json.dumps(sizes), "utf-8")
    return folder


def use_locks(folder):
    """Let the package take its locks from a folder."""
    bundles.LOCKS = folder
    bundles._sizes.cache_clear()


def lend_uv(places):
    """Put the uv of the tests where the plugin keeps its own."""
    program = Path(sys.executable).with_name("uv")
    target = places.tools / "bin" / "uv"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(program)
