"""Plain pictures of forecasts, errors, skill and training."""

from pipeline.plots.frames import can_write_mp4, draw_frames, plot_frame, write_animation
from pipeline.plots.importance import plot_importance
from pipeline.plots.intervals import plot_intervals
from pipeline.plots.lines import plot_curves, plot_series
from pipeline.plots.maps import plot_errors, plot_maps
from pipeline.plots.outcome import plot_outcome
from pipeline.plots.palettes import Quantity
from pipeline.plots.parts import plot_parts
from pipeline.plots.place import Extent
from pipeline.plots.shades import Shades
from pipeline.plots.skill import plot_skill
from pipeline.plots.style import for_phones, labeled, name_of, to_png

__all__ = [
    "Extent",
    "Quantity",
    "Shades",
    "can_write_mp4",
    "draw_frames",
    "for_phones",
    "labeled",
    "name_of",
    "plot_curves",
    "plot_errors",
    "plot_frame",
    "plot_importance",
    "plot_intervals",
    "plot_maps",
    "plot_outcome",
    "plot_parts",
    "plot_series",
    "plot_skill",
    "to_png",
    "write_animation",
]
