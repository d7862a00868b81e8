"""Planned memory beside what was measured."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from flows.check import check
from flows.ingest import ingest
from flows.steps.memory import measure_memory
from pipeline.executors import SerialExecutor
from pipeline.memory import MemoryPlan, rss_bytes
from tests.make import make_recipe


def test_a_run_says_planned_and_measured_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flows")
    ingest.fn(str(make_recipe(tmp_path)))
    (said,) = [text for text in caplog.messages if text.startswith("memory of")]
    assert "planned" in said
    assert "measured" in said
    assert "(a frame)" in said


def test_more_memory_than_was_planned_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    tiny = MemoryPlan("a tile of 8 px", 1, 1)
    with measure_memory("rollout", tiny, SerialExecutor()):
        # More than a plan may err, even where this process gives some back meanwhile.
        assert bytearray(rss_bytes())[-1] == 0
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "more than was planned" in record.getMessage()


def test_trainer_and_readers_are_measured_apart(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flows")
    plenty = MemoryPlan("learning", 10**12, 0, "the trainer")
    with measure_memory(
        "training", MemoryPlan("reading", 1, 1), SerialExecutor(), local_plan=plenty
    ):
        pass
    assert [text[:21] for text in caplog.messages] == ["memory of the trainer"]


def test_a_check_prints_the_memory_of_every_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(str(make_recipe(tmp_path)), ["compute.workers=2", "compute.memory_gb=3"], None)
    said = capsys.readouterr().out
    for what in ("ingest", "train, reading", "train, learning", "evaluate"):
        assert f"memory, {what}" in said
    assert "2 workers of this machine, 3.00 GB each" in said
    with pytest.raises(ValueError, match=r"compute\.memory_gb=\d\.\d or compute\.workers=1"):
        check(str(make_recipe(tmp_path)), ["compute.workers=2", "compute.memory_gb=0.5"], None)
