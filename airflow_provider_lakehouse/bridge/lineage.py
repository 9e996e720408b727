"""What a task tells OpenLineage: built from what `execute` saved, with no look at any table.

Airflow asks for it in a forked child, where connections and threads of the task must not be touched.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.base import CommitResult, TableFacts

_NAMESPACES: Final = {"postgresql": "postgres"}
"""Schemes that OpenLineage calls otherwise."""


@dataclass(frozen=True)
class Assertion:
    """A check of a table, and what it found.

    Args:
        name: Of the check.
        severity: `fail`, `quarantine`, `drop` or `warn`.
        violations: How often it was broken.
        column: The column it is about; empty where it is about several or none.
        passed: Whether all is well; None takes no violations for it.
        type: Of the expectation; empty for SQL.
    """

    name: str
    severity: str
    violations: int
    column: str = ""
    passed: bool | None = None
    type: str = ""


@dataclass(frozen=True)
class Metrics:
    """What was measured of a dataset.

    Args:
        rows: Rows that were looked at; None where unknown.
        columns: By column, and by OpenLineage's name: `nullCount`, `distinctCount`, `sum`, `min`, `max`.
    """

    rows: int | None = None
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Promise:
    """What a contract says of a dataset.

    Args:
        contract: Id and version.
        owner: Who answers for it; empty where nobody does.
        description: What it is for; empty where nobody says.
        classifications: Column, and how delicate its values are.
    """

    contract: str
    owner: str = ""
    description: str = ""
    classifications: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SeenDataset:
    """A dataset that a task read or wrote.

    Args:
        uri: Where it is: location of a table, pattern of files, relation of a database. No credentials.
        alias: URI under which a catalog knows it, as in an asset; empty where none does.
        columns: Name, type and comment of each; empty where unknown.
        version: Version read, or written; None where there is none.
        rows: Rows written; None where unknown, and for what was only read.
        size_bytes: Compressed bytes written; likewise.
        files: Files written; likewise.
        assertions: Checks of it.
        metrics: What was measured of it; None where nothing was.
        promise: What its contract says; None where it has none.
    """

    uri: str
    alias: str = ""
    columns: tuple[tuple[str, str, str], ...] = ()
    version: int | None = None
    rows: int | None = None
    size_bytes: int | None = None
    files: int | None = None
    assertions: tuple[Assertion, ...] = ()
    metrics: Metrics | None = None
    promise: Promise | None = None


@dataclass(frozen=True)
class SeenLineage:
    """What `execute` saw, kept on the operator.

    Args:
        inputs: By the name that `sql` calls them.
        outputs: What was written.
        sql: The query whose columns `outputs` have; empty where there is none.
    """

    inputs: Mapping[str, SeenDataset] = field(default_factory=dict)
    outputs: tuple[SeenDataset, ...] = ()
    sql: str = ""


def seen_table(facts: TableFacts, *, alias: str, commit: CommitResult | None = None) -> SeenDataset:
    """Return a table as it was seen, with what a commit wrote; a replayed commit wrote nothing."""
    seen = SeenDataset(facts.identity.location or alias, alias, columns_of(facts.schema), facts.version)
    if commit is None:
        return seen
    if commit.replayed:
        return replace(seen, version=commit.version)
    return replace(
        seen,
        version=commit.version,
        rows=commit.rows_added,
        size_bytes=commit.bytes_added,
        files=commit.files_added,
    )


def columns_of(schema: Schema) -> tuple[tuple[str, str, str], ...]:
    """Return name, type and comment of every column."""
    return tuple((column.name, column.type, column.comment) for column in schema.columns)


def dataset_name(uri: str) -> tuple[str, str]:
    """Return namespace and name of what is at a URI, by OpenLineage's rules ("Dataset Naming").

    Example:
        >>> dataset_name("s3://lake/warehouse/sales/orders"), dataset_name("file:///data/in/*.csv")
        (('s3://lake', 'warehouse/sales/orders'), ('file', '/data/in/*.csv'))
        >>> dataset_name("postgresql://db:5432/shop/public.orders"), dataset_name("iceberg://default/sales/orders")
        (('postgres://db:5432', 'shop.public.orders'), ('iceberg://default', 'sales.orders'))
    """
    if "://" not in uri:
        return "file", uri.removeprefix("file:")
    parts = urlsplit(uri.replace("?", "%3F").replace("#", "%23"))
    path = unquote(parts.path)
    if parts.scheme == "file":
        return "file", path
    scheme = _NAMESPACES.get(parts.scheme, parts.scheme)
    separator = "/" if scheme.startswith("s3") else "."
    return f"{scheme}://{parts.netloc}", path.strip("/").replace("/", separator)


def operator_lineage(seen: SeenLineage) -> OperatorLineage[Any, Any]:
    """Return what OpenLineage is told: datasets, their facets, and which columns came from which."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import sql_job

    inputs = []
    for one in seen.inputs.values():
        namespace, name = dataset_name(one.uri)
        inputs.append(InputDataset(namespace, name, facets=_facets(one), inputFacets=_quality(one)))
    outputs = []
    for one in seen.outputs:
        namespace, name = dataset_name(one.uri)
        facets = _facets(one) | _column_lineage(one, seen)
        outputs.append(OutputDataset(namespace, name, facets=facets, outputFacets=_statistics(one)))
    job_facets: dict[str, Any] = {"sql": sql_job.SQLJobFacet(query=seen.sql)} if seen.sql else {}
    return OperatorLineage(inputs=inputs, outputs=outputs, job_facets=job_facets)


