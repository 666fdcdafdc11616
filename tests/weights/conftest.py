"""A release on a server of our own, which every test of weights/remote finds as new."""

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from weights.misbehaving import SIX_LAYERS, write_release

    return write_release(tmp_path_factory.mktemp("release") / "name", SIX_LAYERS)


@pytest.fixture(scope="module")
def started(folder):
    from huggingface_hub.utils import close_session
    from weights.misbehaving import Server

    with Server(folder) as server:
        yield server
    close_session()


@pytest.fixture
def server(started, tmp_path, monkeypatch):
    """Nothing of it lies in the cache that Hugging Face's tools share."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "nothing"))
    yield started
    started.release_stalled.set()
    started.forget()
