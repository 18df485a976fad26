"""Others' figures on our corpora, to stand beside ours, and what differs in the protocol.

The abstract of AmbER2 (arXiv 2601.18010), and AER-LLM (Hong et al., 2024, arXiv 2409.18339).
"""

from __future__ import annotations

REFERENCE = "reference in the abstract (which system is not said)"
AMBER2 = "AmbER2 (abstract)"
AER_LLM = "AER-LLM (Gemini 1.5 Flash)"

# The abstract gives no figures for MSP-Podcast.
PAPER: dict[str, dict[str, dict[str, float]]] = {
    "iemocap": {
        REFERENCE: {"bc": 0.69, "r2": 0.59, "accuracy": 0.658, "f1_weighted": 0.646},
        AMBER2: {"bc": 0.83, "r2": 0.67, "accuracy": 0.683, "f1_weighted": 0.675},
        AER_LLM: {"bc": 0.694, "r2": 0.587, "accuracy": 0.580, "f1_weighted": 0.583},
    },
    "msp-podcast": {AER_LLM: {"bc": 0.61, "r2": 0.57, "accuracy": 0.559, "f1_weighted": 0.559}},
}
_UNKNOWN = (
    "The paper's class set, utterances, folds, self-reports, treatment of votes outside the classes and F1 averaging "
    "are not known to us: read its rows as an orientation, not as a comparison (docs/paper.md)."
)
_AER_LLM = (
    "AER-LLM is a language model that was shown examples and the preceding turns with their true distributions "
    "(20 turns on IEMOCAP), which no variant here sees; its utterances are those all of whose votes lie in the classes."
)
PROTOCOL = {
    "iemocap": [
        f"{AMBER2} and the reference are from the abstract of arXiv 2601.18010; rounded, the BC and R² "
        "of the reference are those of AER-LLM (arXiv 2409.18339).",
        _AER_LLM,
        _UNKNOWN,
    ],
    "msp-podcast": [
        "The paper of AmbER2 also reports MSP-Podcast, but its figures and release are not in the abstract, "
        "so no rows of it stand here.",
        _AER_LLM,
        _UNKNOWN,
    ],
}
