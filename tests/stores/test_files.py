from __future__ import annotations

from pathlib import Path

import pytest

from stores.files import atomic_write, read_json, sha256_file, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"n": 1})
    with pytest.raises(TypeError), atomic_write(path) as temporary:
        temporary.write_text(b"half")  # type: ignore[arg-type]
    assert read_json(path) == {"n": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_file_appears_whole_and_others_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "grün\n")
    assert path.read_text(encoding="utf-8") == "grün\n"
    assert path.stat().st_mode & 0o777 == 0o644


def test_digests_tell_bytes_apart(tmp_path: Path) -> None:
    one = tmp_path / "a"
    other = tmp_path / "b"
    one.write_bytes(b"x" * 100_000)
    other.write_bytes(b"x" * 99_999 + b"y")
    assert sha256_file(one) != sha256_file(other)
    assert sha256_file(one) == sha256_file(one)
