"""What can go wrong with a server, each in one sentence that says what to do. Not here: asking one (hub.py)."""

import queue
import re
import threading

from v4mini.shapes import Refused

LOGIN = "log in with `hf auth login`"


class BadStatus(Exception):
    """A response that says no. Its body was not read."""

    def __init__(self, response):
        super().__init__(f"status {response.status_code}")
        self.response = response


def named_wait(fault):                                  # -> seconds that a response asks to wait, or None
    """Retry-After in seconds, or the reset of a `ratelimit` header that has nothing left."""
    headers = getattr(getattr(fault, "response", None), "headers", {})
    after = re.fullmatch(r"\s*(\d{1,9})\s*", headers.get("Retry-After", ""), re.ASCII)
    limit = re.search(r"\br=0\b.*\bt=(\d{1,9})\b", headers.get("ratelimit", "")[:1000], re.ASCII)
    found = limit or after
    return int(found[1]) if found else None


def within(seconds, ask, what):                         # -> what ask() gives
    """Raise Refused if it takes longer: a head that comes a byte at a time never times out. The asking goes on, on its own."""
    came = queue.SimpleQueue()

    def run():
        try:
            came.put((ask(), None))
        except BaseException as error:
            came.put((None, error))
    threading.Thread(target=run, daemon=True).start()           # a daemon, so that nobody waits for it at the end
    try:
        answer, error = came.get(timeout=seconds)
    except queue.Empty:
        raise Refused(f"{what}, got none in {seconds:g} s. Try again later; what came is kept.") from None
    if error is not None:
        raise error
    return answer


def refused(error, what, endpoint, seconds):            # an exception of huggingface_hub or its HTTP library -> Refused, to raise
    """what: "hf://owner/name" or a file of it; seconds: how long an answer was waited for."""
    kind = type(error).__name__
    response = getattr(error, "response", None)
    if response is not None:
        return Refused(f"{what}: {_by_status(response, kind)}")
    if kind == "OfflineModeIsEnabled":
        return Refused(f"{what}: the hub is switched off here (HF_HUB_OFFLINE is set). Unset it, or name a folder on this disk.")
    if "Timeout" in kind and kind != "ConnectTimeout":
        return Refused(f"{what}: expected bytes from {endpoint}, got none for {seconds:g} s. Try again later; what came is kept.")
    if "Connect" in kind or "Protocol" in kind and "Unsupported" in kind:
        return Refused(f"{what}: {endpoint} cannot be reached ({_reason(error)}). Is this machine online?")
    return Refused(f"{what}: the connection to {endpoint} broke ({_reason(error)}). Try again; what came is kept.")


def _by_status(response, kind):                         # -> the rest of a sentence
    status = response.status_code
    code = response.headers.get("X-Error-Code", "")
    if code == "GatedRepo" or kind == "GatedRepoError" or status == 403:
        return f"access is restricted ({status}). Ask for it on the repository's page, then {LOGIN}."
    if status == 401:
        return f"the server wants to know who asks (401): no such repository, or a private one. Check the name, or {LOGIN}."
    if code == "RevisionNotFound":
        return "there is no such revision (404). Leave out what follows @ for the newest."
    if code == "EntryNotFound":
        return "the repository has no such file (404). Is it a checkpoint in the released format?"
    if status in (404, 410):
        return f"there is nothing of that name ({status}). Check owner and name."
    if status == 416:
        return "expected a longer file, got 416: it changed on the server. Run the command again."
    if status == 429:
        return f"the server still asks to wait (429). Try again later, or {LOGIN}, which raises its limits."
    if status >= 500:
        return f"the server is in trouble ({status}). Try again later; what came is kept."
    return f"expected an answer, got status {status} {response.reason_phrase}. Is the endpoint right?"


def _reason(error):                                     # the system's words, one line, without addresses of objects
    words = " ".join(str(error).split())
    return words[:160] or type(error).__name__
