"""Tables in users' files, read with checks: CSV, TSV, Excel, JSON Lines, Parquet; and what their cells may hold."""
