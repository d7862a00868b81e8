from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pystac.validation import RegisteredValidator, set_validator
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from stores.catalog import build_catalogs, check_catalogs, write_catalogs
from stores.errors import CorruptError
from stores.files import sha256_file
from stores.item import FILE, FORECASTS, PROJECTION, RASTER, RENDER, VERSION, resolution_m
from stores.lease import lease
from stores.publish import publish_issue
from stores.renders import build_render
from stores.times import Step
from stores.verify import verify
from tests.make_issue import (
    make_issue,
    make_key,
    make_stage,
    make_template,
    make_values,
)

DRAFT = "http://json-schema.org/draft-07/schema#"
EXTENSIONS = {
    "file": FILE,
    "forecast": FORECASTS,
    "projection": PROJECTION,
    "raster": RASTER,
    "render": RENDER,
    "version": VERSION,
}


@pytest.fixture
def _offline_schemas() -> Iterator[None]:
    """Give pystac the extensions' schemas, which it would fetch from the web.

    The core's schemas come with pystac. Those of the extensions are taken from the folder
    ``CUBECAST_STAC_SCHEMAS`` (projection.json, raster.json ...) where it is set; elsewhere
    anything passes them, and the tests below look at the fields one by one.
    """
    before = RegisteredValidator.get_validator()
    validator = JsonSchemaSTACValidator()
    folder = os.environ.get("CUBECAST_STAC_SCHEMAS")
    for name, uri in EXTENSIONS.items():
        schema: dict[str, Any] = {"$schema": DRAFT, "$id": uri}
        if folder:
            schema = json.loads((Path(folder) / f"{name}.json").read_text())
            assert schema["$id"].rstrip("#") == uri
        validator.schema_cache[uri] = schema
    set_validator(validator)
    yield
    set_validator(before)


@pytest.mark.usefixtures("_offline_schemas")
def test_a_catalog_with_revisions_is_valid_by_pystac(tmp_path: Path) -> None:
    make_issue(tmp_path)
    make_issue(tmp_path, make_key(bundle="b2"))
    make_issue(tmp_path, make_key(init="2018-01"))
    catalog = pystac.Catalog.from_file(tmp_path / "catalog.json")
    assert catalog.validate_all() == 3
    (of_rain,) = catalog.get_children()
    items = {item.id: item for item in of_rain.get_items()}
    assert sorted(items) == ["rain-2017-12", "rain-2017-12.r2", "rain-2018-01"]
    for one in (catalog, of_rain):
        latest = one.get_single_link("latest")
        assert latest is not None
        assert latest.get_absolute_href() == str(tmp_path / "issues/rain/2018-01/item.json")
    assert items["rain-2017-12"].get_parent() == of_rain
    assert of_rain.get_root() == catalog
    for item in items.values():
        folder = Path(str(item.get_self_href())).parent
        links = json.loads((folder / "item.json").read_text())["links"]
        leads = {link["rel"]: (folder / link["href"]).resolve() for link in links}
        assert leads["root"] == tmp_path / "catalog.json"
        assert leads["parent"] == tmp_path / "issues/rain/catalog.json"
        assert all(path.exists() for path in leads.values())
        for asset in item.assets.values():
            assert Path(asset.get_absolute_href() or "").exists()


@pytest.mark.usefixtures("_offline_schemas")
def test_two_recipes_of_one_store_leave_each_other_alone(tmp_path: Path) -> None:
    make_issue(tmp_path, make_key(name="rain"))
    before = build_catalogs(tmp_path)["issues/rain/catalog.json"]
    dust = make_issue(tmp_path, make_key(name="dust"))
    assert (dust.path, dust.revision) == (tmp_path / "issues/dust/2017-12", 1)
    assert build_catalogs(tmp_path)["issues/rain/catalog.json"] == before
    links = json.loads((tmp_path / "catalog.json").read_text())["links"]
    assert {link["title"]: link["href"] for link in links if link["rel"] == "latest"} == {
        "dust": "./issues/dust/2017-12/item.json",
        "rain": "./issues/rain/2017-12/item.json",
    }
    catalog = pystac.Catalog.from_file(tmp_path / "catalog.json")
    assert catalog.validate_all() == 2
    assert not [link for link in links if link.get("deprecated")]
    assert len({item.id for item in catalog.get_items(recursive=True)}) == 2
    for path in (tmp_path, tmp_path / "issues/dust", dust.path):
        assert verify(path) == []


