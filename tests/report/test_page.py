"""The HTML report in a real headless Chromium: Debian's, driven by Playwright."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from vovnet.analyses.slices import KINDS, error_kinds
from vovnet.policy.decide import choose
from vovnet.report.page.build import page
from vovnet.report.report import write_report
from vovnet.report.runs import find_runs
from vovnet.report.study import studies
from vovnet.schema import ReportConfig

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


@pytest.fixture(scope="module")
def written(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small study's report."""
    folder = tmp_path_factory.mktemp("written")
    write_report([runs], str(runs / "outcomes"), ReportConfig(samples=1000, image_megabytes=5.0), folder)
    return folder


@pytest.fixture
def opened(browser_page: Page, written: Path) -> Iterator[Page]:
    """The report of the small study; whatever the page complains about fails the test."""
    yield from visit(browser_page, written / "report.html")


def visit(tab: Page, path: Path) -> Iterator[Page]:
    complaints: list[str] = []

    def hear(message: Any) -> None:
        complaints.append(str(getattr(message, "text", message)))

    for event in ("console", "pageerror", "requestfailed"):
        tab.on(event, hear)  # type: ignore[call-overload]
    tab.goto(f"file://{path}")
    tab.locator("#study").select_option(index=0)
    yield tab
    for event in ("console", "pageerror", "requestfailed"):
        tab.remove_listener(event, hear)
    assert complaints == []


def slide(tab: Page, place: int) -> float:
    tab.locator("#slider").fill(str(place))
    return float(tab.locator("#lambda-value").inner_text())


def count(tab: Page) -> int:
    text = tab.locator("#count").inner_text()
    return int(text.split(" of ")[1].split()[0]) if " of " in text else 0


def test_the_slider_decides_as_the_policy_does(opened: Page, runs: Path) -> None:
    study = studies(find_runs([runs]).runs, str(runs / "outcomes"))[0]
    assert study.branches is not None
    values = next(run for run in study.runs if run.row.lambda_cost == 0.1).predictions.values
    assert values is not None
    rows, seen = np.arange(len(values)), set()
    for place in (0, 25, 50, 75, 100):
        price = slide(opened, place)
        exact = 0.0 if place == 0 else 0.001 * 2000 ** ((place - 1) / 99)
        assert price == pytest.approx(exact, rel=5e-3)
        columns = choose(values, study.branches.costs, exact)
        accuracy, cost = study.branches.scores[rows, columns].mean(), study.branches.costs[rows, columns].mean()
        text = opened.locator("#lambda-text").inner_text()
        assert f"accuracy {accuracy:.4f}, average cost {cost:.4f}" in text
        for action in range(3):
            opened.locator("#by-action").select_option(str(action))
            assert count(opened) == (columns == action).sum()
        opened.locator("#by-action").select_option("")
        seen.add(text)
    assert len(seen) > 1


def test_filters_show_the_samples_that_they_say(opened: Page, runs: Path) -> None:
    study = studies(find_runs([runs]).runs, str(runs / "outcomes"))[0]
    assert study.branches is not None
    full = next(run for run in study.runs if run.row.baseline_name == "always_full")
    opened.locator("#chooser").select_option(label="always FULL")
    opened.locator("#order").select_option(label="as in the file")
    kinds = error_kinds(study.branches.scores, full.predictions.action)
    for code, name in enumerate(KINDS):
        opened.locator("#by-error").select_option(label=name.replace("_", " "))
        assert count(opened) == (kinds == code).sum()
    opened.locator("#by-error").select_option("")
    categories = full.predictions.category.tolist()
    for name in set(categories):
        opened.locator("#by-category").select_option(name)
        assert count(opened) == categories.count(name)
    opened.locator("#by-category").select_option("")
    opened.locator("#by-text").fill("no such question")
    assert "No sample fits" in opened.locator("#count").inner_text()
    opened.locator("#by-text").fill("")
    card = opened.locator("#list > li").first
    shown = study.branches.dataset[0]
    assert shown.question in card.inner_text()
    assert f"reference: {shown.answers[0]}" in card.inner_text()
    assert card.locator("img").count() == 2
    assert card.locator("img").first.evaluate("image => image.complete && image.naturalWidth") == 16
    assert card.locator("img").nth(1).evaluate("image => image.naturalWidth") == 64


