"""Learning curves in votes: what more raters, and more utterances, are worth (docs/curve.md)."""
