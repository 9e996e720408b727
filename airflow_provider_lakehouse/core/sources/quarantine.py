"""What the table of refused rows looks like: loads write it, and people see, release and expire what is in it."""

from __future__ import annotations

from typing import Final

from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.spec import TableSpec

TYPED: Final = "json"
"""Format of a payload that is a typed row, see `engines.row_json`: it can be released."""
AS_FOUND: Final = "text"
"""Format of a payload that is text as it was found: only the source can deliver it again."""

QUARANTINE_SPEC: Final = TableSpec(
    Schema.of(
        Column("reason", "string", nullable=False, comment="Why the row was refused: short, stable, without values"),
        Column("source_file", "string", comment="Where it came from"),
        Column("source_row", "long", comment="Which row there, counted from 1"),
        Column("payload", "string", comment="The row as it was found"),
        Column("pipeline", "string", nullable=False, comment="Who was loading"),
        Column("batch", "string", nullable=False, comment="What was being loaded"),
        Column("rejected_at", "timestamptz", nullable=False, comment="When the batch was loaded"),
        Column("id", "string", comment="Of this refused row: the same in every attempt at the batch"),
        Column("target", "string", comment="The table it was refused by"),
        Column(
            "checks", "list<string>", comment="Names of the checks it breaks; empty where it does not fit its table"
        ),
        Column("severity", "string", comment="Of the checks"),
        Column("payload_format", "string", comment="json: a typed row that can be released; text: as it was found"),
        Column("payload_types", "string", comment="Types of a typed row by name, as JSON"),
        Column("run", "string", comment="Which run loaded"),
        Column("contract", "string", comment="Name and version of the contract that the checks come from"),
        Column("release_id", "string", comment="Of the release that has claimed the row; null while none has"),
        Column("release_sql", "string", comment="The correction of that release"),
    ),
    comment="Rows that loads refused, with the reason",
)
"""Columns after `rejected_at` are null in rows that were written before there were any."""
