"""Texts of contracts for tests, whole or with one thing changed."""

from __future__ import annotations

HEAD = """\
apiVersion: v3.2.0
kind: DataContract
id: shop-orders
version: 1.4.0
status: active
"""

ORDERS = (
    HEAD
    + """\
name: Orders of the shop
domain: sales
tenant: north
tags: [orders, core]
description:
  purpose: What customers bought, one row for each order.
  limitations: Without cancelled orders.
team:
  name: checkout
  members:
    - username: ann@shop.example
      role: Data Owner
      dateIn: "2024-01-15"
servers:
  - server: lake
    type: iceberg
    catalogUrl: https://catalog.shop.example
    catalog: main
schema:
  - name: orders
    physicalName: silver.orders
    physicalType: table
    description: One row for each order.
    dataGranularityDescription: One row for each order
    properties:
      - name: id
        logicalType: integer
        logicalTypeOptions: {format: i64}
        primaryKey: true
        primaryKeyPosition: 1
        required: true
      - name: customer
        physicalName: customer_email
        logicalType: string
        logicalTypeOptions: {maxLength: 200, pattern: "^[^@]+@[^@]+$"}
        classification: confidential
        tags: [pii]
        encryptedName: customer_encrypted
      - name: amount
        logicalType: number
        physicalType: decimal(12,2)
        required: true
        description: In euros, with tax.
        logicalTypeOptions: {minimum: 0}
        quality:
          - name: amounts are there
            metric: nullValues
            mustBe: 0
            dimension: completeness
            severity: error
      - name: status
        logicalType: string
        enum:
          - value: open
            label: Not yet paid
          - value: paid
      - name: ordered_at
        logicalType: timestamp
        required: true
        partitioned: true
        partitionKeyPosition: 1
        customProperties:
          - property: lakehousePartition
            value: day
    quality:
      - type: sql
        name: no order of the future
        query: SELECT count(*) FROM {object} WHERE ordered_at > now()
        mustBe: 0
slaProperties:
  - property: latency
    value: 4
    unit: h
    element: orders.ordered_at
  - property: retention
    value: 3
    unit: y
customProperties:
  - property: costCentre
    value: 4711
"""
)


def with_schema(schema: str) -> str:
    """Return a contract of the given tables, in YAML that stands at the margin."""
    return f"{HEAD}schema:\n{schema}"


def with_column(column: str) -> str:
    """Return a contract of one table `t` with one column, given as a mapping in YAML's short form."""
    return with_schema(f"  - name: t\n    properties:\n      - {column}\n")


def with_rule(rule: str) -> str:
    """Return a contract of one table `t` with the columns `a` and `b` and one rule of the table."""
    return with_schema(
        "  - name: t\n    properties:\n      - {name: a, logicalType: integer}\n      - {name: b, logicalType: string}\n"
        f"    quality:\n      - {rule}\n"
    )
