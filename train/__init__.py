"""Stage 2: features and votes become models and predictions."""
