"""`amber corpus check`: a corpus on disk, compared with what is known of it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from amber.errors import abbreviate

from .. import corpora
from ..corpora import Loaded, Source
from .findings import Finding, check_audio, check_joined

_CHECKS = {"iemocap": ".iemocap", "msp-podcast": ".msp_podcast", "crema-d": ".crema_d"}
_ANY_LENGTH = (0.025, 3600.0)  # seconds, for corpora of unknown durations
_ORDER = ("fatal", "warn", "ok", "info")


@dataclass(frozen=True)
class Report:
    """The result of a check, worst findings first."""

    dataset: str
    release: str
    utterances: int
    findings: list[Finding]
    ledger: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Return whether nothing fatal was found."""
        return not any(finding.level == "fatal" for finding in self.findings)

    def text(self) -> str:
        """Return the report for a terminal, one line per finding."""
        release = f", release {self.release}" if self.release else ""
        lines = [f"{self.dataset}{release}: {self.utterances} utterances"]
        for finding in self.findings:
            ids = f" ({abbreviate(finding.ids, 3)})" if finding.ids else ""
            lines.append(f"{finding.level:5}  {finding.text}{ids}")
        lines += [f"note   {note}" for note in self.ledger["notes"]]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data, every id included."""
        return asdict(self)


def run(source: Source) -> Report:
    """Load a corpus and check it.

    Raises
    ------
    UserError
        If it can't be read at all.

    """
    loaded = corpora.load(source)
    findings = sorted(_findings(source, loaded), key=lambda finding: _ORDER.index(finding.level))
    corpus = loaded.corpus
    return Report(source.dataset, corpus.release, len(corpus), findings, loaded.ledger.as_json())


def _findings(source: Source, loaded: Loaded) -> Iterator[Finding]:
    if source.dataset in _CHECKS:
        yield from importlib.import_module(_CHECKS[source.dataset], __name__).check(source, loaded)
        return
    yield from check_joined(loaded.ledger)
    if not loaded.prepare:  # a synthetic corpus has no audio yet
        yield from check_audio(loaded.corpus, _ANY_LENGTH)
