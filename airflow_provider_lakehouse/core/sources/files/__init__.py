"""Files as a source: CSV, JSON lines, Parquet and Avro."""
