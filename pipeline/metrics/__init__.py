"""Mergeable statistics and scores: every one has ``zero`` and ``+``."""

from pipeline.metrics.collapse import collapse_alarm
from pipeline.metrics.lead_names import format_leads
from pipeline.metrics.moments import Moments, SeasonalSums
from pipeline.metrics.scores import ErrorSums, score_all
from pipeline.metrics.table import ALL_LEADS, BASELINES, score_table

__all__ = [
    "ALL_LEADS",
    "BASELINES",
    "ErrorSums",
    "Moments",
    "SeasonalSums",
    "collapse_alarm",
    "format_leads",
    "score_all",
    "score_table",
]
