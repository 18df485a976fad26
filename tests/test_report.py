"""The report in a real browser: nothing goes wrong in the console, nothing is loaded, filters and player work."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ONE, demo_config, vouch

from amber.config import EvaluateOptions
from amber.console import Console
from amber.corpus import FILE, Corpus
from amber.evaluate import stage
from amber.evaluate.report.svg import ticks
from amber.evaluate.report.utterances import as_script
from amber.train import stage as training

QUIET = Console(quiet=True)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required --window-size=1280,900"
)


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
    gains = {"gain-ce", "gain-soft", "gain-soft-temperature"}
    forests = {f"forest-{key}" for key in ("nll_per_vote", "bc", "r2", "accuracy", "f1_weighted")}
    charts = {*gains, *forests, "conflict", "entropy", "learning", "trust-amber2", "layers-amber2"}
    assert shown - {"reliability"} == charts  # which needs a bin of 30 utterances
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
