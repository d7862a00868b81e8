import base64
import re
from functools import partial
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.plots import Extent, Quantity, plot_maps
from pipeline.report import Report, Section, render_report

HOSTILE = "<script src='https://evil.example/x.js'>alert(1)</script> & \"quotes\" {{ 7 * 7 }}"


class Reader(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def make_report(title: str = "Rainfall", **changes: object) -> Report:
    maps = np.random.default_rng(0).random((2, 7, 11))
    extent = Extent(105, 116, -9, -5, geographic=True)
    plot = partial(
        plot_maps, maps, ["1", "2"], extent=extent, quantity=Quantity.of("mm"), title=title
    )
    table = pd.DataFrame({"method": ["a", "b"], "rmse": [1.234, np.nan], "n": [12345, 6]})
    sections = [
        Section("Maps", "First.\n\nSecond.", plot),
        Section("Scores", "", None, table),
        Section(title, title),
    ]
    fields = {"subtitle": title, "facts": {"init time": "2017-12", title: title}}
    return Report(**({"title": title, "sections": sections} | fields | changes))  # type: ignore[arg-type]


def test_a_report_contains_every_section_fact_figure_and_table() -> None:
    page = Reader(render_report(make_report(verdict="Good enough.", warnings=["Take care."])))
    for words in ("Rainfall", "Maps", "First.", "Second.", "Scores", "2017-12", "12\u202f345"):
        assert words in page.text
    assert page.tags.count("section") == 3 + 1  # facts are the last
    assert page.tags.count("img") == page.tags.count("table") == 1


def test_a_page_shows_the_map_first_then_what_to_know_and_hashes_last() -> None:
    texts: dict[str, Any] = {
        "verdict": "Good enough.",
        "warnings": ["Take care."],
        "byline": "Made today",
    }
    text = Reader(render_report(make_report(**texts))).text
    order = ["Made today", "1 thing to know", "First.", "Good enough.", "Take care."]
    places = [text.index(words) for words in [*order, "Scores", "init time"]]
    assert places == sorted(places)


def test_a_page_links_to_the_data_beside_it() -> None:
    page = Reader(render_report(make_report(links={"Zarr": "forecast.zarr/", "Maps": "cog/"})))
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert links[:2] == ["forecast.zarr/", "cog/"]


def test_phones_are_given_pictures_of_their_own_width() -> None:
    raw = render_report(make_report())
    widths = [
        int.from_bytes(base64.b64decode(picture)[16:20])  # of PNG's header [px]
        for picture in re.findall(r"base64,([^\"]+)\"", raw)
    ]
    narrow, wide = widths
    assert narrow < 600 < wide
    assert raw.index("(max-width: 40rem)") < raw.index("<img")


def test_errors_of_one_unit_are_written_with_the_digits_that_tell_them_apart() -> None:
    table = pd.DataFrame({"RMSE [mm]": [101.24, 230.0], "naive RMSE [mm]": [101.0, 390]})
    raw = render_report(Report("t", "s", {}, [Section("x", "", None, table)]))
    found = re.findall(r'<td class="number">(.*?)</td>', raw)
    assert found == ["101.2", "101.0", "230.0", "390.0"]


def test_a_report_refers_to_nothing_outside_itself() -> None:
    raw = render_report(make_report())
    page = Reader(raw)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        if name in {"src", "srcset", "href", "action", "data", "poster"}:
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value[:60])
        assert not name.startswith("on")
    style = raw[raw.index("<style>") : raw.index("</style>")]
    assert not re.search(r"url\(|@import|//", style)
    assert "default-src 'none'" in raw


def test_hostile_text_is_shown_and_never_run() -> None:
    report = make_report(HOSTILE, verdict=HOSTILE, warnings=[HOSTILE])
    raw = render_report(report)
    page = Reader(raw)
    assert "script" not in page.tags
    assert "<script" not in raw
    assert HOSTILE in page.text
    assert all(not name.startswith("on") for _, name, _ in page.attributes)


def test_hostile_tables_are_escaped() -> None:
    table = pd.DataFrame({HOSTILE: [HOSTILE, None]}, index=pd.Index(["<b>", "x"], name="<i>"))
    page = Reader(render_report(Report("t", "s", {}, [Section("x", "", None, table)])))
    assert not {"script", "b", "i"} & set(page.tags)
    assert HOSTILE in page.text


def test_every_figure_carries_alternative_text() -> None:
    page = Reader(render_report(make_report()))
    (alt,) = (value for tag, name, value in page.attributes if (tag, name) == ("img", "alt"))
    assert alt.startswith("Rainfall. Maps: 1, 2; colors from ")


def test_a_report_without_verdict_warnings_facts_and_sections_is_a_page() -> None:
    page = Reader(render_report(Report("t", "s", {}, [])))
    assert not {"section", "nav", "img", "dl"} & set(page.tags)
    assert "Before you use these maps" not in page.text


def test_the_same_report_is_the_same_page() -> None:
    assert render_report(make_report()) == render_report(make_report())


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([126.7278, 140.9], ["127", "141"]),
        ([0.26261, -0.0001], ["0.263", "0.000"]),
        ([400.012, 400.061], ["400.01", "400.06"]),
        ([1234567.0, np.nan], ["1234567", "\u2013"]),
        ([0.0, np.inf], ["0", "\u2013"]),
        ([1e-20, 2e-20], ["0.000000", "0.000000"]),
    ],
)
def test_numbers_of_a_column_have_sensible_digits(
    values: list[float], shown: list[str]
) -> None:
    table = pd.DataFrame({"x": values})
    raw = render_report(Report("t", "s", {}, [Section("x", "", None, table)]))
    assert re.findall(r'<td class="number">(.*?)</td>', raw) == shown