def test_issues_in_the_folders_of_an_earlier_version_are_not_ignored(tmp_path: Path) -> None:
    (tmp_path / "issues/2017-12").mkdir(parents=True)
    (tmp_path / "issues/2017-12/manifest.json").write_text("{}")
    with pytest.raises(CorruptError, match=r"holds 2017-12 beside .* move them away \(mv "):
        make_issue(tmp_path)
    assert not (tmp_path / "catalog.json").exists()
    (finding,) = verify(tmp_path)
    assert "as earlier versions wrote it" in finding


@pytest.mark.usefixtures("_offline_schemas")
def test_an_item_on_a_projected_grid_without_a_number_is_valid_by_pystac(
    tmp_path: Path,
) -> None:
    crs = "+proj=laea +lat_0=-7 +lon_0=110 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs"
    grid = GeoBox((23, 31), Affine(5000, 0, -70_000, 0, -5000, 60_000), crs)
    key = make_key()
    with lease(tmp_path, key.lease_name, wait_s=0) as held:
        stage = make_stage(tmp_path, key, replace(make_template(), grid=grid))
        publish_issue(tmp_path, stage, key, held)
    catalog = pystac.Catalog.from_file(tmp_path / "catalog.json")
    assert catalog.validate_all() == 1
    (item,) = catalog.get_items(recursive=True)
    assert item.properties["proj:code"] is None
    assert "Lambert" in item.properties["proj:wkt2"]
    assert "Lambert" in json.dumps(item.properties["proj:projjson"])
    cog = item.assets["rain_2018-01"].extra_fields
    assert cog["bands"][0]["raster:spatial_resolution"] == 5000


def test_an_item_says_where_when_and_what(tmp_path: Path) -> None:
    item = json.loads((make_issue(tmp_path).path / "item.json").read_text())
    assert set(item["stac_extensions"]) == set(EXTENSIONS.values())
    assert item["bbox"] == [105.0, -6.15, 106.55, -5.0]
    expected = {
        "datetime": "2017-12-01T00:00:00Z",
        "start_datetime": "2018-01-01T00:00:00Z",
        "end_datetime": "2018-04-01T00:00:00Z",
        "forecast:reference_datetime": "2017-12-01T00:00:00Z",
        "forecast:horizon": "P3M",
        "proj:code": "EPSG:4326",
        "proj:shape": [23, 31],
        "proj:transform": [0.05, 0.0, 105.0, 0.0, -0.05, -5.0],
        "version": "1",
        "cubecast:bundles": [{"digest": "b1"}],
        "cubecast:members": 1,
    }
    assert {name: item["properties"][name] for name in expected} == expected
    assert CRS.from_wkt(item["properties"]["proj:wkt2"]) == CRS("EPSG:4326")
    assert CRS.from_json_dict(item["properties"]["proj:projjson"]) == CRS("EPSG:4326")


def test_an_item_says_how_its_cogs_may_be_drawn(tmp_path: Path) -> None:
    item = json.loads((make_issue(tmp_path).path / "item.json").read_text())
    (render,) = item["properties"]["renders"].values()
    assert render["assets"] == ["rain_2018-01", "rain_2018-02", "rain_2018-03"]
    assert set(render["assets"]) <= set(item["assets"])
    assert render["colormap_name"] == "ylgnbu"
    assert render["title"] == "monthly rainfall [mm month-1]"
    ((low, high),) = render["rescale"]
    values = make_values()
    assert 0 <= low < np.nanmedian(values) < high < np.nanmax(values)


def test_limits_of_a_render_fit_a_frame_without_a_valid_pixel() -> None:
    frames: dict[str, dict[str, float]] = {"a": {"valid_percent": 0}, "b": {"valid_percent": 0}}
    assert "rescale" not in build_render("rain", "viridis", frames)
    one = {"minimum": 2.0, "maximum": 4.0, "mean": 3.0, "stddev": 0.5, "valid_percent": 9.0}
    assert build_render("rain", "viridis", frames | {"c": one})["rescale"] == [[2, 4]]


@pytest.mark.usefixtures("_offline_schemas")
@pytest.mark.parametrize(
    ("stated", "license"), [("CC-BY-4.0", "CC-BY-4.0"), ("free for research", "other")]
)
def test_an_item_names_licence_and_producer(stated: str, license: str, tmp_path: Path) -> None:
    key = make_key()
    metadata = {"license": stated, "institution": "Office of Rain", "keywords": "rain, Java"}
    with lease(tmp_path, key.lease_name, wait_s=0) as held:
        stage = make_stage(tmp_path, key, replace(make_template(), attributes=metadata))
        published = publish_issue(tmp_path, stage, key, held)
    item = pystac.Item.from_file(published.path / "item.json")
    item.validate()
    assert item.properties["license"] == license
    assert item.properties["providers"] == [{"name": "Office of Rain", "roles": ["producer"]}]
    assert item.properties["keywords"] == ["rain", "Java"]


