"""Any database with a DB-API 2.0 or ADBC driver as a source."""
