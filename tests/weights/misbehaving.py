"""A hub on this machine: the addresses, redirects and headers of huggingface.co for one repository, and its faults on demand.

    with Server(folder) as hub:  Hub("hf://owner/name", endpoint=hub.endpoint)
    hub.faults.append(("model-00002", "truncate"))      # the next answer about a file whose name holds that, only once

Large files are redirected to another host and port, as the real one sends to its CDN; `hub.seen` keeps every request's host,
path, range and whether a token came along. Listens on 127.0.0.1 only.
"""

import contextlib
import functools
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from v4mini.config import Config
from v4mini.weights.random import random_tensors
from v4mini.weights.spec import tensors
from v4mini.weights.store import write_store

COMMIT = "60d8d70770c6776ff598c94bb586a859a38244f1"
SIX_LAYERS = Config.mini().replace(n_layers=6, compress_ratios=(0, 0, 4, 128, 4, 128, 0))      # whatever shape is bundled
LARGE = 4096                            # bytes from which on a file is "LFS": listed by SHA-256 and redirected


class Server:
    """Serves one folder as the repository owner/name at COMMIT."""

    def __init__(self, folder, repo="owner/name", redirect=True, handler=None):
        self.folder, self.repo, self.redirect = Path(folder), repo, redirect
        self.forget()
        self._hub, self._cdn = (ThreadingHTTPServer(("127.0.0.1", 0), handler or Handler) for _ in range(2))
        for place, server in (("hub", self._hub), ("cdn", self._cdn)):
            server.daemon_threads, server.owner, server.place = True, self, place
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._hub.server_port}"
        self.cdn = f"http://localhost:{self._cdn.server_port}"          # another port and another name

    def forget(self):
        """As new: no faults to come, nothing seen."""
        self.branches, self.faults, self.seen = {"main": COMMIT}, [], []
        self.release_stalled = threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release_stalled.set()
        for server in (self._hub, self._cdn):
            server.shutdown()
            server.server_close()

    @functools.cached_property
    def files(self):                    # -> {name: bytes}
        return {path.relative_to(self.folder).as_posix(): path.read_bytes()
                for path in sorted(self.folder.rglob("*")) if path.is_file()}

    @functools.cache                    # noqa: B019 - a server lives as long as its test
    def digest(self, raw):
        return hashlib.sha256(raw).hexdigest() if is_large(raw) else hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()

    def fault(self, path):              # takes the first fault whose word is in the path off the list
        for number, (word, _) in enumerate(self.faults):
            if word in path:
                return self.faults.pop(number)[1]
        return None

    def ranges(self, word=""):          # -> [range asked of files whose path holds word], redirects counted once
        return [asked["range"] for asked in self.seen if word in asked["path"] and "/api/" not in asked["path"]
                and asked["place"] == "hub"]


def is_large(raw):
    return len(raw) >= LARGE


def write_release(folder, config, shard_bytes=2 << 20, seed=0):
    """A checkpoint with random weights in several shards, with its index, its config and one other small file."""
    values = random_tensors(config, seed)
    write_store(folder, [(name, dtype, shape, lambda name=name: [values[name]]) for spec in tensors(config)
                         for name, dtype, shape in spec.stored()], shard_bytes=shard_bytes)
    (folder / "config.json").write_text(json.dumps(config.to_released()))
    (folder / "tokenizer.json").write_text("{}")
    return folder


