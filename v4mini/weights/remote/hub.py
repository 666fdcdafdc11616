"""A repository on Hugging Face: its list of files at one commit, and any bytes of them.

Login and redirects are huggingface_hub's. Waiting (Retry-After, 5xx) is ours: it obeys an hour in silence, and a server that
sends a byte now and then for ever. Its own readers of ranges would not do:
parse_safetensors_file_metadata does not retry, does not say where the data begin, and takes a 200 for the range it asked for,
which would be a whole shard; HfFileSystem compares no lengths. Here every answer is checked (responses.py). Every range is asked
at the repository's own address, never at one kept from a redirect: those are signed for one range and expire.

Not here: what the files say (release.py), sentences for faults (errors.py). Import it when it is needed: it takes a second.
"""

import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from huggingface_hub import cached_assets_path, constants, hf_hub_url, parse_hf_uri, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # HTTPError: the HTTP library's root
from huggingface_hub.utils import build_hf_headers, get_session, http_stream_backoff

from v4mini import __version__
from v4mini.shapes import Refused
from v4mini.untrusted import brief
from v4mini.weights.remote.budget import LIMIT, ReadBudget
from v4mini.weights.remote.errors import BadStatus, named_wait, refused, within
from v4mini.weights.remote.folder import read_slices
from v4mini.weights.remote.responses import MAX_LISTING, check_answer, fits, read_listing
from v4mini.writing import make_folder, write_whole

STEADY = 1 << 20                        # bytes: a broken connection that brought as many starts the counting of tries anew
LONGEST_WAIT = 8.0                      # seconds, unless the server names a time
SLOWEST = 1000                          # bytes a second, over a window: below it, what is left would take for ever
WORTH_SAYING = 3.0                      # seconds: shorter waits are not told
PASSING = (429, 500, 502, 503, 504)     # statuses after which asking again may help


class Patience(NamedTuple):
    """When to give up. Waits double from first_wait to LONGEST_WAIT, unless the server names a time."""

    seconds: float = 0                  # without a byte; 0: HF_HUB_DOWNLOAD_TIMEOUT, which is 10 unless set
    tries: int = 5                      # again, after the first
    first_wait: float = 1.0
    waiting: float = 300.0              # seconds of all waits for one answer together; a longer one is refused at once
    window: float = 60.0                # seconds in which SLOWEST bytes a second must come; also to the end of a response's head


PATIENCE = Patience()


