import numpy as np
from matplotlib.colors import to_rgb

from pipeline.plots import Extent, plot_split, to_png

EXTENT = Extent(10.0, 14.0, 46.0, 49.0, geographic=True)
LABELS = ("train: 3 blocks", "validation: 2 blocks", "test: 1 block", "free: 9 px")


def test_every_part_has_its_color_and_stands_in_the_legend() -> None:
    numbers = np.array([[-1, 0, 0, 1], [2, 2, 3, 1], [0, 0, 0, -1]])
    figure = plot_split(numbers, LABELS, extent=EXTENT, title="Parts of $x$")
    to_png(figure)
    (image,) = figure.axes[0].images
    drawn = image.to_rgba(numbers)[..., :3]
    legend = figure.legends[0]
    assert tuple(text.get_text() for text in legend.get_texts()) == LABELS
    colors = [patch.get_facecolor()[:3] for patch in legend.get_patches()]
    assert len({*colors, to_rgb("white")}) == 5
    for number, color in enumerate(colors):
        np.testing.assert_allclose(
            drawn[numbers == number], np.tile(color, ((numbers == number).sum(), 1)), atol=1e-6
        )
    np.testing.assert_allclose(drawn[numbers == -1], 1)
    assert "train: 3 blocks; validation" in str(figure.get_label())


def test_a_part_without_a_pixel_keeps_the_colors_of_the_others() -> None:
    some = plot_split(np.array([[0, 0], [2, -1]]), LABELS, extent=EXTENT)
    full = plot_split(np.array([[0, 1], [2, 3]]), LABELS, extent=EXTENT)
    images = [figure.axes[0].images[0] for figure in (some, full)]
    one, other = (image.to_rgba(np.array([[0, 2]])) for image in images)
    np.testing.assert_array_equal(one, other)
