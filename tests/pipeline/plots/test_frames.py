from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.plots import (
    ColorScale,
    Extent,
    can_write_mp4,
    plot_forecast_vs_truth,
    plot_frame,
    to_png,
    write_animation,
)
from tests.make import GRID, make_fields, make_land

LABELS = ["2022-01", "2022-02", "2022-03"]
MAPS = np.where(make_land(), make_fields(3), np.nan).astype(np.float32)
LOOK: dict[str, Any] = {"extent": Extent.of(GRID), "units": "ppm", "title": "generated CO2"}
COLOR_SCALE = ColorScale.fit(MAPS, "sequential")


def frames_of(path: Path) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    with Image.open(path) as animation:
        count = getattr(animation, "n_frames", 1)
        shown = []
        for index in range(count):
            animation.seek(index)
            shown.append(np.asarray(animation.convert("RGB"), dtype=np.int64))
    return shown


def test_an_animation_shows_every_map_as_its_own_picture_does(tmp_path: Path) -> None:
    write_animation(tmp_path / "a.gif", MAPS, LABELS, color_scale=COLOR_SCALE, dpi=40, **LOOK)
    shown = frames_of(tmp_path / "a.gif")
    assert len(shown) == 3
    for frame, values, label in zip(shown, MAPS, LABELS, strict=True):
        picture = to_png(plot_frame(values, label, color_scale=COLOR_SCALE, **LOOK), dpi=40)
        alone = np.asarray(Image.open(BytesIO(picture)).convert("RGB"), dtype=np.int64)
        # A GIF has 256 colors; a wrong date or map differs in far more than a shade.
        assert np.abs(frame - alone).mean() < 2
    assert np.abs(shown[0] - shown[1]).mean() > 4


def test_an_mp4_is_written_where_ffmpeg_is_and_refused_where_not(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    if can_write_mp4():
        write_animation(path, MAPS, LABELS, color_scale=COLOR_SCALE, dpi=40, **LOOK)
        assert path.read_bytes()[4:8] == b"ftyp"
    else:
        with pytest.raises(ValueError, match="needs ffmpeg"):
            write_animation(path, MAPS, LABELS, color_scale=COLOR_SCALE, **LOOK)


def test_panels_say_which_truth_is_not_known_yet() -> None:
    unknown = np.full_like(MAPS[0], np.nan)
    pairs = {"2022-01": (MAPS[1], MAPS[2]), "2022-02": (MAPS[2], unknown)}
    figure = plot_forecast_vs_truth(("2021-12", MAPS[0]), pairs, **LOOK)
    written = [text.get_text() for axes in figure.axes for text in axes.texts]
    titles = [axes.get_title() for axes in figure.axes]
    assert written == ["2022-02, truth: not known yet"]
    assert {"2021-12, last input", "2022-01, forecast", "2022-01, truth"} < set(titles)


def test_panels_of_a_forecast_beyond_the_archive_have_no_row_for_truths() -> None:
    unknown = np.full_like(MAPS[0], np.nan)
    figure = plot_forecast_vs_truth(
        ("2021-12", MAPS[0]), {"2022-01": (MAPS[1], unknown)}, **LOOK
    )
    *maps, _ = figure.axes  # the last is the color bar
    assert [axes.get_title() for axes in maps] == ["2021-12, last input", "2022-01, forecast"]
    assert all(axes.axison for axes in maps)
    assert not [text for axes in maps for text in axes.texts]
    assert "truth" not in str(figure.get_label())


def test_a_frame_names_its_date_its_units_and_what_the_archive_says_of_itself() -> None:
    figure = plot_frame(MAPS[0], "2022-01", color_scale=COLOR_SCALE, **LOOK)
    assert figure.get_suptitle() == "generated CO2"
    assert figure.axes[0].get_title() == "2022-01"
    assert figure.axes[1].get_ylabel() == "ppm"
