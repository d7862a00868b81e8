from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from stores import retry
from stores.cube import Cube
from stores.errors import CorruptError
from stores.forecast import open_forecast
from stores.windows import Window
from tests.make import SHAPE, make_cube
from tests.make_issue import make_key, make_stage

WHOLE = Window.from_shape(SHAPE)


@contextmanager
def no_more_files() -> Iterator[Callable[[], None]]:
    """Let every open() of this process fail, as one with too many files; until told to end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def end() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield end
    finally:
        end()


def on_pause(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> list[float]:
    """Do something where a reader would wait before it tries again; give its pauses."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        act()

    monkeypatch.setattr("stores.retry.time.sleep", pause)
    return pauses


def test_a_system_that_fails_for_a_moment_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = Cube.open(make_cube(tmp_path))
    expected = cube.read("rain", WHOLE, cube.times[:1])
    with no_more_files() as end:
        pauses = on_pause(monkeypatch, end)
        found = cube.read("rain", WHOLE, cube.times[:1])
    np.testing.assert_array_equal(found, expected)
    assert len(pauses) == 1


def test_a_system_that_keeps_failing_is_named_and_not_called_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = Cube.open(make_cube(tmp_path))
    pauses = on_pause(monkeypatch, lambda: None)
    with no_more_files(), pytest.raises(OSError, match="Too many open files") as raised:
        cube.read("rain", WHOLE, cube.times[:1])
    assert raised.value.errno == errno.EMFILE
    assert "rain/c/0/0/0" in str(raised.value.filename)
    assert not isinstance(raised.value, CorruptError)
    assert "altered" not in str(raised.value)
    assert tuple(pauses) == retry.RETRY_DELAYS_S


def test_a_file_that_is_torn_for_a_moment_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = Cube.open(make_cube(tmp_path))
    expected = cube.read("rain", WHOLE, cube.times[:1])
    file = cube.path / "rain" / "c" / "0" / "0" / "0"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    on_pause(monkeypatch, partial(file.write_bytes, whole))
    np.testing.assert_array_equal(cube.read("rain", WHOLE, cube.times[:1]), expected)


def test_altered_bytes_are_damage_after_one_more_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = Cube.open(make_cube(tmp_path))
    file = cube.path / "rain" / "c" / "0" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    pauses = on_pause(monkeypatch, lambda: None)
    with pytest.raises(CorruptError, match="its bytes were altered; ingest into a new root"):
        cube.read("rain", WHOLE, cube.times[:1])
    assert len(pauses) == 1


def test_a_forecast_is_read_again_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forecast = open_forecast(make_stage(tmp_path, make_key()) / "forecast.zarr")
    expected = forecast.read("rain", 1)
    with no_more_files() as end:
        on_pause(monkeypatch, end)
        np.testing.assert_array_equal(forecast.read("rain", 1), expected)


def test_a_missing_file_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = Cube.open(make_cube(tmp_path))
    (cube.path / "rain" / "c" / "0" / "0" / "0").unlink()
    pauses = on_pause(monkeypatch, lambda: None)
    with pytest.raises(CorruptError, match="lacks rain/c/0/0/0"):
        cube.read("rain", WHOLE, cube.times[:1])
    assert pauses == []
