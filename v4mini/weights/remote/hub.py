"""A repository on Hugging Face: its list of files at one commit, and any bytes of them.

Login, redirects and waiting (Retry-After, 5xx) are huggingface_hub's. Its own readers of ranges would not do:
parse_safetensors_file_metadata does not retry, does not say where the data begin, and takes a 200 for the range it asked for,
which would be a whole shard; HfFileSystem compares no lengths. Here every answer is checked (answers.py). Every range is asked
at the repository's own address, never at one kept from a redirect: those are signed for one range and expire.

Not here: what the files say (release.py), sentences for faults (faults.py). Import it when it is needed: it takes a second.
"""

import re
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from huggingface_hub import cached_assets_path, constants, hf_hub_url, parse_hf_uri, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # HTTPError: the HTTP library's root
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff, http_stream_backoff

from v4mini import __version__
from v4mini.shapes import Refused
from v4mini.untrusted import brief
from v4mini.weights.remote.answers import check_answer, fits, read_listing
from v4mini.weights.remote.faults import refused
from v4mini.weights.remote.folder import read_slices
from v4mini.weights.remote.meter import LIMIT, Meter
from v4mini.writing import make_folder, write_whole

STEADY = 1 << 20                        # bytes: a broken connection that brought as many starts the counting of tries anew
LONGEST_WAIT = 8.0                      # seconds, unless the server names a time


class Patience(NamedTuple):
    """When to give up. Waits double from first_wait to LONGEST_WAIT."""

    seconds: float = 0                  # without a byte; 0: HF_HUB_DOWNLOAD_TIMEOUT, which is 10 unless set
    tries: int = 5                      # again, after the first
    first_wait: float = 1.0


PATIENCE = Patience()