def test_a_point_tells_its_numbers_and_opens_its_choices(opened: Page, runs: Path) -> None:
    row = next(run.row for run in find_runs([runs]).runs if run.row.baseline_name == "always_coarse")
    dot = opened.locator('#plot .dot[aria-label^="always COARSE"]').first
    dot.focus()
    assert f"accuracy {row.accuracy:.4f}" in opened.locator("#tip").inner_text()
    opened.keyboard.press("Enter")
    assert opened.locator("#chooser").evaluate("s => s.selectedOptions[0].text") == "always COARSE"
    points = opened.locator("#plot .dot").count()
    opened.locator("#legend .entry", has_text="VoVNet").first.click()
    assert opened.locator("#plot .dot").count() == points - 3
    assert opened.locator("#legend .entry", has_text="VoVNet").first.get_attribute("aria-pressed") == "false"


def test_it_works_by_keyboard(opened: Page) -> None:
    first = opened.locator("#list > li").first
    first.focus()
    before = first.inner_text()
    opened.keyboard.press("ArrowDown")
    assert opened.evaluate("[...document.querySelector('#list').children].indexOf(document.activeElement)") == 1
    opened.keyboard.press("ArrowRight")
    assert opened.locator("#count").inner_text().startswith("13 to")
    opened.locator("#list > li").first.focus()
    opened.keyboard.press("ArrowLeft")
    assert opened.locator("#list > li").first.inner_text() == before
    opened.locator("#slider").focus()
    opened.keyboard.press("ArrowRight")
    assert opened.locator("#slider").input_value() == "1"


def test_tables_sort_by_a_click(opened: Page) -> None:
    heads = opened.locator("#main-table thead button").all_inner_texts()
    place = heads.index("accuracy")
    for direction, reverse in (("descending", True), ("ascending", False)):
        opened.locator("#main-table thead button").nth(place).click()
        assert opened.locator("#main-table th").nth(place).get_attribute("aria-sort") == direction
        shown = opened.locator(f"#main-table tbody tr td:nth-child({place + 1})").all_inner_texts()
        numbers = [float(text) for text in shown]
        assert numbers == sorted(numbers, reverse=reverse)
    assert "check points passed" in opened.locator("#checks-body").inner_text()


def test_a_study_without_branches_opens_too(opened: Page) -> None:
    opened.locator("#study").select_option(index=1)  # the live run
    assert opened.locator("#no-policy").is_visible()
    assert opened.locator("#plot .dot").count() == 1
    opened.locator("#study").select_option(index=0)
    assert opened.locator("#lambda-body").is_visible()
    assert count(opened) == 72


def test_three_numbers_say_what_is_kept(opened: Page, runs: Path) -> None:
    rows = {
        run.row.baseline_name or run.row.lambda_cost: run.row
        for run in find_runs([runs]).runs
        if run.row.mode != "live"
    }
    full = rows["always_full"]
    own = [row for name, row in rows.items() if isinstance(name, float)]
    best = min(own, key=lambda row: (row.accuracy < full.accuracy - 0.01, row.avg_cost))
    shares = (best.accuracy / full.accuracy, best.avg_cost / full.avg_cost, best.action_rate_no)
    assert opened.locator("#headline strong").all_inner_texts() == [f"{100 * share:.1f} %" for share in shares]
    named = opened.locator("#main-table tbody tr td:first-child").all_inner_texts()
    assert named[:3] == ["no image", "always COARSE", "always FULL"]  # as in the figures
    assert not [text for text in named if "_" in text]
    assert f"λ = {best.lambda_cost:g}" in opened.locator("#headline-of").inner_text()
    assert float(opened.locator("#lambda-value").inner_text()) == best.lambda_cost


@pytest.mark.parametrize("width", [1440, 800])
def test_cost_and_looks_are_in_sight(opened: Page, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 900})
    right = opened.locator("#main-table .scroll").evaluate("e => e.getBoundingClientRect().right")
    for heading in ("cost", "NO", "COARSE", "FULL"):
        head = opened.locator("#main-table th", has=opened.get_by_role("button", name=heading, exact=True)).first
        assert head.evaluate("e => e.getBoundingClientRect().right") <= right
    slide(opened, 80)
    thumb = opened.locator("#slider").evaluate(
        "e => { const r = e.getBoundingClientRect(); return r.left + 8 + (r.width - 16) * e.value / 100; }"
    )
    line = opened.locator("#lambda-plot line.axis").last.evaluate("e => e.getBoundingClientRect().left")
    assert thumb == pytest.approx(line, abs=3)  # the slider is below its place on the axis
    opened.set_viewport_size({"width": 1280, "height": 900})


