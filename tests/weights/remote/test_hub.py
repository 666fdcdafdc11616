"""Ranges of files from a hub that misbehaves: the bytes are right, or there is one sentence. Never a token to a stranger."""

import contextlib
import json
import time
import types

import numpy as np
import pytest
from huggingface_hub.utils import close_session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from weights.misbehaving import COMMIT, LARGE, Server

from v4mini.shapes import Refused
from v4mini.weights.remote.budget import Listed
from v4mini.weights.remote.hub import Hub, Patience
from v4mini.weights.remote.responses import check_answer, read_listing

BIG = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
QUICK = Patience(seconds=5, tries=3, first_wait=0.001)
FILES = {"big.safetensors": BIG, "config.json": b'{"dim": 8}', "folder/deep.json": b"[]"}


@pytest.fixture(scope="module", params=[True, False], ids=["redirects", "serves itself"])
def started(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    for name, raw in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
    with Server(folder, redirect=request.param) as server:
        yield server
    close_session()


@pytest.fixture
def hub(server, tmp_path):
    return Hub("hf://owner/name", server.endpoint, cache=tmp_path / "cache", patience=QUICK)


@pytest.fixture
def slept(monkeypatch):
    """How long was waited, without waiting."""
    waits = []
    monkeypatch.setattr("v4mini.weights.remote.hub.time", types.SimpleNamespace(sleep=waits.append,
                                                                                perf_counter=time.perf_counter))
    return waits


def test_first_contact_pins_the_commit_and_lists_the_files(hub):
    assert hub.revision == COMMIT and hub.name == f"hf://owner/name@{COMMIT[:12]}"
    assert {name: listed.size for name, listed in hub.files.items()} == {name: len(raw) for name, raw in FILES.items()}
    assert len(hub.files["big.safetensors"].digest) == 64 and len(hub.files["config.json"].digest) == 40


def test_a_cookie_that_is_no_ascii_spoils_no_later_request(hub, server):
    server.faults.append(("big", "strange cookie"))
    assert hub.read("big.safetensors", 5, 15) == BIG[5:15] and not server.faults
    assert hub.read("big.safetensors", 20, 30) == BIG[20:30] and hub.path("config.json").read_bytes() == FILES["config.json"]


def test_what_the_http_library_did_not_foresee_is_one_sentence(hub, monkeypatch):
    @contextlib.contextmanager
    def broken(*_, **__):
        raise UnicodeEncodeError("ascii", "\xe9\x1b", 0, 1, "ordinal not in range(128)")
        yield
    monkeypatch.setattr("v4mini.weights.remote.hub.http_stream_backoff", broken)
    with pytest.raises(Refused, match="expected an answer of a hub, got one that cannot be read .UnicodeEncodeError") as error:
        hub.read("big.safetensors", 0, 10)
    assert str(error.value).isprintable()


def test_files_are_read_at_the_commit_even_if_the_branch_moves_on(hub, server):
    server.branches["main"] = "f" * 40
    hub.read("big.safetensors", 0, 10)
    assert COMMIT in server.seen[-2 if server.redirect else -1]["path"] and "main" not in server.seen[-1]["path"]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(bounds=st.tuples(st.integers(0, len(BIG)), st.integers(0, len(BIG))).map(sorted))
def test_any_range_is_those_bytes(hub, bounds):
    start, stop = bounds
    assert hub.read("big.safetensors", start, stop) == BIG[start:stop]


@pytest.mark.parametrize("kind", ["truncate", "short", "500", "503"])
@pytest.mark.parametrize("bounds", [(1000, 200_000), (0, len(BIG)), (0, 1), (len(BIG) - 1, len(BIG))])
def test_a_passing_fault_is_got_over(hub, server, slept, kind, bounds):
    server.faults += [("big", kind)] * 2
    start, stop = bounds
    assert hub.read("big.safetensors", start, stop) == BIG[start:stop]
    assert server.faults == []


def test_after_a_break_only_the_rest_is_asked_for(hub, server):
    server.faults.append(("big", "truncate"))
    assert hub.read("big.safetensors", 1000, 201_000) == BIG[1000:201_000]
    assert server.ranges("big") == ["bytes=1000-200999", "bytes=101000-200999"]
    assert hub.budget.nbytes == 200_000 and hub.budget.requests == 3


def test_a_stalled_connection_is_left_and_the_rest_asked_for(server, tmp_path):
    hub = Hub("hf://owner/name", server.endpoint, cache=tmp_path, patience=QUICK._replace(seconds=0.2))
    server.faults.append(("big", "stall"))
    assert hub.read("big.safetensors", 0, 100_000) == BIG[:100_000]
    assert server.ranges("big") == ["bytes=0-99999", "bytes=50000-99999"]


def test_a_server_that_always_stalls_is_given_up(server, tmp_path):
    hub = Hub("hf://owner/name", server.endpoint, cache=tmp_path, patience=QUICK._replace(seconds=0.1, tries=2))
    server.faults += [("big", "stall")] * 9
    with pytest.raises(Refused, match=r"expected bytes from http://127.* got none for 0.1 s.*what came is kept"):
        hub.read("big.safetensors", 0, 100_000)
    assert len(server.ranges("big")) == 3


def test_breaks_without_end_are_given_up_unless_much_came_in_between(hub, server):
    server.faults += [("big", "short")] * 4
    with pytest.raises(Refused, match="bytes more, got the end of the answer, 4 times"):
        hub.read("big.safetensors", 0, 100_000)
    assert len(server.ranges("big")) == 4


def test_429_waits_as_long_as_it_is_told_to(hub, server, slept):
    server.faults.append(("big", "429"))
    assert hub.read("big.safetensors", 5, 9) == BIG[5:9]
    assert slept == [8.0]               # Retry-After: 7, and one more against rounding


def test_a_wait_is_told_and_one_that_is_too_long_is_refused_at_once(server, tmp_path, slept):
    told = []
    hub = Hub("hf://owner/name", server.endpoint, cache=tmp_path, patience=QUICK, say=told.append)
    server.faults.append(("big", "429"))
    assert hub.read("big.safetensors", 5, 9) == BIG[5:9]
    assert told == [f"{hub.name}/big.safetensors: waiting 8 s, as the server asks; given up after 300 s of waiting."]
    server.faults.append(("big", "wait an hour"))
    with pytest.raises(Refused, match=r"asks to wait 3,601 s; this waits 300 s for one answer at most, and 300 are left"):
        hub.read("big.safetensors", 5, 9)
    server.faults += [("big", "wait a minute")] * 9
    with pytest.raises(Refused, match=r"asks to wait 61 s; this waits 300 s for one answer at most, and 56 are left"):
        Hub("hf://owner/name", server.endpoint, cache=tmp_path, patience=QUICK._replace(tries=9)).read("big.safetensors", 5, 9)
    assert slept == [8.0] + [61.0] * 4


@pytest.mark.parametrize("kind", ["strange wait", "endless wait"])
def test_a_wait_that_is_no_number_of_seconds_is_passed_over(hub, server, slept, kind):
    server.faults.append(("big", kind))
    assert hub.read("big.safetensors", 5, 9) == BIG[5:9]
    assert slept == [QUICK.first_wait]


def test_bytes_that_come_one_at_a_time_are_given_up(server, tmp_path):
    hub = Hub("hf://owner/name", server.endpoint, cache=tmp_path, patience=QUICK._replace(window=0.3))
    server.faults.append(("big", "trickle"))
    with pytest.raises(Refused, match=r"at least 1,000 bytes a second, got \d+ in 0\.\d+ s\. Try again later; what came is kept"):
        hub.read("big.safetensors", 0, 100_000)


def test_a_head_that_comes_one_byte_at_a_time_is_given_up(server, tmp_path):
    hub = Hub("hf://owner/name", server.endpoint, cache=tmp_path, patience=QUICK._replace(window=0.3))
    server.faults.append(("big", "slow head"))
    with pytest.raises(Refused, match=r"expected the head of an answer, got none in 0\.3 s"):
        hub.read("big.safetensors", 0, 100_000)


def test_numbers_of_a_server_are_bounded(hub, server):
    server.faults.append(("big", "endless range"))
    with pytest.raises(Refused, match="expected bytes 10-99, got 'bytes 99") as refusal:
        hub.read("big.safetensors", 10, 100)
    assert len(str(refusal.value)) < 400
    for length in ("many", "9" * 5000, "-1"):
        headers = {"Content-Length": length, "Content-Range": "bytes 10-99/300000"}
        answer = types.SimpleNamespace(status_code=206, headers=headers, history=[])
        with pytest.raises(Refused, match="a number of bytes as Content-Length"):
            check_answer("x", answer, Listed(300_000), 10, 100)


def test_a_listing_without_end_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr("v4mini.weights.remote.hub.MAX_LISTING", 100)
    with pytest.raises(Refused, match="the list of files: expected 100 bytes at most"):
        Hub("hf://owner/name", server.endpoint, cache=tmp_path, patience=QUICK)
    many = json.dumps({"sha": COMMIT, "siblings": [{"rfilename": f"{n}", "size": 1} for n in range(20_001)]}).encode()
    with pytest.raises(Refused, match="expected at most 20,000 files, got 20,001"):
        read_listing(many, "x")


def test_absurd_names_sizes_and_digests_of_a_listing_are_left_out():
    files = [{"rfilename": "good", "size": 1, "blobId": "a" * 40}, {"rfilename": "n" * 501, "size": 1},
             {"rfilename": "large", "size": 2**51}, {"rfilename": "\x1b[2J", "size": 1},
             {"rfilename": "told nothing", "size": 1, "lfs": {"sha256": ["x"] * 9}}]
    _, found = read_listing(json.dumps({"sha": COMMIT, "siblings": files}).encode(), "x")
    assert found == {"good": Listed(1, "a" * 40), "told nothing": Listed(1, "")}


@pytest.mark.parametrize("kind, words", [
    ("416", "expected a longer file, got 416"), ("wrong range", "expected bytes 10-99, got"),
    ("earlier range", "expected bytes 10-99, got"), ("wrong size", "changed on the server"),
    ("wrong length", "expected 90 bytes, got an answer of 93"), ("longer", "8 more"), ("changed", "changed on the server"),
    ("ignores the range", "expected a range (206), got status 200"), ("compressed", "compressed"),
    ("403", "access is restricted (403)"), ("gated", "Ask for it on the repository's page"),
    ("401", "no such repository, or a private one"), ("404", "no such file (404)")])
def test_a_lasting_fault_is_one_sentence(hub, server, kind, words):
    server.faults.append(("big", kind))
    with pytest.raises(Refused) as refusal:
        hub.read("big.safetensors", 10, 100)
    assert words in str(refusal.value) and "\n" not in str(refusal.value) and "hf://owner/name@" in str(refusal.value)


def test_a_range_that_is_ignored_costs_no_more_than_the_range(hub, server):
    server.faults.append(("big", "ignores the range"))
    with pytest.raises(Refused):
        hub.read("big.safetensors", 10, 100)
    assert hub.budget.nbytes == 0


def test_a_file_that_changes_between_two_tries_is_refused(hub, server):
    server.faults += [("big", "truncate"), ("big", "changed")]
    with pytest.raises(Refused, match="the file changed on the server"):
        hub.read("big.safetensors", 0, 100_000)


def test_trouble_that_lasts_is_told(hub, server, slept):
    server.faults += [("big", "503")] * 9
    with pytest.raises(Refused, match=r"in trouble \(503\)"):
        hub.read("big.safetensors", 0, 10)
    server.faults[:] = [("big", "429")] * 9
    with pytest.raises(Refused, match=r"still asks to wait \(429\)"):
        hub.read("big.safetensors", 0, 10)


def test_the_token_goes_to_the_hub_and_to_nobody_else(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_reader")
    hub = Hub("hf://owner/name", server.endpoint, cache=tmp_path, patience=QUICK)
    server.faults.append(("big", "truncate"))
    assert hub.read("big.safetensors", 7, 100_000) == BIG[7:100_000]
    tokens = {place: {asked["token"] for asked in server.seen if asked["place"] == place} for place in ("hub", "cdn")}
    assert tokens["hub"] == {"Bearer hf_of_a_reader"}
    assert tokens["cdn"] == ({None} if server.redirect else set())


def test_offline_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(Refused, match=r"http://127.0.0.1:9 cannot be reached \(.*refused\). Is this machine online\?"):
        Hub("hf://owner/name", "http://127.0.0.1:9", cache=tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Refused, match="HF_HUB_OFFLINE is set"):
        Hub("hf://owner/name", "http://127.0.0.1:9", cache=tmp_path)


@pytest.mark.parametrize("address, words", [
    ("hf://owner", "expected hf://owner/name"), ("hf://owner/other", "nothing of that name (404)"),
    ("hf://owner/name@v9", "no such revision (404)"), ("hf://datasets/owner/name", "expected a model's repository"),
    ("hf://owner/name/config.json", "a path inside"), ("hf://own er/name", "expected hf://owner/name"),
    ("hf://owner/name@", "expected hf://owner/name")])
def test_a_wrong_address_is_one_sentence(server, tmp_path, address, words):
    with pytest.raises(Refused) as refusal:
        Hub(address, server.endpoint, cache=tmp_path, patience=QUICK)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://127.0.0.1", "http://"])
def test_a_wrong_endpoint_is_one_sentence(tmp_path, endpoint):
    with pytest.raises(Refused, match="endpoint: expected an address"):
        Hub("hf://owner/name", endpoint, cache=tmp_path)


def test_a_web_page_instead_of_a_listing_is_refused(server, tmp_path):
    server.faults.append(("/api/", "web page"))
    with pytest.raises(Refused, match="the list of files: expected JSON"):
        Hub("hf://owner/name", server.endpoint, cache=tmp_path, patience=QUICK)


def test_names_that_lead_out_of_the_folder_are_left_out():
    from v4mini.weights.remote.responses import read_listing

    names = ["../up", "/root", "a/../../b", "C:\\x", "a//b", ".", "", None, 7, "good/file.json"]
    listing = {"sha": "a" * 40, "siblings": [{"rfilename": name, "size": 1} for name in names] + [
        {"rfilename": "negative", "size": -1}, {"rfilename": "true", "size": True}, "text", {"rfilename": "nosize"}]}
    assert list(read_listing(json.dumps(listing).encode(), "x")[1]) == ["good/file.json"]


@pytest.mark.parametrize("listing", [
    {}, {"sha": "main", "siblings": []}, {"sha": "A" * 40, "siblings": []}, {"sha": "a" * 40}, [], 7])
def test_a_listing_without_a_commit_is_refused(listing):
    from v4mini.weights.remote.responses import read_listing

    with pytest.raises(Refused):
        read_listing(json.dumps(listing).encode(), "x")


def test_the_limit_holds_before_anything_is_asked_for(server, tmp_path):
    hub = Hub("hf://owner/name", server.endpoint, limit=100_000, cache=tmp_path, patience=QUICK)
    hub.read("big.safetensors", 0, 60_000)
    with pytest.raises(Refused, match="expected to read 100.00 kB in all at most, got 40.00 kB more after 60.00 kB"):
        hub.read("big.safetensors", 0, 40_001)
    assert len(server.ranges("big")) == 1 and hub.budget.left == 40_000


def test_a_small_file_is_checked_and_kept(hub, server):
    assert hub.path("config.json").read_bytes() == FILES["config.json"]
    asked = len(server.seen)
    assert hub.path("config.json").read_bytes() == FILES["config.json"] and len(server.seen) == asked
    hub.path("config.json").write_bytes(b'{"dim": 9}')          # damaged since
    assert hub.path("config.json").read_bytes() == FILES["config.json"] and len(server.seen) == asked + 1
    assert hub.path("folder/deep.json").read_bytes() == b"[]"


def test_a_small_file_with_other_bytes_is_refused(hub, server):
    server.faults.append(("config", "other bytes"))
    with pytest.raises(Refused, match="expected digest [0-9a-f]{40}, got other bytes"):
        hub.path("config.json")
    assert hub.path("config.json").read_bytes() == FILES["config.json"]


def test_what_huggingface_hub_downloaded_before_is_not_asked_for_again(hub, server, tmp_path, monkeypatch):
    from huggingface_hub import hf_hub_download

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "theirs"))
    hf_hub_download("owner/name", "big.safetensors", revision=COMMIT, endpoint=server.endpoint, cache_dir=tmp_path / "theirs")
    asked = len(server.seen)
    assert hub.read("big.safetensors", 5, 70_000) == BIG[5:70_000] and len(server.seen) == asked and hub.budget.nbytes == 0


def test_the_imitation_is_one(server, tmp_path):
    """huggingface_hub itself, which knows the real hub, is content with it."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

    info = HfApi(endpoint=server.endpoint).model_info("owner/name", files_metadata=True)
    assert info.sha == COMMIT and {s.rfilename: s.size for s in info.siblings} == {name: len(raw) for name, raw in FILES.items()}
    assert [s.lfs is not None for s in info.siblings] == [s.size >= LARGE for s in info.siblings]
    if server.redirect:
        meta = get_hf_file_metadata(hf_hub_url("owner/name", "big.safetensors", endpoint=server.endpoint))
        assert (meta.size, meta.etag, meta.commit_hash) == (len(BIG), server.digest(BIG), COMMIT)
