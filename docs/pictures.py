"""Draw the picture of the README: ``python docs/pictures.py ISSUE``."""

import sys
from pathlib import Path

import numpy as np

from pipeline.plots import Extent, Quantity, plot_maps, to_png
from stores.forecast import open_forecast
from stores.issue import FORECAST

NAMES = "units", "standard_name"


def main(issue: Path, picture: Path) -> None:
    """Draw every lead of a forecast."""
    forecast = open_forecast(issue / FORECAST)
    variable = forecast.variables[0]
    leads = range(1, len(forecast.times) + 1)
    array = forecast.group[variable]
    start = forecast.step.show(forecast.init)
    figure = plot_maps(
        np.stack([forecast.read(variable, lead) for lead in leads]),
        [forecast.show(lead) for lead in leads],
        extent=Extent.of(forecast.grid),
        quantity=Quantity.of(*(str(array.attrs.get(name, "")) for name in NAMES)),
        title=f"Forecast of {array.attrs['long_name']} from {start}",
    )
    picture.write_bytes(to_png(figure, dpi=90))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "forecast.png")
