from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.make_issue import make_issue, make_key

PAGE = Path(__file__).parents[2] / "docs" / "outputs.md"


@pytest.mark.filterwarnings("ignore:In a future version of xarray:FutureWarning")
def test_every_line_of_python_on_the_page_of_outputs_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for init in ("2017-11", "2017-12"):
        make_issue(tmp_path / "demo", make_key(name="rainfall-java", init=init))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block.replace("precipitation", "rain"), names)
    assert not names["held_back"].any()
    assert names["values"].shape == (23, 31)
    assert names["forecasts_of_january"].dims == ("init_time", "y", "x")
    np.testing.assert_array_equal(names["forecasts_of_january"].lead, [2, 1])
    np.testing.assert_array_equal(names["forecasts_of_january"][1], names["january"][0])
    xr.testing.assert_identical(names["several"], names["same"])
    assert names["first_months"].dims == ("init_time", "y", "x")
    assert names["by_lead"].time.dims == ("init_time", "lead")
    with xr.open_dataset("forecast.nc") as netcdf:
        np.testing.assert_array_equal(netcdf.rain, names["issue"].rain)


def test_plain_xarray_reads_a_lost_chunk_as_nan_and_the_domain_tells(tmp_path: Path) -> None:
    store = make_issue(tmp_path).path / "forecast.zarr"
    (store / "rain/c/1/0/1").unlink()
    with xr.open_zarr(store) as issue:
        lost = issue.rain.isnull() & (issue.domain == 1)
        assert lost.any(("y", "x")).to_numpy().tolist() == [False, True, False]
