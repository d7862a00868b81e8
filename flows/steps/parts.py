"""The parts of the series that flows score on.

Apart from the steps that score, since those import what draws.
"""

from __future__ import annotations

TEST_PART = "test"
"""The part of the series that neither training nor early stopping sees."""
VALIDATION_PART = "validation"
"""The part that choices are made on."""
