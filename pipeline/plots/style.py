"""What every figure shares: colors, letters, units and the way to bytes.

Figures are built as objects, without pyplot, so that workers may draw side by side.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image

from stores.units import pretty_units

TEXT_COLOR = "#222222"
MUTED_COLOR = "#6b6b6b"
INVALID_COLOR = "#d9d9d9"
_WIDE = 10.0  # of every figure, on a page [inch]
_NARROW = 4.8  # and on a phone [inch]
_width: ContextVar[float] = ContextVar("width", default=_WIDE)

# Okabe and Ito's palette, which color-blind readers can tell apart.
_COLORS = {
    "forecast": "#0072B2",
    "model": "#0072B2",
    "truth": "#000000",
    "persistence": "#D55E00",
    "climatology": "#009E73",
    "seasonal_naive": "#CC79A7",
}
_OTHERS = ("#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
_DASHES = {"persistence": "--", "climatology": "-.", "seasonal_naive": ":"}


@contextmanager
def narrow_figures() -> Iterator[None]:
    """Draw all figures of a block so narrow that a phone shows their letters."""
    before = _width.set(_NARROW)
    try:
        yield
    finally:
        _width.reset(before)


def figure_width() -> float:
    """Return the width of the figures that are drawn now [inch]."""
    return _width.get()


def is_narrow() -> bool:
    """Whether figures are drawn for phones."""
    return figure_width() < _WIDE


def new_figure_pair(height: float, title: str) -> tuple[Figure, Axes, Axes]:
    """Start a figure of two plots beside each other, on phones above each other."""
    shape = (2, 1) if is_narrow() else (1, 2)
    figure = new_figure(height * (1.5 if is_narrow() else 1.0), title)
    first, second = np.ravel(figure.subplots(*shape))
    return figure, first, second


def add_legend(figure: Figure, axes: Axes) -> None:
    """Name the lines of one plot below all: lines leave no corner free."""
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3 if is_narrow() else 6,
        fontsize=9,
        frameon=False,
        labelcolor=TEXT_COLOR,
    )


def new_figure(height: float, title: str, *, fixed_aspect: bool = False) -> Figure:
    """Start a figure of the common width and ``height`` [inch] with its title.

    Maps cannot stretch: ``fixed_aspect`` moves them together instead of leaving white bands.
    """
    layout = ConstrainedLayoutEngine(compress=fixed_aspect, w_pad=0.06, h_pad=0.06)
    figure = Figure(figsize=(figure_width(), height), layout=layout, facecolor="white")
    figure.suptitle(
        escape_mathtext(textwrap.fill(title, round(8 * figure_width()))),
        fontsize=13,
        color=TEXT_COLOR,
    )
    return figure


def to_png(figure: Figure, *, dpi: int = 110) -> bytes:
    """Draw a figure; the same figure always gives the same bytes.

    ``savefig`` draws everything twice: once without a pen, to find the layout.
    """
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    Image.fromarray(pixels).save(buffer, "png", dpi=(dpi, dpi))
    return buffer.getvalue()


def color_of(method: str, index: int) -> str:
    """Return the color of a method: the same in every figure."""
    return _COLORS.get(method, _OTHERS[index % len(_OTHERS)])


def dashes_of(method: str) -> str:
    """Return the line style of a method: baselines differ without color too."""
    return _DASHES.get(method, "-")


def display_name(method: str) -> str:
    """Write a method as people read it."""
    return method.replace("_", " ")


def label_with_units(name: str, units: str) -> str:
    """Write the label of an axis with its units in brackets, if there are any."""
    shown = pretty_units(units)
    return f"{name} [{shown}]" if shown else name


def lead_axis(step: str) -> str:
    """Write the label of the axis of leads: in months, or in steps of 5 years."""
    return f"lead [{step}s]" if step.isalpha() else f"lead [steps of {step}]"


def lead_ticks() -> MaxNLocator:
    """Choose which leads are written: whole ones, also where there is one alone."""
    return MaxNLocator(14, integer=True, steps=[1, 2, 3, 5, 10], min_n_ticks=1)


def escape_mathtext(text: str) -> str:
    """Escape text so that it is not read as a formula."""
    return text.replace("$", r"\$")


def style_axes(axes: Axes, *, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Style one plot with a quiet frame, grid and labels."""
    axes.set_title(escape_mathtext(title), fontsize=11, color=TEXT_COLOR, loc="left", y=1.0)
    axes.set_xlabel(escape_mathtext(xlabel), fontsize=10, color=TEXT_COLOR)
    axes.set_ylabel(escape_mathtext(ylabel), fontsize=10, color=TEXT_COLOR)
    axes.tick_params(labelsize=9, colors=TEXT_COLOR, length=3)
    axes.grid(visible=True, color="#e5e5e5", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_empty(axes: Axes, text: str) -> None:
    """Write in the middle of an empty plot why it is empty."""
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=9,
        color=MUTED_COLOR,
    )
