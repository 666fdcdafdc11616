"""A hub that lies: lists of files, heads and bodies of answers, changed on the way; then a part is fetched, or all of it.

What is fetched as a whole must be the release's own bytes, unless the list of files itself told another digest. A part has no
digest: wrong bytes under right headers cannot be noticed there, and are counted.
"""

import contextlib
import json
import threading

import numpy as np
from hostile.mutate import AWKWARD, change, damaged_bytes

FULL = 2000
STATUSES = (200, 200, 206, 204, 301, 302, 307, 308, 400, 401, 403, 404, 408, 416, 418, 429, 429, 451, 500, 502, 503, 599)
NAMES = ("Content-Length", "Content-Range", "Content-Encoding", "ETag", "X-Linked-Etag", "X-Linked-Size", "Location",
         "Retry-After", "ratelimit", "X-Repo-Commit", "X-Error-Code", "X-Error-Message", "Transfer-Encoding", "Connection",
         "Link", "Set-Cookie")
VALUES = ("0", "1", "-1", "7", "9" * 30, "", "x", '"x"', "gzip", "chunked", "close", "bytes 0-1/2", "bytes 9-1/*", "r=0;t=2",
          "nan", "http://127.0.0.1:1/", "/", "ftp://x/y", "http://[::1", "\x1b[2J", "x" * 20_000, "Wed, 21 Oct 2026 07:28:00 GMT",
          "é" * 9)
PARTS = ("norm", "layers.1.attn", "layers.*.ffn.gate", "layers.0.ffn.experts.3", "all", "all")


def prepare(folder):                    # -> the server, started
    from weights.misbehaving import Handler, Server, write_release

    from v4mini import Config
    from v4mini.weights.remote import fetch, hub  # noqa: F401

    class Lying(Handler):
        """Each answer may be changed once, by the case's own random numbers, in the order in which they are asked for."""

        timeout = 5

        def send(self, status, headers, sent):
            status, headers, sent = self.server.owner.lie(self.path, status, dict(headers), sent)
            with contextlib.suppress(ValueError, OSError):
                self.start(status, headers)
                if self.command == "GET":
                    self.wfile.write(sent)
            if headers.get("Content-Length") != str(len(sent)):
                self.close_connection = True

        def plain(self, status, headers):
            self.send(status, {"Content-Length": "0", **headers}, b"")

        def send_header(self, name, value):
            super().send_header(name, value.encode("latin-1", "replace").decode("latin-1").replace("\n", " "))

    server = Server(write_release(folder / "release", Config.tiny().replace(n_layers=2, compress_ratios=(4, 0, 0)),
                                  shard_bytes=200_000), handler=Lying)
    server.lock = threading.Lock()
    return server


def lying(server, rng, chance):         # -> what it said: a set of words
    told = set()

    def lie(path, status, headers, sent):
        with server.lock:
            if rng.random() >= chance:
                return status, headers, sent
            kind = int(rng.integers(6))
            if "/api/" in path and kind < 4:
                told.add("another list of files")
                sent = _another_list(sent, rng)
                headers["Content-Length"] = str(len(sent))
            elif kind == 0:
                status = int(STATUSES[rng.integers(len(STATUSES))])
            elif kind == 1 and sent:
                told.add("other bytes")
                sent = bytes(byte ^ int(rng.integers(256)) for byte in sent) if rng.random() < 0.3 else damaged_bytes(sent, rng)
                if rng.random() < 0.7:
                    headers["Content-Length"] = str(len(sent))
            elif kind == 2 and headers:
                headers.pop(sorted(headers)[rng.integers(len(headers))])
            elif kind == 3 and sent:
                told.add("other bytes")
                at = int(rng.integers(len(sent)))
                sent = sent[:at] + bytes([sent[at] ^ 1]) + sent[at + 1:]
            else:
                headers[NAMES[rng.integers(len(NAMES))]] = VALUES[rng.integers(len(VALUES))]
            return status, headers, sent
    server.lie = lie
    return told


def _another_list(sent, rng):
    if rng.random() < 0.3:
        return damaged_bytes(sent, rng)
    said = json.loads(sent)
    if rng.random() < 0.3:
        one = said["siblings"][rng.integers(len(said["siblings"]))]
        one[str(rng.choice(["rfilename", "size", "blobId", "lfs"]))] = AWKWARD[rng.integers(len(AWKWARD))]
    else:
        for _ in range(rng.integers(1, 4)):
            change(said, rng)
    return json.dumps(said).encode()


def case(server, rng, folder):
    from v4mini.weights.remote.fetch import fetch
    from v4mini.weights.remote.hub import Patience
    from v4mini.weights.remote.plan import plan
    from v4mini.weights.remote.release import open_release

    told, into = lying(server, rng, chance=float(rng.choice([0.1, 0.3, 1.0]))), folder / "parts"
    (folder / "stranger").write_bytes(b"mine")
    patience = Patience(seconds=0.5, tries=2, first_wait=0.01, waiting=2.0, window=1.0)
    part = PARTS[rng.integers(len(PARTS))]
    try:
        release = open_release("hf://owner/name", server.endpoint, cache=folder / "cache", patience=patience)
        fetch(release, plan(release, [part], into))
    finally:
        names = {one.name for one in folder.iterdir()} - {"parts", "cache", "stranger"}
        if (folder / "stranger").read_bytes() != b"mine" or names:
            return "WRONG a stranger's file, or a file outside of the folder"  # noqa: B012  (nothing else matters then)
    return _judged(server, release, into, told)


def _judged(server, release, into, told):
    from v4mini.weights.remote.record import read_record
    from v4mini.weights.store import open_store

    if any((into / ".fetching").rglob("*")):
        return "WRONG unfinished files are left of a fetch that ended well"
    record, words = read_record(into), set()
    for name, held_to in record.compared.items():
        raw = (into / name).read_bytes()
        if held_to and raw != server.files.get(name):
            words.add("another list of files")
    with open_store(into) as store:
        for name in store:
            if store.where(name).name not in server.files and not _same(server, store, name):
                words.add("other bytes")
    wrong = words - told
    if wrong:
        return f"WRONG wrong bytes were believed: {sorted(wrong)}"
    if "another list of files" in words:
        return "whole files that the hub's own list told otherwise, which no one can tell"
    return "parts with other bytes under right headers, which no one can tell" if words else "the release's own bytes"


def _same(server, store, name):         # -> bool: a part's tensor is the release's
    if not hasattr(server, "values"):
        from v4mini.weights.store import open_store as opened

        with opened(server.folder) as whole:
            server.values = {one: np.array(whole[one]) for one in whole}
    mine, theirs = store[name], server.values.get(name)
    return theirs is not None and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()
