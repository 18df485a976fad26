"""The feature cache: what a feature set is, how it is stored, found, checked, imported and exported."""