class Handler(BaseHTTPRequestHandler):
    """Answers of either host; another class may override `send` and `plain` to lie."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle(self):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):        # the client has had enough
            super().handle()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub, place = self.server.owner, self.server.place
        path = unquote(urlsplit(self.path).path)
        hub.seen.append({"place": place, "path": path, "range": self.headers.get("Range"), "query": urlsplit(self.path).query,
                         "token": self.headers.get("Authorization"), "encoding": self.headers.get("Accept-Encoding")})
        if path.startswith("/api/"):
            return self.api(hub, path)
        found = re.fullmatch(rf"/{hub.repo}/resolve/([^/]+)/(.+)", path) if place == "hub" else re.fullmatch(r"/lfs/()(.+)", path)
        if place == "cdn" and hub.seen[-1]["query"] != f"signed=for-{self.headers.get('Range', 'all')}":
            return self.plain(403, {})  # an address is signed for one range and no other
        raw = hub.files.get(found[2]) if found else None
        if raw is None:
            return self.plain(404, {"X-Error-Code": "EntryNotFound" if found else "RepoNotFound"})
        large_here = place == "hub" and hub.redirect and is_large(raw)
        kind = None if large_here and not self.is_of_the_hub(hub, path) else hub.fault(path)
        if kind in _STATUS:
            return self.plain(*_STATUS[kind])
        if large_here:
            return self.plain(302, {"Location": f"{hub.cdn}/lfs/{found[2]}?signed=for-{self.headers.get('Range', 'all')}",
                                    **self.tags(hub, raw, kind)})
        return self.body(hub, raw, kind)

    def is_of_the_hub(self, hub, path):         # faults of status and tags happen at the hub, those of bodies at the CDN
        return any(word in path and (kind in _STATUS or kind == "changed") for word, kind in hub.faults[:1])

    def tags(self, hub, raw, kind):
        digest = hub.digest(raw)
        if kind == "changed":
            digest = digest[::-1]
        return {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(raw)), "X-Repo-Commit": COMMIT}

    def body(self, hub, raw, kind):
        start, stop = 0, len(raw)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        partial = asked is not None and kind != "ignores the range"
        if partial:
            start, stop = int(asked[1]), min(int(asked[2]) + 1, len(raw))
            if start >= len(raw):
                return self.plain(416, {"Content-Range": f"bytes */{len(raw)}"})
        sent = raw[start:stop]
        tag = '"a-tag-of-its-own"' if self.server.place == "cdn" else f'"{hub.digest(raw)}"'
        if kind == "changed":
            tag = tag[::-1]
        headers = {"ETag": tag, "X-Repo-Commit": COMMIT, "Content-Length": str(len(sent)), "Accept-Ranges": "bytes"}
        if partial:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(raw)}"
        _FAULTY_BODY.get(kind, type(self).send)(self, 206 if partial else 200, headers, sent)

    def send(self, status, headers, sent):
        self.start(status, headers)
        if self.command == "GET":
            self.wfile.write(sent)

    def start(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def plain(self, status, headers):
        self.start(status, {"Content-Length": "0", **headers})

    def truncate(self, status, headers, sent):          # promises all, sends half, hangs up
        self.start(status, headers)
        self.wfile.write(sent[: len(sent) // 2])
        self.close_connection = True

    def short(self, status, headers, sent):             # promises nothing, sends half, hangs up politely
        self.start(status, {name: value for name, value in headers.items() if name != "Content-Length"} | {"Connection": "close"})
        self.wfile.write(sent[: len(sent) // 2])
        self.close_connection = True

    def longer(self, status, headers, sent):            # more than was asked for
        self.start(status, {name: value for name, value in headers.items() if name != "Content-Length"} | {"Connection": "close"})
        self.wfile.write(sent + b"and more")
        self.close_connection = True

    def wrong_length(self, status, headers, sent):
        self.start(status, headers | {"Content-Length": str(len(sent) + 3)})
        self.wfile.write(sent + b"abc")

    def wrong_range(self, status, headers, sent):
        first, last, size = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers["Content-Range"]).groups()
        self.send(status, headers | {"Content-Range": f"bytes {int(first) + 1}-{int(last) + 1}/{size}"}, sent)

    def earlier_range(self, status, headers, sent):
        first, last, size = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers["Content-Range"]).groups()
        self.send(status, headers | {"Content-Range": f"bytes {int(first) - 1}-{int(last) - 1}/{size}"}, sent)

    def wrong_size(self, status, headers, sent):
        self.send(status, headers | {"Content-Range": headers["Content-Range"] + "9"}, sent)

    def strange_cookie(self, status, headers, sent):    # one that no later request could send back
        self.send(status, headers | {"Set-Cookie": "a=\xe9; Path=/"}, sent)

    def other_bytes(self, status, headers, sent):       # right in every way but the bytes
        self.send(status, headers, bytes(255 - byte for byte in sent))

    def compressed(self, status, headers, sent):
        self.send(status, headers | {"Content-Encoding": "gzip"}, sent)

    def stall(self, status, headers, sent):             # sends half, then nothing, and does not hang up
        self.start(status, headers)
        self.wfile.write(sent[: len(sent) // 2])
        self.wfile.flush()
        self.server.owner.release_stalled.wait(20)
        self.close_connection = True

    def trickle(self, status, headers, sent):           # a byte now and then
        self.start(status, headers)
        with contextlib.suppress(OSError):
            for byte in sent[:200]:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if self.server.owner.release_stalled.wait(0.05):
                    break
        self.close_connection = True

    def slow_head(self, status, headers, sent):         # the same before the body begins
        with contextlib.suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 200:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if self.server.owner.release_stalled.wait(0.05):
                    break
        self.close_connection = True

    def endless_range(self, status, headers, sent):
        self.send(status, headers | {"Content-Range": "bytes " + "9" * 5000 + "-1/2"}, sent)

    def api(self, hub, path):
        kind = hub.fault(path)
        if kind in _STATUS:
            return self.plain(*_STATUS[kind])
        found = re.fullmatch(rf"/api/models/{hub.repo}(?:/revision/(.+))?", path)
        if not found:
            return self.plain(404, {"X-Error-Code": "RepoNotFound"})
        asked = found[1] or "main"
        commit = hub.branches.get(asked, asked if asked in [*hub.branches.values(), COMMIT] else None)
        if commit is None:
            return self.plain(404, {"X-Error-Code": "RevisionNotFound"})
        siblings = []
        for name, raw in hub.files.items():
            one = {"rfilename": name, "size": len(raw), "blobId": hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()}
            siblings.append(one | ({"lfs": {"sha256": hub.digest(raw), "size": len(raw),
                                                                      "pointerSize": 134}} if is_large(raw) else {}))
        text = b"<html>" if kind == "web page" else json.dumps({"id": hub.repo, "sha": commit, "siblings": siblings}).encode()
        self.send(200, {"Content-Length": str(len(text)), "Content-Type": "application/json"}, text)


_STATUS = {
    "401": (401, {"X-Error-Message": "Invalid username or password."}),
    "403": (403, {}),
    "gated": (403, {"X-Error-Code": "GatedRepo"}),
    "404": (404, {"X-Error-Code": "EntryNotFound"}),
    "416": (416, {}),
    "429": (429, {"Retry-After": "7"}),
    "wait an hour": (429, {"Retry-After": "3600"}),
    "wait a minute": (503, {"Retry-After": "60"}),
    "strange wait": (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
    "endless wait": (429, {"Retry-After": "9" * 5000, "ratelimit": "r=0;t=" + "9" * 50}),
    "500": (500, {}),
    "503": (503, {}),
}
_FAULTY_BODY = {kind.__name__.replace("_", " "): kind for kind in (
    Handler.truncate, Handler.short, Handler.longer, Handler.wrong_length, Handler.wrong_range, Handler.earlier_range,
    Handler.wrong_size, Handler.other_bytes,
    Handler.strange_cookie, Handler.compressed, Handler.stall, Handler.trickle, Handler.slow_head,
    Handler.endless_range)}