def _facets(one: SeenDataset) -> dict[str, Any]:
    from openlineage.client.facet_v2 import (
        dataset_version_dataset,
        datasource_dataset,
        schema_dataset,
        symlinks_dataset,
    )

    namespace, _ = dataset_name(one.uri)
    facets: dict[str, Any] = {"dataSource": datasource_dataset.DatasourceDatasetFacet(name=namespace, uri=one.uri)}
    if one.columns:
        fields = [
            schema_dataset.SchemaDatasetFacetFields(name=name, type=kind, description=comment or None)
            for name, kind, comment in one.columns
        ]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields)
    if one.alias and one.alias != one.uri:
        catalog, table = dataset_name(one.alias)
        identifier = symlinks_dataset.Identifier(namespace=catalog, name=table, type="TABLE")
        facets["symlinks"] = symlinks_dataset.SymlinksDatasetFacet(identifiers=[identifier])
    if one.version is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=str(one.version))
    return facets | _promised(one)


def _promised(one: SeenDataset) -> dict[str, Any]:
    from openlineage.client.facet_v2 import documentation_dataset, ownership_dataset, tags_dataset

    if one.promise is None:
        return {}
    told = one.promise
    tags = [tags_dataset.TagsDatasetFacetFields("contract", told.contract, "CONTRACT")]
    tags += [
        tags_dataset.TagsDatasetFacetFields("classification", how, "CONTRACT", column)
        for column, how in told.classifications
    ]
    facets: dict[str, Any] = {"tags": tags_dataset.TagsDatasetFacet(tags=tags)}
    if told.owner:
        owner = ownership_dataset.Owner(told.owner, "owner")
        facets["ownership"] = ownership_dataset.OwnershipDatasetFacet(owners=[owner])
    if told.description:
        facets["documentation"] = documentation_dataset.DocumentationDatasetFacet(description=told.description)
    return facets


def _quality(one: SeenDataset) -> dict[str, Any]:
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset as quality

    if one.metrics is None:
        return _assertions(one)
    columns = {name: quality.ColumnMetrics(**found) for name, found in one.metrics.columns.items()}
    facet = quality.DataQualityMetricsInputDatasetFacet(columnMetrics=columns, rowCount=one.metrics.rows)
    return {"dataQualityMetrics": facet, **_assertions(one)}


def _assertions(one: SeenDataset) -> dict[str, Any]:
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality

    if not one.assertions:
        return {}
    found = [
        quality.Assertion(
            assertion=a.type or "custom_sql",
            success=a.violations == 0 if a.passed is None else a.passed,
            column=a.column or None,
            severity="warn" if a.severity == "warn" else "error",
            name=a.name,
            expected="0",
            actual=str(a.violations),
        )
        for a in one.assertions
    ]
    return {"dataQualityAssertions": quality.DataQualityAssertionsDatasetFacet(assertions=found)}


def _statistics(one: SeenDataset) -> dict[str, Any]:
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    if one.rows is None:
        return {}
    facet = statistics.OutputStatisticsOutputDatasetFacet(rowCount=one.rows, size=one.size_bytes, fileCount=one.files)
    return {"outputStatistics": facet}


def _column_lineage(one: SeenDataset, seen: SeenLineage) -> dict[str, Any]:
    from openlineage.client.facet_v2 import column_lineage_dataset as lineage

    fields: dict[str, lineage.Fields] = {}
    written = {name for name, _, _ in one.columns}
    for column, origins in _origins(seen.sql).items():
        found = [
            lineage.InputField(*dataset_name(seen.inputs[table].uri), origin)
            for table, origin in origins
            if table in seen.inputs
        ]
        if found and column in written:
            fields[column] = lineage.Fields(inputFields=found)
    return {"columnLineage": lineage.ColumnLineageDatasetFacet(fields=fields)} if fields else {}


def _origins(sql: str) -> dict[str, list[tuple[str, str]]]:
    """Return table and column of every column that a column of the query is made of, as far as the parser can tell.

    Columns behind `SELECT *` and in statements it cannot read are left out: no lineage is better than a guess.
    """
    try:
        from openlineage_sql import parse  # type: ignore[import-untyped]
    except ImportError:
        return {}
    parsed = parse([sql], dialect="duckdb") if sql else None
    if parsed is None or parsed.errors:
        return {}
    return {
        entry.descendant.name: [(".".join(_parts(line.origin)), line.name) for line in entry.lineage if line.origin]
        for entry in parsed.column_lineage
    }


def _parts(table: Any) -> list[str]:  # noqa: ANN401
    return [part for part in (table.schema, table.name) if part]
