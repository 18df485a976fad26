"""Estimates of metrics and how certain they are: intervals, comparisons, and reference scores."""
