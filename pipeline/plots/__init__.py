"""Plain pictures of forecasts, errors, skill and training."""

from pipeline.plots.color_scale import ColorScale
from pipeline.plots.extent import Extent
from pipeline.plots.forecast_vs_truth import plot_forecast_vs_truth
from pipeline.plots.frames import can_write_mp4, draw_frames, plot_frame, write_animation
from pipeline.plots.importance import plot_importance
from pipeline.plots.intervals import plot_intervals
from pipeline.plots.lines import plot_curves, plot_series
from pipeline.plots.maps import plot_errors, plot_maps
from pipeline.plots.palettes import Quantity
from pipeline.plots.skill import plot_skill
from pipeline.plots.split_map import plot_split
from pipeline.plots.style import display_name, label_with_units, narrow_figures, to_png

__all__ = [
    "ColorScale",
    "Extent",
    "Quantity",
    "can_write_mp4",
    "display_name",
    "draw_frames",
    "label_with_units",
    "narrow_figures",
    "plot_curves",
    "plot_errors",
    "plot_forecast_vs_truth",
    "plot_frame",
    "plot_importance",
    "plot_intervals",
    "plot_maps",
    "plot_series",
    "plot_skill",
    "plot_split",
    "to_png",
    "write_animation",
]
