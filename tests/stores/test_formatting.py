from __future__ import annotations

import pytest

from stores.formatting import format_bytes, pluralize


@pytest.mark.parametrize(
    ("n_bytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (62_449_999, "62.4 MB"),
        (999_400_000, "999 MB"),
        (999_600_000, "1.00 GB"),
        (12_345_678_901, "12.3 GB"),
        (4e12, "4.00 TB"),
        (2**63, "9.22 EB"),
        (1e23, "100000 EB"),
    ],
)
def test_a_size_has_three_digits_whatever_its_unit(n_bytes: float, shown: str) -> None:
    assert format_bytes(n_bytes) == shown


def test_nouns_take_their_plural() -> None:
    assert pluralize(1, "patch") == "1 patch"
    assert pluralize(2, "patch") == "2 patches"
    assert pluralize(2, "process") == "2 processes"
    assert pluralize(2, "epoch") == "2 epochs"
