"""Is an answer what was asked for? Lengths, ranges, digests, and the list of files of a repository.

Not here: asking (hub.py), what to say when no answer comes (errors.py).
"""

import hashlib
import re

from v4mini.shapes import Refused
from v4mini.untrusted import brief, is_text, parse_json
from v4mini.weights.remote.budget import Listed

RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
LENGTH = re.compile(r"\d{1,18}", re.ASCII)
MAX_LISTING = 16 << 20                  # bytes of the list of files; a repository of 1,000 shards has 0.3 million
MAX_FILES = 20_000
LONGEST_NAME = 500                      # letters
LARGEST_FILE = 1 << 50                  # bytes
DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


def check_answer(what, response, listed, start, stop):
    """Raise Refused unless a response begins the range [start, stop) of the file that was listed. Reads headers only."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(f"{what}: expected plain bytes, got them compressed. Is a proxy in between?")
    length = response.headers.get("Content-Length")
    if length is not None and not LENGTH.fullmatch(length):
        raise Refused(f"{what}: expected a number of bytes as Content-Length, got {brief(length)}. Is a proxy in between?")
    if response.status_code == 206:
        size, sent = _range(what, response.headers.get("Content-Range", ""), listed, start, stop)
    elif response.status_code == 200 and (start, stop) == (0, listed.size):
        size = sent = listed.size if length is None else int(length)
    else:
        raise Refused(f"{what}: expected a range (206), got status {response.status_code}. Does a proxy strip ranges?")
    tag = _identity(response)
    if size != listed.size or len(tag) == len(listed.digest) and tag != listed.digest:
        raise Refused(f"{what}: expected {listed.size:,} bytes with digest {listed.digest or 'unknown'}, got {size:,} with "
                      f"{tag or 'none'}: the file changed on the server. Run the command again.")
    if length is not None and int(length) != sent:
        raise Refused(f"{what}: expected {sent:,} bytes, got an answer of {int(length):,}. Is a proxy in between?")


def _range(what, header, listed, start, stop):          # -> size of the file, bytes in this answer
    found = RANGE.fullmatch(header)
    if not found or int(found[1]) != start or not start <= int(found[2]) < stop:
        raise Refused(f"{what}: expected bytes {start}-{stop - 1}, got {brief(header)}. Is a proxy in between?")
    return listed.size if found[3] == "*" else int(found[3]), int(found[2]) + 1 - start


def _identity(response):                                # -> the repository's digest of the file behind an answer, or ""
    # Large files come from elsewhere, after a redirect. Only the redirect tells the repository's digest: what answers in the
    # end has tags of its own, some as long as a digest.
    for answer in [*response.history, response]:
        if "X-Linked-Etag" in answer.headers:
            return _bare(answer.headers["X-Linked-Etag"])
    return "" if response.history else _bare(response.headers.get("ETag", ""))


def _bare(tag):
    return tag.removeprefix("W/").strip('"')


def fits(listed, chunks):                               # -> bool
    """Whether these are the bytes that were listed, by length and, where there is one, by digest."""
    chunks = list(chunks)
    return sum(map(len, chunks)) == listed.size and (not listed.digest or digest(listed, chunks) == listed.digest)


def digest(listed, chunks):                             # -> hex: SHA-256, or git's SHA-1 if the file is listed with that
    hasher = hashlib.sha1(b"blob %d\0" % listed.size) if len(listed.digest) == 40 else hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.hexdigest()


def read_listing(raw, what):                            # JSON -> commit, {name: Listed}
    """The answer of /api/models/owner/name/revision/...?blobs=true. Raises Refused; names that lead elsewhere are left out."""
    parsed = parse_json(raw, what)
    commit, siblings = parsed.get("sha"), parsed.get("siblings")
    if isinstance(siblings, list) and len(siblings) > MAX_FILES:
        raise Refused(f"{what}: expected at most {MAX_FILES:,} files, got {len(siblings):,}. Is it a checkpoint?")
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit) or not isinstance(siblings, list):
        raise Refused(f"{what}: expected a commit and its files, got {brief(parsed)}. Is the endpoint right?")
    files = {}
    for one in siblings:
        name, size = (one.get("rfilename"), one.get("size")) if isinstance(one, dict) else (None, None)
        if stays_inside(name) and len(name) <= LONGEST_NAME and type(size) is int and 0 <= size <= LARGEST_FILE:
            lfs = one.get("lfs") if isinstance(one.get("lfs"), dict) else {}
            digest = lfs.get("sha256") or one.get("blobId")
            files[name] = Listed(size, digest if isinstance(digest, str) and DIGEST.fullmatch(digest) else "")
    return commit, files


def stays_inside(name):                                 # -> bool: a path that cannot lead out of the folder it is put in
    return (is_text(name) and not any(sign in name for sign in "\\:\0")
            and name.isprintable() and all(part not in ("", ".", "..") for part in name.split("/")))
