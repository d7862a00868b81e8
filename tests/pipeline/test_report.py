import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.metrics import ErrorSums, score_table
from pipeline.plots import Extent, Quantity, plot_maps
from pipeline.report import (
    Report,
    Section,
    render_report,
    score_overview,
    shortfalls,
    verdict,
    write_report,
)

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
    figure = plot_maps(maps, ["1", "2"], extent=extent, quantity=Quantity.of("mm"), title=title)
    table = pd.DataFrame({"method": ["a", "b"], "rmse": [1.234, np.nan], "n": [12345, 6]})
    sections = [
        Section("Maps", "First.\n\nSecond.", figure),
        Section("Scores", "", None, table),
        Section(title, title),
    ]
    fields = {"subtitle": title, "facts": {"init time": "2017-12", title: title}}
    return Report(**({"title": title, "sections": sections} | fields | changes))  # type: ignore[arg-type]


def test_a_report_contains_every_section_fact_figure_and_table() -> None:
    page = Reader(render_report(make_report(verdict="Good enough.", warnings=["Take care."])))
    for words in ("Rainfall", "Maps", "First.", "Second.", "Scores", "2017-12", "12\u202f345"):
        assert words in page.text
    assert page.tags.count("section") == 3
    assert page.tags.count("img") == page.tags.count("table") == 1
    assert page.text.index("Good enough.") < page.text.index("Take care.")
    assert page.text.index("Take care.") < page.text.index("init time")


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


def test_the_same_report_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, make_report())
    first, second = ((tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


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


def make_scores(model: list[float], **references: list[float]) -> pd.DataFrame:
    truth = np.tile(np.arange(9.0).reshape(1, 3, 3), (len(model), 1, 1))
    signs = np.where(np.arange(9).reshape(3, 3) % 2, 1.0, -1.0)
    sums = {
        name: ErrorSums.of(truth + np.array(errors)[:, None, None] * signs, truth)
        for name, errors in {"convlstm": model, **references}.items()
    }
    return score_table(sums, units="mm month-1")


def test_the_verdict_says_plainly_when_a_baseline_is_better() -> None:
    table = make_scores([3, 3], persistence=[6, 6], climatology=[2, 2])
    assert verdict(table) == (
        "Over all leads together the forecast (RMSE 3 mm month⁻¹) is worse than climatology "
        "(RMSE 2, skill -1.25), better than persistence (RMSE 6, skill 0.75); "
        "climatology alone would have served better."
    )


def test_the_verdict_names_leads_that_are_worse_though_all_together_are_better() -> None:
    table = make_scores([1, 3], persistence=[6, 2], climatology=[4, 4])
    assert verdict(table).endswith("; yet it is worse than persistence at lead 2.")
    assert shortfalls(table) == [
        "The forecast is worse than persistence at lead 2: its skill is -1.25 at lead 2, and "
        "0.75 over all leads together."
    ]


def test_the_verdict_of_a_better_forecast_stays_sober() -> None:
    table = make_scores([1, 1], persistence=[2, 2], climatology=[1, 1])
    assert verdict(table) == (
        "Over all leads together the forecast (RMSE 1 mm month⁻¹) is as good as climatology "
        "(RMSE 1, skill 0.00), better than persistence (RMSE 2, skill 0.75)."
    )
    assert shortfalls(table) == []


def test_the_verdict_claims_nothing_without_pixels_or_baselines() -> None:
    assert verdict(make_scores([1])).startswith(
        "No baseline was scored, so the forecast (RMSE 1"
    )
    empty = ErrorSums.zero(2)
    table = score_table({"convlstm": empty, "climatology": empty}, units="mm")
    assert verdict(table).startswith("No pixel has both a forecast and a truth")
    assert shortfalls(table) == []


def test_a_verdict_on_two_forecasts_at_once_is_refused() -> None:
    table = make_scores([1], other=[2])
    with pytest.raises(
        ValueError, match=r"\['convlstm', 'other'\] are no references, so it is"
    ):
        verdict(table)


def test_the_overview_has_one_row_a_lead_with_every_methods_error() -> None:
    overview = score_overview(make_scores([1, 3], persistence=[2, 2]))
    assert overview.index.tolist() == [1, 2, "all"]
    assert overview["RMSE [mm month⁻¹]"].tolist() == pytest.approx([1, 3, np.sqrt(5)])
    assert overview["RMSE of persistence [mm month⁻¹]"].tolist() == pytest.approx([2, 2, 2])
    assert overview["skill against persistence"].tolist() == pytest.approx([0.75, -1.25, -0.25])
