from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores import files
from stores.ledger import Ledger

keys = st.text(min_size=1, max_size=16)


@settings(max_examples=25)  # every mark waits for the disk
@given(st.dictionaries(keys, st.dictionaries(st.text(), st.integers()), max_size=5))
def test_what_is_marked_is_what_is_done(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, dict[str, int]]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    for key, receipt in entries.items():
        ledger.mark(key, receipt)
    assert ledger.done_keys() == set(entries)
    assert ledger.receipts() == entries


@pytest.mark.parametrize(
    "key", ["../out", "..", ".", "/etc/passwd", "rain/2003-01", "a\x00b", "CON"]
)
def test_a_key_never_leaves_the_ledgers_folder(tmp_path: Path, key: str) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.mark(key, {})
    assert [file.parent for file in tmp_path.rglob("*.json")] == [tmp_path / "ledger"]
    assert ledger.done_keys() == {key}


def test_a_crash_while_marking_leaves_the_key_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path)
    ledger.mark("a", {"n": 1})

    def crash(_path: Path) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(files, "fsync_path", crash)
        with pytest.raises(OSError, match="power cut"):
            ledger.mark("b", {})
    assert ledger.done_keys() == {"a"}
    assert ledger.receipt("b") is None
    assert ledger.receipt("a") == {"n": 1}


@pytest.mark.parametrize("key", ["", "x" * 300])
def test_a_key_that_is_no_file_name_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="ledger key"):
        Ledger(tmp_path).mark(key, {})