CONTRAST = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (e) => {
    const color = parse(getComputedStyle(e).backgroundColor);
    return color.length < 4 || color[3] > 0 || !e.parentElement ? color : behind(e.parentElement);
  };
  const found = [];
  for (const e of document.querySelectorAll("body *:not(script)")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || e.disabled || e.tagName === "OPTION") continue;
    const style = getComputedStyle(e), ink = e.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [a, b] = [parse(ink), behind(e)].map(light);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${e.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_is_readable(opened: Page, theme: Literal["light", "dark"]) -> None:
    opened.emulate_media(color_scheme=theme)
    opened.locator("#legend .entry").first.click()
    opened.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert opened.evaluate(CONTRAST) == []
    opened.emulate_media(color_scheme="light")


def test_two_policies_are_compared_question_by_question(opened: Page, runs: Path) -> None:
    study = studies(find_runs([runs]).runs, str(runs / "outcomes"))[0]
    assert study.branches is not None
    chosen = {run.row.baseline_name: run.predictions for run in study.runs if run.row.baseline_name}
    own, other = chosen["no_vision"], chosen["always_coarse"]
    opened.locator("#chooser").select_option(label="no image")
    opened.locator("#versus").select_option(label="always COARSE")
    better, worse = (own.score > other.score).sum(), (own.score < other.score).sum()
    text = opened.locator("#compared").inner_text()
    assert f"better on {better}, worse on {worse}, its average cost is {other.cost.mean():.4f} lower" in text
    first = [int(place) for place in opened.locator("#list > li").evaluate_all("all => all.map((e) => e.dataset.row)")]
    assert better + worse >= 12
    assert all(own.score[place] != other.score[place] for place in first)
    assert "▷ COARSE" in opened.locator("#list > li").first.inner_text()
    opened.locator("#order").select_option(label="largest value gap first")
    values = next(run for run in study.runs if not run.row.baseline_name).predictions.values
    assert values is not None
    place = int(opened.locator("#list > li").first.get_attribute("data-row") or -1)
    assert place == (values[:, -1] - values[:, 0]).argmax()


def test_a_link_holds_what_the_page_shows(opened: Page) -> None:
    slide(opened, 37)
    opened.locator("#legend .entry").first.click()
    opened.locator("#chooser").select_option(label="no image")
    opened.locator("#by-action").select_option("0")
    opened.locator("#next").click()
    link, shown = opened.url, opened.locator("#count").inner_text()
    assert "chooser=no+image" in link
    opened.goto("about:blank")
    opened.goto(link)
    assert opened.locator("#count").inner_text() == shown
    assert opened.locator("#slider").input_value() == "37"
    assert opened.locator("#legend .entry").first.get_attribute("aria-pressed") == "false"
    opened.locator("nav a", has_text="Checks").click()
    assert opened.url == link  # a way within the page is no other state


def test_tables_and_charts_are_saved(opened: Page, written: Path, tmp_path: Path) -> None:
    with opened.expect_download() as table:
        opened.locator("#main-table button", has_text="save CSV").click()
    table.value.save_as(tmp_path / "saved.csv")
    saved, written = (
        [*csv.DictReader(path.open(encoding="utf-8"))] for path in (tmp_path / "saved.csv", written / "main_table.csv")
    )
    kept = [line for line in written if line["dataset"] == saved[0]["dataset"]]
    assert [line["setting"] for line in saved] == [line["setting"] for line in kept]
    assert [float(line["accuracy"]) for line in saved] == [float(line["accuracy"]) for line in kept]
    assert [*saved[0]] == [*kept[0]]
    with opened.expect_download() as chart:
        opened.locator("#plot button", has_text="save SVG").click()
    chart.value.save_as(tmp_path / "saved.svg")
    root = ElementTree.parse(tmp_path / "saved.svg").getroot()
    dots = [e for e in root.iter() if "accuracy" in e.get("aria-label", "") and e.tag.endswith("path")]
    assert len(dots) == opened.locator("#plot .dot").count()
    assert all(e.get("fill", "").startswith("rgb") for e in dots)


HOSTILE = "</script><img src=x onerror=alert(1)><b>&amp;</b>\u2028"


def synthetic(size: int) -> dict[str, Any]:
    """Data of a page with made-up samples and hostile text."""
    rng = np.random.default_rng(0)
    values = np.sort(rng.random((3, size)), axis=0)
    columns = {"id": [str(i) for i in range(size)], "category": [f"c{i % 9}" for i in range(size)]}
    point = {"setting": HOSTILE, "curve": HOSTILE, "seeds": 1, "cost": 0.5}
    point |= {"accuracy": 0.5, "low": 0.4, "high": 0.6, "rates": [["NO", 0.2], ["COARSE", 0.3], ["FULL", 0.5]]}
    mean = point | {"seeds": 3, "cost": 0.6}
    headline = {"setting": HOSTILE, "curve": HOSTILE, "lambda": 0.1, "accuracy": 0.5, "full": 0.5}
    samples = {
        **columns,
        "question": [f"{HOSTILE} {i}?" for i in range(size)],
        "options": [[HOSTILE, "b"]] * size,
        "answers": [["A"]] * size,
        "images": [[-1]] * size,
        "entropy": rng.random(size).tolist(),
        "margin": rng.random(size).tolist(),
        "prediction": [["A"] * size] * 3,
        "score": rng.integers(0, 2, (3, size)).tolist(),
        "cost": [[0.0] * size, [0.1] * size, [1.0] * size],
    }
    policy = {"label": HOSTILE, "lambda": 0.1, "space": [0, 1, 2], "values": values.tolist()}
    study = {
        "name": HOSTILE,
        "looks": ["NO", "COARSE", "FULL"],
        "headline": headline | {"kept": 1.0, "cost": 0.5, "blind": 0.2},
        "curves": [{"label": HOSTILE, "color": "#0072B2", "marker": "D", "learned": True}],
        "points": [point, mean],
        "oracle": [[0, 0.5], [1, 1]],
        "mixing": [[0, 0.1], [1, 0.9]],
        "samples": samples,
        "policies": [policy],
        "choices": [{"label": HOSTILE, "actions": [2] * size}],
    }
    check = {"folder": HOSTILE, "name": HOSTILE, "passed": False, "observed": HOSTILE}
    return {
        "names": {},
        "facts": {"runs": 1, "studies": 1, "version": HOSTILE, "commit": HOSTILE},
        "checks": [check],
        "unfinished": [HOSTILE],
        "warning": HOSTILE,
        "tables": {
            "main_table": {
                "columns": ["a"],
                "view": [["a", HOSTILE, None]],
                "rows": [{"a": HOSTILE, "dataset": HOSTILE}],
            }
        },
        "studies": [study],
        "images": [],
    }


def test_hostile_text_stays_text(browser_page: Page, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page(synthetic(30)), encoding="utf-8")
    for tab in visit(browser_page, tmp_path / "report.html"):
        assert tab.locator("#list img").count() == 0
        assert HOSTILE.strip() in tab.locator("#list > li").first.locator(".question").evaluate("e => e.textContent")
        assert tab.locator("#facts").evaluate("e => e.children.length") == 0
        assert (tab.locator("#facts").text_content() or "").startswith("1 run of 1 protocol, ")


def test_twenty_thousand_samples_stay_usable(browser_page: Page, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page(synthetic(20_000)), encoding="utf-8")
    for tab in visit(browser_page, tmp_path / "report.html"):
        assert count(tab) == 20_000
        loaded = tab.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart")
        assert loaded < 10_000  # ms; about 600 on an idle core
        timings = tab.evaluate(
            """() => [20, 40, 60, 80].map((place) => {
                 const slider = document.getElementById("slider"), begun = performance.now();
                 slider.value = place; slider.dispatchEvent(new Event("input"));
                 return performance.now() - begun; })"""
        )
        assert sorted(timings)[1] < 500  # ms; about 20 on an idle core
        tab.locator("#by-category").select_option("c3")
        assert count(tab) == 2222


def test_seeds_are_a_mean_with_a_band(browser_page: Page, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page(synthetic(3)), encoding="utf-8")
    for tab in visit(browser_page, tmp_path / "report.html"):
        assert tab.locator("#plot .band").count() == 1
        tab.locator("#plot .dot").last.focus()
        assert "mean of 3 seeds; ± one standard deviation: 0.4000 to 0.6000" in tab.locator("#tip").inner_text()


def test_the_page_is_one_file_with_nothing_from_elsewhere() -> None:
    text = page(synthetic(3))
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert text.count("</script>") == 2
    assert json.loads(text.split('id="data">')[1].split("</script>")[0])["facts"]["version"] == HOSTILE