class Hub:
    """One repository, pinned to the commit that its branch had at first contact.

    address: hf://owner/name or hf://owner/name@revision. endpoint: another server of the same interface (default: HF_ENDPOINT,
    else huggingface.co). cache: folder for headers and small files (default: huggingface_hub's, by commit). say(text) is told
    of waits of more than WORTH_SAYING seconds, how long and why.
    """

    def __init__(self, address, endpoint=None, limit=LIMIT, cache=None, patience=PATIENCE, say=None):
        self.repo, revision = _parse(address)
        self.origin = f"hf://{self.repo}"
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        if not re.match(r"https?://[^/]", self.endpoint):
            raise Refused(f"endpoint: expected an address such as https://huggingface.co, got {brief(self.endpoint)}.")
        self.patience = patience._replace(seconds=patience.seconds or float(constants.HF_HUB_DOWNLOAD_TIMEOUT))
        self.budget = ReadBudget(limit)
        self._say = say or (lambda text: None)
        self.revision, self.files = self._contact(revision or constants.DEFAULT_REVISION)
        self.name = f"{self.origin}@{self.revision[:12]}"
        self.cache = Path(cache or cached_assets_path("v4mini", self.repo, self.revision))
        make_folder(self.cache)

    def path(self, name):               # -> Path
        """A small file as a whole (config.json, an index), checked against its digest and kept."""
        kept = self.cache / name
        listed = self.listed(name)
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
        listed = self.listed(name)
        what = f"{self.name}/{name}"
        kept = try_to_load_from_cache(self.repo, name, revision=self.revision)
        if isinstance(kept, str) and Path(kept).stat().st_size == listed.size:
            yield from (chunk for chunk, _ in read_slices(kept, start, stop))       # downloaded before: nothing to ask for
            return
        self.budget.reserve(what, stop - start)
        failures, at, steady, waited = 0, start, start, 0.0
        while at < stop:
            fault = None                # stays None when the server hangs up politely, but too early
            try:
                for chunk in self._answer(what, name, listed, at, stop):
                    at += len(chunk)
                    yield chunk
            except (HTTPError, BadStatus, OfflineModeIsEnabled) as error:
                fault = self._passing(error, what)
            if at < stop:
                failures, steady = (1, at) if at - steady >= STEADY else (failures + 1, steady)
                waited += self._wait(what, fault, failures, stop - at, waited)

    def listed(self, name):             # -> Listed
        if name not in self.files:
            raise Refused(f"{self.name}: expected a file {name}, got none. Is it a checkpoint in the released format?")
        return self.files[name]

    def _answer(self, what, name, listed, start, stop):     # yields bytes of one response, which may end early
        url = hf_hub_url(self.repo, name, revision=self.revision, endpoint=self.endpoint)
        wanted = {} if (start, stop) == (0, listed.size) else {"Range": f"bytes={start}-{stop - 1}"}
        clock = time.perf_counter()
        with self._response(what, url, wanted) as response:
            check_answer(what, response, listed, start, stop)
            for chunk in self._chunks(what, response, stop - start):
                self.budget.add(len(chunk), time.perf_counter() - clock)
                yield chunk
                clock = time.perf_counter()

    def _chunks(self, what, response, most):            # yields bytes; Refused if more than `most` come, or too slowly
        came, window, seconds = 0, 0, 0.0               # seconds: of waiting for bytes, not of what is done with them
        chunks = response.iter_bytes()                  # as they come: with a size, a break would lose what fills no chunk
        while True:
            clock = time.perf_counter()
            chunk = next(chunks, None)
            if chunk is None:
                return
            came, window, seconds = came + len(chunk), window + len(chunk), seconds + time.perf_counter() - clock
            if came > most:
                raise Refused(f"{what}: expected {most:,} bytes at most, got {came - most:,} more. Is a proxy in between?")
            yield chunk
            if seconds >= self.patience.window:
                if window < SLOWEST * seconds:
                    raise Refused(f"{what}: expected at least {SLOWEST:,} bytes a second, got {window:,} in {seconds:.3g} s. "
                                  "Try again later; what came is kept.")
                window, seconds = 0, 0.0

    @contextmanager
    def _response(self, what, url, headers, **more):    # gives a response whose head has come and whose status is well
        self.budget.count()
        get_session().cookies.clear()                   # nobody needs them, and one that is no ASCII would spoil every request
        # retries are ours, who know how far we came: no status and no exception makes huggingface_hub wait
        asking = http_stream_backoff("GET", url, headers=self._headers() | headers, timeout=self.patience.seconds,
                                     retry_on_exceptions=(), retry_on_status_codes=(), **more)
        try:
            response = within(self.patience.window, asking.__enter__, f"{what}: expected the head of an answer")
        except (HTTPError, OfflineModeIsEnabled, Refused):
            raise
        except Exception as error:                      # addresses, cookies, encodings that the HTTP library did not foresee
            raise Refused(f"{what}: expected an answer of a hub, got one that cannot be read ({type(error).__name__}: "
                          f"{brief(str(error))}). Is the endpoint right?") from None
        try:
            if response.status_code >= 400:
                raise BadStatus(response)               # its body is not read: it may be anything
            yield response
        finally:
            asking.__exit__(None, None, None)

    def _passing(self, error, what):    # -> the error, if asking again may help
        if isinstance(error, BadStatus) and error.response.status_code in PASSING:
            return error
        if isinstance(error, HTTPError) and not isinstance(error, HfHubHTTPError):
            return error
        raise self._refused(error, what) from None

    def _wait(self, what, fault, failures, left, waited):       # -> seconds waited
        if failures > self.patience.tries:
            if fault is not None:
                raise self._refused(fault, what) from None
            raise Refused(f"{what}: expected {left:,} bytes more, got the end of the answer, {failures} times. Try again later; "
                          "what came is kept.")
        named = named_wait(fault)
        seconds = min(LONGEST_WAIT, self.patience.first_wait * 2 ** (failures - 1)) if named is None else named + 1
        room = self.patience.waiting - waited
        if seconds > room:
            raise Refused(f"{what}: the server asks to wait {seconds:,.0f} s; this waits {self.patience.waiting:,.0f} s for one "
                          f"answer at most, and {room:,.0f} are left. Try again then; what came is kept.")
        if seconds >= WORTH_SAYING:
            self._say(f"{what}: waiting {seconds:.0f} s{'' if named is None else ', as the server asks'}; given up after "
                      f"{room:.0f} s of waiting.")
        time.sleep(seconds)
        return seconds

    def _contact(self, revision):       # -> commit, {name: Listed}
        url = f"{self.endpoint}/api/models/{self.repo}/revision/{quote(revision, safe='')}"
        what = f"{self.origin}: the list of files"
        failures = 0
        waited = 0.0
        while True:
            try:
                with self._response(self.origin, url, {}, params={"blobs": "true"}) as response:
                    raw = b"".join(self._chunks(what, response, MAX_LISTING))
                return read_listing(raw, what)
            except (HTTPError, OfflineModeIsEnabled) as error:          # nothing came yet: say so at once
                raise self._refused(error, self.origin) from None
            except BadStatus as error:
                fault, failures = self._passing(error, self.origin), failures + 1
            waited += self._wait(self.origin, fault, failures, 0, waited)

    def _refused(self, error, what):
        return refused(error, what, self.endpoint, self.patience.seconds)

    def _headers(self):
        headers = build_hf_headers(library_name="v4mini", library_version=__version__)
        return headers | {"Accept-Encoding": "identity"}    # else lengths and ranges are those of compressed bytes


def _parse(address):                    # -> "owner/name", revision or None
    try:
        uri = parse_hf_uri(str(address))
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise Refused(f"{brief(str(address))}: expected hf://owner/name or hf://owner/name@revision ({reason})") from None
    if uri.type != "model" or uri.path_in_repo:
        raise Refused(f"{address}: expected a model's repository, got a {uri.type}'s or a path inside. Write hf://owner/name.")
    return uri.id, uri.revision
