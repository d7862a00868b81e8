from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from rich.console import Console

from flows import console as consoles
from flows.console import (
    DuplicateFilter,
    echo_warning,
    progress_bar,
    show_table,
    show_transposed_table,
)
from stores.formatting import abbreviate, pluralize

Captured = pytest.CaptureFixture[str]
LEADS = [
    {"lead": n, "model": 0.0284, "climatology": 1234.5, "skill / climatology": 0.977, "n": n}
    for n in (1, 12)
]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(consoles, "console", Console(width=30))
    return 30


def test_a_narrow_terminal_never_breaks_a_number(narrow: int, capsys: Captured) -> None:
    show_table("scores", LEADS, columns=list(LEADS[0]))
    said = capsys.readouterr().out
    assert all(len(line) <= narrow for line in said.splitlines())
    for number in ("0.028", "1234.500", "0.977", "12"):
        assert f" {number} " in said
    assert said.count("lead") > 1  # not trivial: it did not fit into one table


def test_a_wide_terminal_shows_one_table(capsys: Captured) -> None:
    show_table("scores", LEADS, columns=list(LEADS[0]))
    assert capsys.readouterr().out.count("lead") == 1


def test_numbers_in_text_stay_whole_in_a_narrow_terminal(narrow: int, capsys: Captured) -> None:
    rows = [
        {"variable": name, "minimum": "-1234.56789", "grid": "23 x 31 px of 0.03333333333"}
        for name in ("rain", "elevation", "land")
    ]
    show_transposed_table("archive", rows, key="variable")
    said = capsys.readouterr().out
    assert said.count("-1234.56789") == said.count("0.03333333333") == len(rows)
    assert all(len(line) <= narrow for line in said.splitlines())


def test_warnings_and_facts_go_apart(capsys: Captured) -> None:
    log = logging.getLogger("tests.console")
    log.propagate = False
    log.addHandler(handler := consoles._ConsoleHandler())
    log.setLevel(logging.INFO)
    try:
        log.info("12 tiles")
        log.warning("no intervals")
        echo_warning("less skill than persistence")
    finally:
        log.removeHandler(handler)
    told = capsys.readouterr()
    assert told.out == "12 tiles\n"
    assert told.err == "warning: no intervals\nwarning: less skill than persistence\n"


def test_without_a_terminal_long_work_logs_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with progress_bar("permuting covariates") as tell:
        tell(1, 9)
    assert caplog.messages == []
    monkeypatch.setattr(consoles, "_LOG_S", 0.0)
    with progress_bar("permuting covariates") as tell:
        tell(3, 9, "2 tiles/s")
        tell(9, 9)
    assert caplog.messages == ["permuting covariates: 3 of 9, 2 tiles/s"]


def test_one_thing_has_no_plural() -> None:
    assert [pluralize(n, "tile") for n in (0, 1, 2)] == ["0 tiles", "1 tile", "2 tiles"]
    assert abbreviate([str(n) for n in range(14)]).endswith("11 and 2 more")


def test_debugging_may_be_asked_for_behind_the_command() -> None:
    command = [sys.executable, "-m", "flows.cli", "check", "rainfall-jawa", "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "did you mean 'rainfall-java'?" in done.stderr
    assert "Traceback" in done.stderr


def test_what_gdal_says_of_every_file_is_shown_once() -> None:
    said = [f"CPLE_AppDefined in {name}.tif: Unknown field" for name in ("a", "b")]
    said.append("CPLE_AppDefined in b.tif: Cut short")
    once = DuplicateFilter()
    records = [
        logging.LogRecord("rasterio._env", 30, "", 0, "%s", (text,), None) for text in said
    ]
    assert [once.filter(record) for record in records] == [True, False, True]
