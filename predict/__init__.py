"""Stage 4: a trained model answers for new recordings and texts."""
