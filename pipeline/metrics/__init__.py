"""Mergeable statistics and scores: every one has ``zero`` and ``+``."""

from pipeline.metrics.collapse import collapse_alarm
from pipeline.metrics.moments import Moments, SeasonalSums
from pipeline.metrics.ranges import name_leads
from pipeline.metrics.scores import ErrorSums, score_all
from pipeline.metrics.table import ALL_LEADS, REFERENCES, score_table

__all__ = [
    "ALL_LEADS",
    "REFERENCES",
    "ErrorSums",
    "Moments",
    "SeasonalSums",
    "collapse_alarm",
    "name_leads",
    "score_all",
    "score_table",
]
