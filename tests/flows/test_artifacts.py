from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from flows import artifacts
from flows.artifacts import ProgressArtifact, create_markdown, create_table


def test_work_goes_on_where_the_server_that_shows_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def lose(*_: object, **given: Any) -> None:
        asked.append(str(given.get("key")))
        raise httpx.ConnectError("Connection refused")

    monkeypatch.setattr(artifacts, "in_run", lambda: True)
    monkeypatch.setattr(artifacts, "create_progress_artifact", lambda *_, **__: uuid4())
    for name in ("update_progress", "create_markdown", "create_table"):
        monkeypatch.setattr(artifacts, f"{name}_artifact", lose)
    monkeypatch.setattr(artifacts.log, "propagate", True)
    page = ProgressArtifact("training", "epochs")
    for done in (1, 2, 3):
        page.update(done, 3)
    create_table("scores", [{"lead": 1}], description="scores")
    create_markdown("report", "all is well", description="report")
    assert asked == ["None", "scores", "report"]  # a lost page is not asked for again
    assert caplog.text.count("the server is gone (Connection refused)") == 3
