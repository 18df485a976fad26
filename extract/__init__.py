"""Stage 1: a corpus on disk becomes utterances with raw votes, and frozen features in the cache."""
