from __future__ import annotations

from pathlib import Path

import pytest

from stores.names import check_id, resolve_under


@pytest.mark.parametrize("name", ["2017-12", "rainfall-java", "v1.0_b", "A"])
def test_plain_names_pass(name: str) -> None:
    assert check_id(name, "name") == name


@pytest.mark.parametrize(
    "name", ["", "..", ".hidden", "a/b", "a b", "ä", "x" * 65, "a\n", "-r"]
)
def test_names_that_could_leave_their_folder_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a plain name"):
        check_id(name, "name")


def test_a_path_may_not_leave_its_root(tmp_path: Path) -> None:
    assert resolve_under(tmp_path, "a/../b.tif") == tmp_path.resolve() / "b.tif"
    for name in ("../b.tif", "/etc/passwd", "a/../../b"):
        with pytest.raises(ValueError, match="leads out of"):
            resolve_under(tmp_path, name)