class Hub:
    """One repository, pinned to the commit that its branch had at first contact.

    address: hf://owner/name or hf://owner/name@revision. endpoint: another server of the same interface (default: HF_ENDPOINT,
    else huggingface.co). cache: folder for headers and small files (default: huggingface_hub's, by commit).
    """

    def __init__(self, address, endpoint=None, limit=LIMIT, cache=None, patience=PATIENCE):
        self.repo, revision = _parse(address)
        self.origin = f"hf://{self.repo}"
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        if not re.match(r"https?://[^/]", self.endpoint):
            raise Refused(f"endpoint: expected an address such as https://huggingface.co, got {brief(self.endpoint)}.")
        self.patience = patience._replace(seconds=patience.seconds or float(constants.HF_HUB_DOWNLOAD_TIMEOUT))
        self.meter = Meter(limit)
        self.revision, self.files = self._contact(revision or constants.DEFAULT_REVISION)
        self.name = f"{self.origin}@{self.revision[:12]}"
        self.cache = Path(cache or cached_assets_path("v4mini", self.repo, self.revision))
        make_folder(self.cache)

    def path(self, name):               # -> Path
        """A small file as a whole (config.json, an index), checked against its digest and kept."""
        kept, listed = self.cache / name, self.listed(name)
        if not kept.is_file() or not fits(listed, [kept.read_bytes()]):
            raw = self.read(name, 0, listed.size)
            if not fits(listed, [raw]):
                raise Refused(f"{self.name}/{name}: expected digest {listed.digest}, got other bytes. Run the command again.")
            make_folder(kept.parent)
            write_whole(kept, raw)
        return kept

    def read(self, name, start, stop):  # -> bytes
        return b"".join(self.stream(name, start, stop))

    def stream(self, name, start, stop):        # yields bytes, stop - start in all
        """A range of a file. A connection that breaks is taken up again where it broke."""
        listed, what = self.listed(name), f"{self.name}/{name}"
        kept = try_to_load_from_cache(self.repo, name, revision=self.revision)
        if isinstance(kept, str) and Path(kept).stat().st_size == listed.size:
            yield from (chunk for chunk, _ in read_slices(kept, start, stop))       # downloaded before: nothing to ask for
            return
        self.meter.ask(what, stop - start)
        failures, at, steady = 0, start, start
        while at < stop:
            fault = None                # stays None when the server hangs up politely, but too early
            try:
                for chunk in self._answer(what, name, listed, at, stop):
                    at += len(chunk)
                    yield chunk
            except (HfHubHTTPError, OfflineModeIsEnabled) as error:     # after huggingface_hub's own tries
                raise self._refused(error, what) from None
            except HTTPError as error:
                fault = error
            if at < stop:
                failures, steady = (1, at) if at - steady >= STEADY else (failures + 1, steady)
                self._wait(what, fault, failures, stop - at)

    def listed(self, name):             # -> Listed
        if name not in self.files:
            raise Refused(f"{self.name}: expected a file {name}, got none. Is it a checkpoint in the released format?")
        return self.files[name]

    def _answer(self, what, name, listed, start, stop):     # yields bytes of one response, which may end early
        url = hf_hub_url(self.repo, name, revision=self.revision, endpoint=self.endpoint)
        wanted = {} if (start, stop) == (0, listed.size) else {"Range": f"bytes={start}-{stop - 1}"}
        self.meter.asked()
        clock = time.perf_counter()
        # retry_on_exceptions=(): a fault inside the block must reach us, who know how far we came
        with http_stream_backoff("GET", url, headers=self._headers() | wanted, timeout=self.patience.seconds,
                                 retry_on_exceptions=(), **self._waiting()) as response:
            hf_raise_for_status(response)
            check_answer(what, response, listed, start, stop)
            for chunk in response.iter_bytes():             # as they come: with a size, a break would lose what fills no chunk
                start += len(chunk)
                if start > stop:
                    raise Refused(f"{what}: expected to end at byte {stop:,}, got {start - stop:,} more. Is a proxy in between?")
                self.meter.came(len(chunk), time.perf_counter() - clock)
                yield chunk
                clock = time.perf_counter()

    def _wait(self, what, fault, failures, left):
        if failures > self.patience.tries:
            if fault is not None:
                raise self._refused(fault, what) from None
            raise Refused(f"{what}: expected {left:,} bytes more, got the end of the answer, {failures} times. Try again later; "
                          "what came is kept.")
        time.sleep(min(LONGEST_WAIT, self.patience.first_wait * 2 ** (failures - 1)))

    def _contact(self, revision):       # -> commit, {name: Listed}
        url = f"{self.endpoint}/api/models/{self.repo}/revision/{quote(revision, safe='')}"
        self.meter.asked()
        try:
            response = http_backoff("GET", url, params={"blobs": "true"}, headers=self._headers(), timeout=self.patience.seconds,
                                    retry_on_exceptions=(), **self._waiting())
            hf_raise_for_status(response)
        except (HTTPError, OfflineModeIsEnabled) as error:
            raise self._refused(error, self.origin) from None
        return read_listing(response.content, f"{self.origin}: the list of files")

    def _refused(self, error, what):
        return refused(error, what, self.endpoint, self.patience.seconds)

    def _headers(self):
        headers = build_hf_headers(library_name="v4mini", library_version=__version__)
        return headers | {"Accept-Encoding": "identity"}    # else lengths and ranges are those of compressed bytes

    def _waiting(self):
        return {"max_retries": self.patience.tries, "base_wait_time": self.patience.first_wait, "max_wait_time": LONGEST_WAIT}


def _parse(address):                    # -> "owner/name", revision or None
    try:
        uri = parse_hf_uri(str(address))
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise Refused(f"{brief(str(address))}: expected hf://owner/name or hf://owner/name@revision ({reason})") from None
    if uri.type != "model" or uri.path_in_repo:
        raise Refused(f"{address}: expected a model's repository, got a {uri.type}'s or a path inside. Write hf://owner/name.")
    return uri.id, uri.revision
