"""`amber matrix`: models that were trained on one corpus, tested on others."""
