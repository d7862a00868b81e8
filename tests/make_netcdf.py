"""A checker of the CF and ACDD conventions, for stores: it reads NetCDF alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import xarray as xr


def find_faults(store: Path, convention: str) -> list[str]:
    """List what the compliance checker of IOOS says of a store, by ``cf:1.11``, ``acdd:1.3``.

    What NetCDF cannot hold is left out: objects, and GeoZarr's names with a colon.
    """
    netcdf = store.with_suffix(".nc")
    with xr.open_zarr(store) as opened:
        held = {
            name: value
            for name, value in opened.attrs.items()
            if isinstance(value, str | int | float) and ":" not in name
        }
        bare = {name: {"_FillValue": None} for name in ("y", "x")}  # which xarray would add
        opened.drop_attrs(deep=False).assign_attrs(held).to_netcdf(netcdf, encoding=bare)
    return _check(netcdf, convention)


def _check(netcdf: Path, convention: str) -> list[str]:
    report = netcdf.with_suffix(".json")
    checker = Path(sys.executable).with_name("compliance-checker")
    subprocess.run(
        [checker, f"--test={convention}", "--format=json", f"--output={report}", netcdf],
        capture_output=True,
        check=False,  # it ends with 1 where it found something
    )
    checks = json.loads(report.read_text())[convention]["all_priorities"]
    return [f"{check['name']}: {said}" for check in checks for said in check["msgs"]]
