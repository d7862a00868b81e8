"""Leads in words."""

from __future__ import annotations

from collections.abc import Iterable


def format_leads(leads: Iterable[int]) -> str:
    """Write leads as runs: 'lead 3', 'leads 4-12', 'leads 1-2, 5'."""
    runs: list[tuple[int, int]] = []
    for lead in sorted(leads):
        if runs and lead == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], lead)
        else:
            runs.append((lead, lead))
    text = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"lead {text}" if text.isdigit() else f"leads {text}"
