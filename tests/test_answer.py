"""The sentences on top of the report agree with metrics.json, whatever the results; checked by reading them back."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from amber.evaluate.metrics import METRICS
from amber.evaluate.report import latex
from amber.evaluate.report.answer import answer
from amber.evaluate.report.ranking import ranks
from amber.evaluate.results import MetricFacts, Results

NAMES = ("ce", "soft", "soft + temperature", "amber2", "pool", "prior", "uniform", *(f"mine{i}" for i in range(33)))
CONSTANT = {"prior", "uniform", "majority"}
COMPARED = ("bc", "r2", "nll_per_vote", "accuracy", "f1_weighted")
TITLE = {metric.key: metric.title for metric in METRICS}
HIGHER = {metric.key: metric.higher_is_better for metric in METRICS}
PLACES = (("all", "all"), ("ambiguity", "low"), ("ambiguity", "mid"), ("ambiguity", "high"))


def random_results(seed: int) -> Results:
    """Return results of one to forty variants, of which some differences, all or none are supported."""
    rng = np.random.default_rng(seed)
    names = [*NAMES[: 1 + rng.integers(7)], *NAMES[7 : 7 + rng.choice([0, 0, 0, 0, 0, 0, 2, 2, 33])]]
    digits = int(rng.choice([1, 2, 6]))  # few digits: ties

    def figures() -> dict[str, Any]:
        found = {key: {"mean": round(float(rng.uniform(0.2, 1.2)), digits), "std": 0.01} for key in TITLE}
        return found | {"nll_bits": {"mean": found["nll_per_vote"]["mean"] / np.log(2)}}

    def reference() -> dict[str, Any]:
        oracle = {key: {"mean": float(rng.uniform(0, 1)), "error": 0.01} for key in TITLE}
        return {
            "baselines": {"prior": figures()},
            "oracle": {"n": 9, "left_out": int(rng.choice([0, 0, 3])), "figures": oracle if rng.random() < 0.8 else {}},
        }

    share = rng.choice([0.0, 0.03, 0.5])
    pairs = [(v, r) for r in ("ce", "soft") if r in names for v in names[names.index(r) + 1 :]]
    comparisons = [
        {
            **{"variant": v, "reference": r, "scope": scope, "level": level, "metric": metric, "n": 100},
            **{"difference": float(rng.normal()), "ci": [-1.0, 1.0], "p": 0.5, "se": 1.0, "detectable": 1.0},
            **{"relative": None, "seeds": {"n": [2, 2], "paired": True, "se": 1.0}},
            "supported": bool(rng.random() < share),
        }
        for v, r in pairs
        for scope, level in PLACES[: 1 + rng.integers(4)]
        for metric in COMPARED
    ]
    levels = {
        level: {
            "n": int(rng.choice([5, 100])),
            "speakers": 2,
            "small": False,
            "variants": {v: figures() for v in names},
        }
        for level in ("low", "mid", "high")
    }
    entropy = {"table": [[1]], "levels": {}}
    return Results.model_validate(
        {
            **{"experiment": "any", "dataset": {"name": "any", "release": "", "synthetic": False}, "labels": {}},
            **{"splits": {}, "classes": ["a", "b", "c"], "utterances": 300, "speakers": int(rng.integers(1, 9))},
            **{"one_hot": 0.5, "ties": 1, "folds": [0], "seeds": [0, 1], "corrected": {"n": 1, "left_out": 0}},
            "metrics": {m.key: {name: getattr(m, name) for name in MetricFacts.model_fields} for m in METRICS},
            "uncertainty": {"one_seed": names if rng.random() < 0.2 else []},
            "summary": {name: figures() for name in names},
            **{"ensembles": {}, "calibration": {}, "runs": [], "conflict_from": None},
            "truth": {name: figures() for name in names} if rng.random() < 0.5 else {},
            "strata": {"conflict": levels} if rng.random() < 0.8 else {},
            "versus": {"comparisons": comparisons},
            "series": {
                **{"shown": names[-1], "conflict": None, "entropy": entropy, "learning": {}, "expert_weights": {}},
                **{"layer_weights": {}, "confusion": [[1]]},
            },
            **reference(),
        }
    )


def value(text: str) -> float:
    return float(text.replace("−", "-"))


def named(text: str) -> list[str]:
    return re.findall("`([^`]+)`", text)


@pytest.mark.parametrize("seed", range(200))
def test_the_answer_is_what_metrics_json_says(seed: int) -> None:
    results = random_results(seed)
    found = json.loads(json.dumps(results.model_dump(mode="json")))
    said = answer(results)
    text = " ".join(said.sentences)
    rivals = {name: of for name, of in found["summary"].items() if name not in CONSTANT} or found["summary"]
    check_best(found, rivals, said.sentences[0])
    check_supported(found, text)
    check_scale(found, text)
    check_conflict(found, text)
    check_truth(found, text)
    compared = {c["variant"] for c in found["versus"]["comparisons"]} | {
        c["reference"] for c in found["versus"]["comparisons"]
    }
    assert set(named(said.question)) <= (compared or set(found["summary"]))


def check_best(found: dict[str, Any], rivals: dict[str, Any], sentence: str) -> None:
    nll = value(re.search(r"(−?[\d.]+) nats", sentence)[1])
    assert nll == min(round(of["nll_per_vote"]["mean"], 3) for of in rivals.values())
    assert value(re.search(r"([\d.]+) bits", sentence)[1]) == pytest.approx(nll / np.log(2), abs=2e-3)
    if len(found["summary"]) > 1:
        first, _, second = sentence.partition("by BC" if sentence.startswith("By NLL") else "is a sentence of one part")
        for part, key, best in ((first, "nll_per_vote", min), (second or first, "bc", max)):
            top = best(round(of[key]["mean"], 3) for of in rivals.values())
            tied = [name for name, of in rivals.items() if round(of[key]["mean"], 3) == top]
            assert named(part) == tied[:3]
            assert ("more" in part) == (len(tied) > 3)
            assert f"{top:.3f}" in part


def check_supported(found: dict[str, Any], text: str) -> None:
    every = found["versus"]["comparisons"]
    rivals = [c for c in every if not {c["variant"], c["reference"]} & CONSTANT]
    true = [c for c in rivals if c["supported"]]
    constant = sum(c["supported"] for c in every) - len(true)
    assert (f"; {constant} with constant answers" in text) == (constant > 0)
    if not every:
        assert "supported" not in text
        return
    assert f"correction for {len(every)} comparison" in text
    assert ("No difference between variants is supported" in text) == (not true)
    if not true:
        return
    sentence = next(s for s in re.split(r"(?<=\.) ", text) if " supported after" in s)
    assert sentence.startswith(f"{len(true)} difference")
    claims = {(c["variant"], c["reference"], c["metric"], c["level"]): c["difference"] for c in true}
    pairs = re.findall(r"`([^`]+)` is (better|worse) than `([^`]+)` ([^;.]*)", sentence)
    spoken = 0
    for variant, kind, reference, rest in pairs:
        for also, title, places in re.findall(r"(better|worse)? ?in (NLL|BC) \(([^)]*)\)", rest):
            for place in places.split(", "):
                key = "bc" if title == "BC" else "nll_per_vote"
                level = "all" if place == "overall" else place.split()[1]
                better = (claims[variant, reference, key, level] > 0) == HIGHER[key]
                assert better == ((also or kind) == "better")
                spoken += 1
    in_both = [c for c in true if c["metric"] in ("bc", "nll_per_vote")]
    of_pairs = {(variant, reference) for variant, _, reference, _ in pairs}
    assert spoken == sum((c["variant"], c["reference"]) in of_pairs for c in in_both)
    hidden = len({(c["variant"], c["reference"]) for c in in_both}) - len(of_pairs)
    assert (f"and {hidden} more pair" in sentence) == (hidden > 0)
    check_not_supported(rivals, true, text)


def check_not_supported(rivals: list[dict[str, Any]], true: list[dict[str, Any]], text: str) -> None:
    sentence = (re.search(r"Not supported: any difference ([^.]*)\.", text) or ["", ""])[1]
    for key in {c["metric"] for c in rivals}:
        assert (re.search(rf"\b{TITLE[key]}(?!\w)", sentence) is not None) == all(c["metric"] != key for c in true)
    for level in {c["level"] for c in rivals}:
        place = "overall" if level == "all" else f"on {level} ambiguity"
        assert (place in sentence) == all(c["level"] != level for c in true)


def check_scale(found: dict[str, Any], text: str) -> None:
    name, best, prior = *first_best(found), found["baselines"]["prior"]["nll_per_vote"]["mean"]
    oracle = found["oracle"]["figures"].get("nll_per_vote", {}).get("mean")
    assert (f"`{name}` does not beat the class frequencies" in text) == (best >= prior)
    if "% of the way" in text:
        share = int(re.search(rf"`{re.escape(name)}` comes (\d+) % of the way", text)[1])
        assert share <= 100 * (prior - best) / (prior - oracle) < share + 1
    # The scale is of all utterances: an oracle of some of them is none.
    fits = best < prior and oracle is not None and oracle < prior and not found["oracle"]["left_out"]
    assert ("at the oracle" in text or "% of the way" in text) == fits
    assert ("at the oracle" in text) == (fits and best <= oracle)


def first_best(found: dict[str, Any]) -> tuple[str, float]:
    rivals = {name: of for name, of in found["summary"].items() if name not in CONSTANT} or found["summary"]
    name = min(rivals, key=lambda name: round(rivals[name]["nll_per_vote"]["mean"], 3))
    return name, rivals[name]["nll_per_vote"]["mean"]


def check_conflict(found: dict[str, Any], text: str) -> None:
    match = re.search(r"`([^`]+)` differs from `([^`]+)` in NLL by ([^;]*);", text)
    levels = {name: of for name, of in found["strata"].get("conflict", {}).items() if of["n"] >= 30}
    if len(levels) < 2:
        assert match is None
    if match:
        gains = dict(reversed(part.split(" on ")) for part in match[3].split(", "))
        assert set(gains) == set(levels)
        for level, gain in gains.items():
            a, b = (levels[level]["variants"][name]["nll_per_vote"]["mean"] for name in match.groups()[:2])
            assert value(gain) == pytest.approx(a - b, abs=6e-4)


def check_truth(found: dict[str, Any], text: str) -> None:
    match = re.search(r"([^.]*) closest to the distribution .*?\(KL ([\d.]+) bits\)", text)
    assert (match is not None) == bool(found["truth"])
    if match:
        kl = {name: round(of["kl"]["mean"], 3) for name, of in found["truth"].items()}
        assert value(match[2]) == min(kl.values())
        assert named(match[1]) == [name for name, one in kl.items() if one == min(kl.values())][:3]


def test_the_best_is_bold_and_the_second_underlined_in_latex() -> None:
    results = next(r for r in map(random_results, range(99)) if len(r.summary) == 6)
    rank = ranks(results, "bc")
    lines = {
        line.split(" & ")[0]: line.split(" & ")[1] for line in latex.latex(results, []).splitlines() if " & " in line
    }
    for name, of in results.summary.items():
        better = sum(o["bc"].mean > of["bc"].mean + 5e-4 for n, o in results.summary.items() if n not in CONSTANT)
        marks = ("textbf" in lines[name], "underline" in lines[name])
        assert marks == (rank.get(name) == 1, rank.get(name) == 2)
        if name not in CONSTANT and better == 0:
            assert marks[0]
