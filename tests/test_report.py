"""The report in a real browser: nothing goes wrong in the console, nothing is loaded, filters and player work."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import ONE, demo_config, vouch

from amber.config import EvaluateOptions
from amber.console import Console, ignore
from amber.corpus import FILE, Corpus
from amber.evaluate import loading, stage, strata
from amber.evaluate.analysis import analyse
from amber.evaluate.report import charts, gains, page
from amber.evaluate.report.svg import ticks
from amber.evaluate.report.utterances import as_script
from amber.evaluate.results import Comparison, MetricsFile
from amber.evaluate.runs import find_runs
from amber.train import stage as training

QUIET = Console(quiet=True)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required --window-size=1280,900"
)


@contextmanager
def few_are_enough() -> Iterator[None]:
    """Draw of 10 utterances what is else drawn of 30: there are a hundred, and the page is to show every chart."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (gains, charts):
            patch.setattr(module, "SMALL", 10)
        yield


@pytest.fixture(scope="module")
def folder(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    overrides = ("train.epochs=2", ONE, "train.seeds=[0, 1]", "labels.subset=any", f"train.runs={runs}")
    training.run(demo_config(demo_cache, *overrides), None, QUIET)
    for path in (runs / "demo").glob("amber2/*/model/config.json"):
        model = json.loads(path.read_text())
        for candidate in model["candidates"]:
            candidate["layer_weights"] = {"speech": {"0": 0.25, "1": 0.75}}
        path.write_text(json.dumps(model))
    vouch(runs / "demo")
    with few_are_enough():
        stage.run([runs / "demo"], EvaluateOptions(resamples=200), QUIET)
    return runs / "demo"


@pytest.fixture(scope="module")
def browser(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not chromium:
        pytest.skip("there is no chromium with chromedriver here (Debian: chromium and chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    page = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    page.get((folder / "report.html").as_uri())
    yield page
    page.quit()


def requested(browser: Any) -> list[str]:
    """Return what was requested since it was last asked, but for data within the page and the browser's own pages."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("data:", "chrome"))]


def count(browser: Any) -> int:
    return int(browser.find_element("id", "count").text.split()[0])


def choose(browser: Any, name: str, text: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(browser.find_element("id", name)).select_by_visible_text(text)


def test_it_opens_without_a_complaint_and_loads_nothing(browser: Any, folder: Path) -> None:
    assert requested(browser) == [(folder / "report.html").as_uri()]
    assert browser.get_log("browser") == []
    assert browser.title == "demo · amber"
    assert count(browser) == 100
    shown = {figure.get_attribute("id") for figure in browser.find_elements("tag name", "figure")}
    over = {"gain-ce", "gain-soft", "gain-soft-temperature"}
    forests = {f"forest-{key}" for key in ("nll_per_vote", "bc", "r2", "accuracy", "f1_weighted")}
    others = {"conflict", "reliability", "entropy", "learning", "trust-amber2", "layers-amber2"}
    assert shown == {*over, *forests, *others}
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_sorting_and_filters(browser: Any, folder: Path, demo_cache: Path) -> None:
    corpus = Corpus.read(demo_cache / "demo" / FILE)
    speakers = corpus.column("speaker")
    choose(browser, "speaker", speakers[0])
    assert count(browser) == speakers.count(speakers[0])
    cards = browser.find_elements("css selector", ".card")
    assert len(cards) == count(browser)
    assert all(speakers[0] in card.text for card in cards)
    choose(browser, "stratum-agreement", "unanimous")
    assert 0 < count(browser) < len(cards)
    choose(browser, "class", "happy")
    unanimous = [
        card.find_element("css selector", "[role=img]") for card in browser.find_elements("class name", "card")
    ]
    assert all("happy 100 %" in bar.get_attribute("aria-label") for bar in unanimous)
    browser.find_element("css selector", "button[type=reset]").click()
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert count(browser) == 100
    words = corpus.column("text")[3]
    browser.find_element("id", "words").send_keys(words)
    assert count(browser) == corpus.column("text").count(words)
    assert words in browser.find_element("css selector", ".card blockquote").text
    browser.find_element("css selector", "button[type=reset]").click()
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    for order, fact in (("worst", "error "), ("most conflicting", "conflict "), ("most ambiguous", "entropy ")):
        choose(browser, "sort", order)
        facts = [card.text.splitlines()[1] for card in browser.find_elements("class name", "card")]
        values = [float(line.split(fact)[1].split()[0]) for line in facts]
        assert values == sorted(values, reverse=True)
    assert browser.get_log("browser") == []


def test_more_are_shown_on_demand_and_the_focus_follows(browser: Any) -> None:
    before = len(browser.find_elements("class name", "card"))
    browser.find_element("id", "more").click()
    assert len(browser.find_elements("class name", "card")) == 2 * before
    assert browser.execute_script(f"return document.activeElement === document.querySelectorAll('.card')[{before}]")


def test_the_player_reads_the_file_only_when_it_is_asked_to(browser: Any, demo_cache: Path) -> None:
    requested(browser)
    audio = browser.find_element("css selector", ".card audio")
    assert audio.get_attribute("preload") == "none"
    assert audio.get_dom_attribute("src").startswith("../")
    browser.set_script_timeout(20)
    browser.execute_async_script(
        "const [audio, done] = arguments;"
        "audio.addEventListener('timeupdate', () => done(), {once: true}); audio.play()",
        audio,
    )
    assert browser.execute_script("arguments[0].pause(); return arguments[0].duration", audio) > 1
    assert {Path(url).suffix for url in requested(browser)} == {".wav"}
    assert browser.get_log("browser") == []


def test_keyboard_and_screen_readers(browser: Any) -> None:
    unlabelled = "return [...document.querySelectorAll('select, input')].filter(e => !e.labels.length).length"
    assert browser.execute_script(unlabelled) == 0
    assert browser.find_element("id", "count").get_attribute("aria-live") == "polite"
    for landmark in ("header", "nav[aria-label]", "main", "form[aria-label]"):
        assert browser.find_elements("css selector", landmark), landmark
    nameless = "return [...document.querySelectorAll('[role=img], [role=region]')].filter(e => !e.ariaLabel).length"
    assert browser.execute_script(nameless) == 0
    from selenium.webdriver.common.keys import Keys

    browser.find_element("id", "sort").send_keys(Keys.END)  # the last order: worst
    assert browser.find_element("id", "sort").get_attribute("value") == "error"
    twice = "const ids = [...document.querySelectorAll('[id]')].map(e => e.id); return ids.length - new Set(ids).size"
    assert browser.execute_script(twice) == 0


def fresh(browser: Any, folder: Path, hash_: str = "") -> None:
    """Open the page anew, at an address."""
    browser.get("about:blank")
    browser.get((folder / "report.html").as_uri() + hash_)


def test_the_answer_and_one_figure_stand_first(browser: Any, folder: Path) -> None:
    fresh(browser, folder)
    sections = browser.find_elements("css selector", "main > section")
    assert sections[0].find_element("tag name", "h2").text.startswith("Does amber2 predict the raters better than")
    assert "NLL, the proper score" in sections[0].text
    assert sections[1].find_element("tag name", "figure").get_attribute("id") == "gain-ce"
    assert "Against the distribution that the votes were drawn from" in sections[1].text
    assert sections[2].find_element("tag name", "h2").text == "Results on test"
    assert browser.find_elements("css selector", "#results .rank1")


def test_terms_have_their_words_on_focus_and_in_the_glossary(browser: Any) -> None:
    header = browser.find_elements("css selector", "#results thead a.term")
    assert [term.text for term in header][:3] == ["BC ↑", "R² ↑", "JSD ↓"]
    browser.execute_script("arguments[0].focus()", header[0])
    tip = browser.find_element("id", "tip")
    assert tip.is_displayed()
    assert tip.text.startswith("Bhattacharyya coefficient. ")
    linked = {term.get_dom_attribute("href")[1:] for term in browser.find_elements("class name", "term")}
    glossary = {entry.get_attribute("id") for entry in browser.find_elements("css selector", ".glossary > div")}
    assert linked <= glossary


def test_an_utterance_has_an_address_and_neighbours_by_key(browser: Any, folder: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    asked = "demo_0042"
    focused = "return document.activeElement.querySelector('h3').textContent"
    fresh(browser, folder, f"#{asked}")
    assert browser.execute_script(focused) == asked
    browser.switch_to.active_element.send_keys("j")
    following = browser.execute_script(focused)
    assert following != asked
    assert browser.current_url.endswith(f"#{following}")
    browser.switch_to.active_element.send_keys("k")
    assert browser.execute_script(focused) == asked
    browser.find_element("id", "words").send_keys("k" + Keys.BACKSPACE)  # a key of a field is the field's own


def test_filters_are_in_the_address_and_the_list_can_be_saved(browser: Any, folder: Path, tmp_path: Path) -> None:
    fresh(browser, folder)
    choose(browser, "class", "happy")
    choose(browser, "sort", "worst")
    chosen, hash_ = count(browser), browser.execute_script("return location.hash")
    fresh(browser, folder, hash_)
    assert 0 < count(browser) == chosen < 100
    rows = list(csv.DictReader(saved(browser, tmp_path, "#export", "utterances.csv").decode().splitlines()))
    ids = [card.text.splitlines()[0] for card in browser.find_elements("class name", "card")]
    assert [row["id"] for row in rows][: len(ids)] == ids
    assert len(rows) == chosen
    assert {row["class"] for row in rows} == {"happy"}
    for row in rows:
        shares = [float(value) for name, value in row.items() if name.startswith("raters: ")]
        assert sum(shares) == pytest.approx(1, abs=0.01)


def saved(browser: Any, folder: Path, button: str, name: str) -> bytes:
    """Press a button that saves a file, and return what was saved."""
    where = {"behavior": "allow", "downloadPath": os.fspath(folder)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    browser.execute_script("document.querySelector(arguments[0]).click()", button)
    deadline = time.monotonic() + 20
    while not (folder / name).is_file() or not (folder / name).stat().st_size:
        assert time.monotonic() < deadline, f"{name} was not saved"
        time.sleep(0.05)
    return (folder / name).read_bytes()


def test_charts_are_saved_as_svg_png_and_pdf(browser: Any, folder: Path, tmp_path: Path) -> None:
    fresh(browser, folder)
    button = "#gain-ce .save button:nth-child({})"
    svg = ElementTree.fromstring(saved(browser, tmp_path, button.format(1), "gain-ce.svg"))  # noqa: S314 (our own)
    words = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"soft", "amber2", "gain in BC"} <= set(words)  # the legend is part of the picture
    assert svg.find(".//{http://www.w3.org/2000/svg}line").get("stroke").startswith("rgb")
    png = saved(browser, tmp_path, button.format(2), "gain-ce.png")
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20]) == 3 * float(svg.get("width"))
    pdf = saved(browser, tmp_path, button.format(3), "gain-ce.pdf")
    table = int(pdf.split(b"startxref\n")[1].split()[0])
    assert pdf[table:].startswith(b"xref")
    places = [int(line.split()[0]) for line in pdf[table:].splitlines()[3:8]]
    assert [pdf[place:].split()[0] for place in places] == [b"1", b"2", b"3", b"4", b"5"]
    assert b"(amber2) Tj" in pdf
    assert browser.get_log("browser") == []


def test_forty_variants_fit_and_four_lines_are_shown(browser: Any, folder: Path, tmp_path: Path) -> None:
    runs = find_runs(folder)
    experiment = loading.load("many", runs, None, ignore)
    heads, seeds = dict(experiment.heads), dict(experiment.seeds)
    for i in range(36):
        powers = {name: p ** (1 + i / 9) for name, p in experiment.heads["amber2"].items()}
        name = f"amber2,objective.modality_weight={i / 4:g}"
        heads[name] = {head: p / p.sum(axis=-1, keepdims=True) for head, p in powers.items()}
        seeds[name] = experiment.seeds["amber2"]
    many = replace(experiment, heads=heads, seeds=seeds)
    levels = strata.divide(many)
    results = analyse(many, levels, EvaluateOptions(resamples=200), QUIET)
    with few_are_enough():
        (tmp_path / "report.html").write_text(page.render(many, levels, results, tmp_path))
    assert (tmp_path / "report.html").stat().st_size < 4e6
    for scheme, width in (("light", 1280), ("dark", 400)):
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        fresh(browser, tmp_path)
        assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.get_log("browser") == []
    assert check_selectors(browser) > 3
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    fresh(browser, folder)


def check_selectors(browser: Any) -> int:
    """Choose a fifth series in every chart that has a selector, and return how many charts have one."""
    return int(
        browser.execute_script("""
        let charts = 0;
        for (const figure of document.querySelectorAll("figure")) {
          const boxes = [...figure.querySelectorAll(".legend input")];
          if (!boxes.length) continue;
          charts += 1;
          const shown = () => [...figure.querySelector(".panels svg").querySelectorAll(".series:not(.off)")];
          if (shown().length > 4) throw Error(figure.id);
          const fifth = boxes.filter((box) => !box.checked).at(-1);
          fifth.click();
          if (shown().length !== 4 || !shown().some((group) => group.dataset.n === fifth.value)) throw Error(figure.id);
          for (const mark of figure.querySelectorAll(".series:not(.off) circle")) {
            const y = Number(mark.getAttribute("cy"));
            if (!(y >= 12 && y <= 254)) throw Error(`${figure.id}: ${y}`);
          }
        }
        return charts;""")
    )


def contrast(browser: Any) -> float:
    """Return the contrast of text on the page's ground, as WCAG defines it."""
    style = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    rgb = [[int(v) / 255 for v in c[4:-1].split(",")] for c in browser.execute_script(style)]
    light = [[v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in c] for c in rgb]
    low, high = sorted(float(np.dot(c, [0.2126, 0.7152, 0.0722])) for c in light)
    return (high + 0.05) / (low + 0.05)


def test_light_and_dark(browser: Any) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        grounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        assert contrast(browser) > 7
    assert len(grounds) == 2


def test_nothing_is_drawn_of_few_utterances(folder: Path) -> None:
    found = MetricsFile.model_validate_json((folder / "metrics.json").read_bytes())
    few = {level for level, of in found.strata["ambiguity"].items() if of.n < 30}
    assert few
    drawn = {chart.key: chart for chart in charts.charts(found)}
    for chart in drawn.values():
        if chart.key.startswith(("gain-", "trust-")):
            assert not few & {name.split()[0] for name in chart.header}
    large = sum(one.n >= 30 for of in found.calibration.values() for one in of.bins)
    assert (drawn["reliability"].panels[0].count("<circle") if large else 0) == large
    assert found.series.conflict
    assert found.series.conflict.size >= 30


def test_there_is_no_chart_of_a_single_level(folder: Path) -> None:
    found = MetricsFile.model_validate_json((folder / "metrics.json").read_bytes())

    def alike(c: Comparison) -> Comparison:
        return c.model_copy(update={"level": "low", "n": found.utterances}) if c.scope != "all" else c

    entropy = found.series.entropy.model_copy(update={"levels": dict(list(found.series.entropy.levels.items())[:1])})
    weights = {"amber2": {"speech": {"low": 0.5}, "text": {"low": 0.5}}}
    update = {
        "series": found.series.model_copy(update={"entropy": entropy, "expert_weights": weights}),
        "versus": found.versus.model_copy(update={"comparisons": [alike(c) for c in found.versus.comparisons]}),
    }
    keys = {chart.key for chart in charts.charts(found.model_copy(update=update))}
    assert not [key for key in keys if key.startswith(("gain-", "trust-", "entropy"))]


def test_the_page_is_small(folder: Path) -> None:
    assert (folder / "report.html").stat().st_size < 1e6  # 8 MB is allowed for six times the utterances


def test_audio_that_is_not_at_hand_is_said_to_be_missing(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "demo"))
    for path in copy.glob("*/*/env.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "cache": os.fspath(tmp_path / "gone")}))
    vouch(copy)
    found = stage.run([copy], EvaluateOptions(resamples=200), QUIET).metrics
    text = (copy / "report.html").read_text()
    assert "The audio is not at hand." in text
    assert '"audio":null' in text
    assert "duration" not in found["strata"]


def test_data_can_t_leave_its_script_element() -> None:
    evil = {"text": "</script><!-- & <script>"}
    assert json.loads(as_script(evil)) == evil
    assert not set(as_script(evil)) & set("<>&")


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.013, 0.022), (1.0, 33.0), (0.8, 0.8001)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 3 <= len(found) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
