"""Stage 3: predictions become metrics, tables and a report."""
