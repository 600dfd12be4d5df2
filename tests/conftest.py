"""Pinned assets for the tests: fetched once, kept in a cache, checked by SHA-256 each time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where fetched files stay: ``LEAKMATCH_TEST_CACHE``, else ``.cache/leakmatch`` in the checkout."""
    return Path(os.environ.get("LEAKMATCH_TEST_CACHE") or REPOSITORY / ".cache" / "leakmatch")


@contextmanager
def one_at_a_time(cache: Path) -> Iterator[None]:
    """Parallel test processes fill the cache once."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def pack_home(cache: Path) -> Path:
    """A model store with the default pack."""
    from leakmatch.faces.install import install

    with one_at_a_time(cache):
        install("opencv-zoo", store=cache)
    return cache


@pytest.fixture(scope="session")
def sample_photos(cache: Path) -> Path:
    """A folder with the sample photos of the demo."""
    from leakmatch.assets import fetch_all, load_assets
    from leakmatch.cli.demo_cmd import SAMPLES

    with one_at_a_time(cache):
        fetch_all(load_assets(SAMPLES), cache / "samples")
    return cache / "samples"


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """Models that LeakMatch may not ship, where a developer has them beside the checkout."""
    folder = REPOSITORY.parent / "shared" / "models"
    if not folder.is_dir():
        pytest.skip("../shared/models is not there: these models may not be shipped or downloaded")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Labelled photos that LeakMatch may not ship, where a developer has them beside the checkout."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not (folder / "lfw_dev.zip").is_file():
        pytest.skip("../shared/data is not there: these photos may not be shipped or downloaded")
    return folder
