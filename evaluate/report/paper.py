"""The paper's own figures (arXiv 2601.18010), to stand beside ours on its corpora, and what differs in the protocol."""

from __future__ import annotations

# From the abstract. It gives no figures for MSP-Podcast; that corpus has its entry for the words below the table.
PAPER: dict[str, dict[str, dict[str, float]]] = {
    "iemocap": {
        "cross-entropy (paper)": {"bc": 0.69, "r2": 0.59, "accuracy": 0.658, "f1_weighted": 0.646},
        "AmbER2 (paper)": {"bc": 0.83, "r2": 0.67, "accuracy": 0.683, "f1_weighted": 0.675},
    },
    "msp-podcast": {},
}
_UNKNOWN = (
    "The paper's class set, utterances, folds, self-reports, treatment of votes outside the classes and F1 averaging "
    "are not known to us: read its rows as an orientation, not as a comparison (docs/paper.md)."
)
PROTOCOL = {
    "iemocap": ["Rows marked (paper) are from the abstract of arXiv 2601.18010 on IEMOCAP.", _UNKNOWN],
    "msp-podcast": [
        "The paper also reports MSP-Podcast, but its figures and release are not in the abstract, "
        "so no rows of it stand here.",
        _UNKNOWN,
    ],
}
