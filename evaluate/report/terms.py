"""The report's terms: what an abbreviation is in words, and what it says; shown on hover and in a glossary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .. import strata
from ..experiment import OF_VARIANTS
from ..results import Results
from .tables import BEST, ORACLE, RATERS


@dataclass(frozen=True)
class Term:
    """A label as tables write it, its name in words (empty where the label says it), and its meaning."""

    label: str
    words: str
    meaning: str

    @property
    def key(self) -> str:
        """Return its place on the page."""
        return "term-" + re.sub(r"[^a-z0-9]+", "-", self.label.lower().replace("²", "2")).strip("-")

    @property
    def line(self) -> str:
        """Return words and meaning in one line."""
        return f"{self.words[:1].upper()}{self.words[1:]}. {self.meaning}" if self.words else self.meaning


OTHERS = (
    Term("ce", "cross-entropy", "The student learns the raters' most frequent class, as most systems do."),
    Term("soft", "", "The student learns the distribution of the votes, without experts."),
    Term("soft + temperature", "", "The same, its confidence corrected by one number that is fitted on dev."),
    Term("amber2", "AmbER2", "The student learns the votes' distribution, and from experts on speech and text."),
    Term("ensemble", "", "The mean of a variant's predictions over its seeds: one model, which is not tested."),
    Term(OF_VARIANTS, "", "All variants pooled with weights that are fitted on dev: one model, not tested."),
    Term("uniform", "", "The same probability for every class, whatever is said."),
    Term("prior", "class frequencies", "The mean distribution of the votes in training, whatever is said."),
    Term("majority", "", "The most frequent class in training, with certainty, whatever is said."),
    Term(RATERS, "", "Half of an utterance's votes against the other half: few votes, and no bound for a model."),
    Term(ORACLE, "", "What the true distributions would score against these votes, estimated from the votes."),
    Term(BEST, "", "What the best answer under this score would get: sharper than the truth if it is not proper."),
    Term("proper score", "", "A score that the true distribution wins on average, however few the votes."),
    Term("95 % CI", "95 % confidence interval", "Over speakers and over seeds."),
    Term("p (Holm)", "p-value after Holm", "Corrected for all comparisons of the experiment together."),
    Term("d_z", "Cohen's d of paired differences", "Their mean over their standard deviation between utterances."),
    Term(
        "SE over seeds",
        "standard error over seeds",
        "How much the difference changes when models are trained anew.",
    ),
    Term("supported", "", "p under 0.05 after Holm's correction, at least 30 utterances, two seeds or more."),
    Term("n", "number of utterances", "Strata under 30 are flagged, and nothing is drawn of them."),
)


def terms(results: Results) -> dict[str, Term]:
    """Return every term of the page by its label: metrics, strata, and others that occur."""
    metrics = [Term(m.title, m.words, _with_facts(m.meaning, m.unit, m.proper)) for m in results.metrics.values()]
    divisions = [Term(kind.name, "", kind.meaning) for kind in strata.STRATA if kind.name in results.strata]
    every = [*metrics, *divisions, *(term for term in OTHERS if _occurs(term.label, results))]
    return {term.label: term for term in every if term.meaning}


def term_of(label: str, known: Mapping[str, Term]) -> Term | None:
    """Return the term that a table's label stands for: `BC ↑` is `BC`, `soft ensemble` an `ensemble`."""
    plain = re.sub(r" [↑↓]$| \(n = .*\)$", "", label)
    return known.get(plain) or (known.get("ensemble") if plain.endswith(" ensemble") else None)


def _with_facts(meaning: str, unit: str, proper: bool) -> str:
    facts = [f"in {unit}"] if unit else []
    facts += ["a proper score"] if proper else []
    return f"{meaning[:-1]} ({', '.join(facts)})." if facts and meaning else meaning


def _occurs(label: str, results: Results) -> bool:
    """Return whether a variant's or a row's name occurs; what is neither always does."""
    named = {"ce", "soft", "soft + temperature", "amber2"}
    if label == "ensemble":
        return bool(results.ensembles)
    if label == OF_VARIANTS:
        return OF_VARIANTS in results.ensembles
    return label not in named or label in results.summary