def test_a_cog_asset_carries_band_lead_and_checksum(tmp_path: Path) -> None:
    issue = make_issue(tmp_path).path
    asset = json.loads((issue / "item.json").read_text())["assets"]["rain_2018-02"]
    path = issue / "cog/rain_2018-02.tif"
    assert asset["href"] == "./cog/rain_2018-02.tif"
    assert asset["file:checksum"] == f"1220{sha256_file(path)}"
    assert asset["file:size"] == path.stat().st_size
    assert asset["forecast:horizon"] == "P2M"
    assert asset["forecast:variable"] == "lwe_precipitation_rate"
    assert asset["datetime"] == "2018-02-01T00:00:00Z"
    (band,) = asset["bands"]
    assert (band["nodata"], band["unit"], band["data_type"]) == ("nan", "mm month-1", "float32")
    frame = make_values()[1]
    assert band["statistics"]["maximum"] == np.nanmax(frame)
    assert band["statistics"]["mean"] == pytest.approx(np.nanmean(frame), rel=1e-6)
    with rasterio.open(path) as raster:
        assert float(raster.tags(1)["STATISTICS_MEAN"]) == band["statistics"]["mean"]
    assert band["raster:spatial_resolution"] == pytest.approx(5550, rel=0.01)


def test_the_report_is_an_asset_with_its_checksum(tmp_path: Path) -> None:
    issue = make_issue(tmp_path).path
    report = json.loads((issue / "item.json").read_text())["assets"]["report"]
    assert report["type"] == "text/html"
    assert report["file:checksum"] == f"1220{sha256_file(issue / 'report.html')}"


def test_the_same_issues_give_the_same_catalog_and_it_is_not_written_twice(
    tmp_path: Path,
) -> None:
    make_issue(tmp_path)
    written = build_catalogs(tmp_path)
    before = {name: (tmp_path / name).stat().st_ino for name in written}
    assert sorted(before) == ["catalog.json", "issues/rain/catalog.json"]
    for name, catalog in written.items():
        assert catalog == json.loads((tmp_path / name).read_text())
    write_catalogs(tmp_path)
    assert {name: (tmp_path / name).stat().st_ino for name in written} == before


def test_a_store_without_issues_has_a_catalog_without_latest(tmp_path: Path) -> None:
    catalog = json.loads(write_catalogs(tmp_path).read_text())
    assert [link["rel"] for link in catalog["links"]] == ["root"]
    assert check_catalogs(tmp_path) == []


def test_a_catalog_that_misses_an_issue_is_found(tmp_path: Path) -> None:
    make_issue(tmp_path)
    names = ("issues/rain/catalog.json", "catalog.json")
    stale = {name: (tmp_path / name).read_text() for name in names}
    make_issue(tmp_path, make_key(init="2018-01"))
    for name, text in stale.items():
        (tmp_path / name).write_text(text)
    assert check_catalogs(tmp_path) == [
        "issues/rain/catalog.json does not say what issues/rain/ holds; publish again to "
        "rewrite it",
        "catalog.json does not say what issues/ holds; publish again to rewrite it",
    ]


@pytest.mark.parametrize(
    ("step", "count", "expected"),
    [
        ("month", 12, "P12M"),
        ("5 years", 2, "P10Y"),
        ("6 hours", 12, "PT72H"),
        ("day", 3, "P3D"),
        ("10 minutes", 3, "PT30M"),
    ],
)
def test_horizons_are_iso_durations(step: str, count: int, expected: str) -> None:
    assert Step.parse(step).duration(count) == expected


def test_resolution_is_in_meters_in_every_unit() -> None:
    feet = GeoBox((2, 2), Affine(1000, 0, 0, 0, -1000, 0), "EPSG:2263")
    assert resolution_m(feet) == pytest.approx(304.8, rel=1e-4)
    degrees = GeoBox((2, 2), Affine(1, 0, 0, 0, -1, 1), "EPSG:4326")
    assert resolution_m(degrees) == pytest.approx(111_195, rel=1e-4)
