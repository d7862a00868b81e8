import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from pipeline.plots import plot_importance, to_png


def make_table(n_leads: int = 3, **importances: tuple[float, float]) -> pd.DataFrame:
    """Tabulate mean and spread of each covariate, twice the mean at the first lead."""
    rows = [
        {"covariate": name, "lead": lead, "importance": mean * factor, "importance_sd": spread}
        for name, (mean, spread) in importances.items()
        for lead, factor in [
            *((n, 2.0 if n == 1 else 1.0) for n in range(1, n_leads + 1)),
            ("all", 1.0),
        ]
    ]
    return pd.DataFrame(rows)


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_importances_are_dots_over_all_leads_and_cells_at_each() -> None:
    table = make_table(history=(0.25, 0.01), elevation=(0.001, 0.004), wind=(-0.02, 0.01))
    figure = plot_importance(table, step="month", title="What each covariate is worth")
    to_png(figure)
    dots, cells = figure.axes
    assert [label.get_text() for label in dots.get_yticklabels()] == [
        "history",
        "elevation",
        "wind",
    ]
    placed = [np.asarray(line.get_xydata()) for line in dots.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(np.vstack(placed), [[0.25, 0], [0.001, 1], [-0.02, 2]])
    assert texts(dots) == ["does not help"] * 2
    shown = np.asarray(cells.images[0].get_array())
    np.testing.assert_allclose(shown[:, 0], [0.5, 0.002, -0.04])
    assert texts(cells) == ["50", "25", "25", "0.2", "0.1", "0.1", "-4.0", "-2.0", "-2.0"]
    assert cells.get_xlabel() == "lead [months]"
    colors = {text.get_text(): text.get_color() for text in cells.texts}
    assert colors["-4.0"] != colors["0.2"]  # sure, and within the spread


def test_the_first_covariate_stands_on_top_in_both_plots() -> None:
    figure = plot_importance(make_table(best=(0.5, 0.1), least=(0.1, 0.2)))
    dots, cells = figure.axes
    assert dots.get_ylim()[0] > dots.get_ylim()[1]
    assert cells.get_ylim() == dots.get_ylim()


def test_many_leads_are_drawn_without_numbers() -> None:
    figure = plot_importance(make_table(30, history=(0.25, 0.01)))
    to_png(figure)
    assert texts(figure.axes[1]) == []
    assert np.asarray(figure.axes[1].images[0].get_array()).shape == (1, 30)


def test_importances_of_perfect_forecasts_say_that_there_is_nothing() -> None:
    figure = plot_importance(make_table(history=(np.nan, np.nan)))
    to_png(figure)
    assert texts(figure.axes[1]) == ["no error was measured"]


def test_a_table_without_all_leads_is_refused() -> None:
    table = make_table(history=(0.25, 0.01))
    with pytest.raises(ValueError, match="no row of lead 'all'"):
        plot_importance(table[table["lead"] != "all"])
