from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from pipeline.plots import narrow_figures, plot_curves, plot_series, plot_skill, to_png
from stores.units import pretty_units


def make_table(skill: float = 0.3) -> pd.DataFrame:
    rows = [
        {
            "method": method,
            "lead": lead,
            "rmse": 10.0 + step,
            "skill_persistence": skill,
            "skill_climatology": np.nan,
            "units": "mm month-1",
        }
        for method in ("model", "persistence")
        for step, lead in enumerate([1, 2, 3, "all"])
    ]
    return pd.DataFrame(rows)


def labels_of(figure: Figure, axes: int = 0) -> list[str]:
    return [str(line.get_label()) for line in figure.axes[axes].lines]


def test_skill_shows_every_methods_error_and_the_models_skill() -> None:
    figure = plot_skill(make_table(), model="model", step="month")
    to_png(figure)
    assert labels_of(figure) == ["model", "persistence"]
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2, 3]  # type: ignore[union-attr]
    assert figure.axes[0].get_ylabel() == "RMSE [mm month⁻¹]"
    assert figure.axes[0].get_xlabel() == "lead [months]"
    low, high = figure.axes[1].get_ylim()
    assert low < 0 < 0.3 < high


def test_skill_far_below_zero_does_not_flatten_the_rest_and_is_stated() -> None:
    figure = plot_skill(make_table(-40.0), model="model")
    to_png(figure)
    assert figure.axes[1].get_ylim()[0] == -1.5
    said = [text.get_text() for text in figure.axes[1].texts]
    assert said == ["below 0: worse than the baseline (partly beyond the axis)"]


def test_skill_without_a_baseline_or_a_score_is_drawn() -> None:
    table = make_table().drop(columns=["skill_persistence"]).assign(rmse=np.nan)
    to_png(plot_skill(table, model="model"))


def test_skill_of_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scores \['model', 'persistence'\] but not 'net'"):
        plot_skill(make_table(), model="net")


def make_curves(**changes: Any) -> pd.DataFrame:
    epochs = np.arange(1, 6)
    columns = {
        "epoch": epochs,
        "train_loss": 1 / epochs,
        "validation_loss": [0.9, 0.7, 0.6, 0.65, np.nan],
        "lr": 1e-3 / epochs,
    }
    return pd.DataFrame(columns | changes)


def test_curves_mark_the_best_epoch() -> None:
    figure = plot_curves(make_curves())
    to_png(figure)
    assert "best: 0.6 at epoch 3" in labels_of(figure)
    assert "Best: 0.6 at epoch 3." in str(figure.get_label())
    assert len(figure.axes) == 2


def test_curves_mark_the_epoch_that_is_kept_where_another_score_chose_it() -> None:
    curves = pd.DataFrame(
        {"epoch": [1, 2, 3], "train_loss": [3.0, 2, 1], "validation_loss": [2.0, 1, 3]}
    )
    figure = plot_curves(curves, best_epoch=1)
    assert labels_of(figure)[-1] == "best: 2 at epoch 1"
    assert labels_of(plot_curves(curves))[-1] == "best: 1 at epoch 2"


def test_curves_of_missing_or_empty_columns_are_drawn() -> None:
    to_png(plot_curves(make_curves(lr=np.nan, validation_loss=np.nan)))
    to_png(plot_curves(make_curves()[["epoch", "train_loss"]]))
    to_png(plot_curves(make_curves(train_loss=np.nan, validation_loss=np.nan)))
    to_png(plot_curves(make_curves().iloc[:0]))


def test_curves_of_one_epoch_or_negative_loss_are_drawn() -> None:
    to_png(plot_curves(make_curves().iloc[:1]))
    to_png(plot_curves(make_curves(train_loss=[-1.0, -2, -3, -4, -5])))


def test_losses_that_fall_tenfold_are_drawn_on_a_log_axis() -> None:
    wide = plot_curves(make_curves(train_loss=[100.0, 10, 1, 0.1, 0.01]))
    assert wide.axes[0].get_yscale() == "log"
    assert plot_curves(make_curves()).axes[0].get_yscale() == "linear"


def test_curves_without_epochs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"columns \['loss'\] but no 'epoch'.*; give epoch"):
        plot_curves(pd.DataFrame({"loss": [1.0]}))


def make_series() -> pd.DataFrame:
    times = np.arange("2017-07", "2018-07", dtype="datetime64[M]").astype("datetime64[s]")
    truth = np.arange(12.0)
    forecast = np.where(np.arange(12) > 5, truth + 1, np.nan)
    return pd.DataFrame({"truth": truth, "forecast": forecast}, index=times)


def test_series_are_drawn_over_dates_with_the_init_time() -> None:
    init = np.datetime64("2017-12")
    figure = plot_series(make_series(), units="K", title="Mean", init_time=init)
    to_png(figure)
    assert labels_of(figure) == ["truth", "forecast", "init time"]
    assert figure.axes[0].get_ylabel() == "mean [K]"


def test_an_interval_is_a_band_and_no_line() -> None:
    series = make_series()
    series["lower"], series["upper"] = series["forecast"] - 2, series["forecast"] + 3
    figure = plot_series(series, units="K", title="Mean")
    (band,) = figure.axes[0].collections
    drawn = np.asarray(band.get_paths()[0].vertices)[:, 1]
    assert (drawn.min(), drawn.max()) == (5.0, 15.0)
    assert band.get_label() == "interval"
    assert labels_of(figure) == ["truth", "forecast"]


def test_plots_that_stand_beside_each_other_stand_above_each_other_on_phones() -> None:
    wide = plot_skill(make_table(), model="model")
    with narrow_figures():
        narrow = plot_skill(make_table(), model="model")
    for figure in (wide, narrow):
        to_png(figure)
    assert narrow.get_figwidth() < wide.get_figwidth() / 2
    first, second = (axes.get_position() for axes in narrow.axes)
    assert second.y1 < first.y0
    assert wide.axes[1].get_position().x0 > wide.axes[0].get_position().x1


def test_series_without_a_value_say_so() -> None:
    figure = plot_series(make_series() * np.nan, units="1", title="Nothing")
    to_png(figure)
    assert figure.axes[0].texts[0].get_text() == "no valid value"
    assert figure.axes[0].get_ylabel() == "mean"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("mm month-1", "mm month⁻¹"),
        ("m3 m-3", "m³ m⁻³"),
        ("kg m-2 s-1", "kg m⁻² s⁻¹"),
        ("1", ""),
        ("1e-6", "1e-6"),
        ("umol CO2 m-2", "umol CO2 m⁻²"),
        ("km2", "km²"),
        ("degree_Celsius", "degree_Celsius"),
        ("%", "%"),
    ],
)
def test_units_are_shown_with_raised_exponents(written: str, shown: str) -> None:
    assert pretty_units(written) == shown
