"""`amber ask`: which utterances deserve another rater."""
