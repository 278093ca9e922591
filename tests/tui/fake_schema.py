"""A Procore-like schema for tests of screens: 49 tables, some of them in full."""

from __future__ import annotations

from ingestion.schema_discovery import (
    Column,
    ExternalColumn,
    FileReferenceColumn,
    FileReferenceType,
    ImplicitRelationship,
    Index,
    SchemaMap,
    Table,
    TimestampFitness,
)

ROWS = {
    "_prisma_migrations": 20, "api_credentials": 1, "audit_records": 1356, "budget_line_items": 518,
    "budget_views": 155, "change_events": 140, "change_orders": 516, "commitment_change_order_items": 485,
    "commitment_change_orders": 137, "commitment_contract_items": 380, "commitment_contracts": 318,
    "company_users": 590, "daily_logs": 16, "direct_cost_items": 1450, "direct_costs": 252, "documents": 480,
    "drawing_areas": 32, "drawing_revisions": 5481, "drawing_sets": 153, "drawings": 5701, "inspections": 0,
    "integration_request_events": 60, "integration_response_events": 58, "invoice_submissions": 24,
    "observations": 0, "owner_invoices": 96, "photos": 7631, "prime_contract_change_orders": 7,
    "prime_contract_line_items": 62, "prime_contracts": 8, "processed_webhook_events": 250,
    "project_roles": 103, "project_users": 1610, "projects": 31, "punch_items": 0, "requisitions": 2704,
    "rfis": 308, "specification_section_divisions": 308, "specification_section_revisions": 2145,
    "specification_sections": 2145, "submittal_attachments": 0, "submittals": 500, "sync_events": 5973,
    "timesheets": 5413, "vendor_insurances": 420, "vendors": 346, "webhook_health_metrics": 0,
    "webhook_hooks": 1, "webhook_triggers": 5,
}  # fmt: skip

_TIME = "timestamp(3) without time zone"
_FULL: dict[str, list[tuple[str, str, bool]]] = {
    "photos": [
        ("id", "bigint", False), ("project_id", "bigint", False), ("description", "text", True),
        ("filename", "text", True), ("s3_key", "text", True), ("url", "text", True),
        ("thumbnail_url", "text", True), ("taken_at", _TIME, True), ("created_by_id", "bigint", True),
        ("created_at", _TIME, False), ("updated_at", _TIME, False), ("last_synced_at", _TIME, True),
    ],
    "rfis": [
        ("id", "bigint", False), ("project_id", "bigint", False), ("number", "text", True),
        ("subject", "text", True), ("question", "text", True), ("status", "text", True),
        ("assignee_id", "bigint", True), ("created_by_id", "bigint", True), ("attachments", "jsonb", True),
        ("custom_fields", "jsonb", True), ("due_date", "date", True), ("cost_impact", "numeric(15,2)", True),
        ("created_at", _TIME, False), ("updated_at", _TIME, False), ("last_synced_at", _TIME, True),
    ],
    "api_credentials": [
        ("id", "integer", False), ("credential_type", "text", False), ("access_token", "text", False),
        ("refresh_token", "text", True), ("token_type", "text", False), ("expires_at", _TIME, False),
        ("company_id", "integer", True), ("scope", "text", True), ("created_at", _TIME, False),
        ("updated_at", _TIME, False),
    ],
    "company_users": [
        ("id", "bigint", False), ("name", "text", True), ("email_address", "text", True),
        ("mobile_phone", "text", True), ("job_title", "text", True), ("vendor_id", "bigint", True),
        ("is_active", "boolean", False), ("created_at", _TIME, False), ("updated_at", _TIME, False),
    ],
}  # fmt: skip
_PLAIN: list[tuple[str, str, bool]] = [
    ("id", "bigint", False), ("project_id", "bigint", True), ("number", "text", True),
    ("title", "text", True), ("status", "text", True), ("amount", "numeric(15,2)", True),
    ("created_by_id", "bigint", True), ("created_at", _TIME, False), ("updated_at", _TIME, True),
]  # fmt: skip
_SECRETS = {"access_token", "refresh_token"}
_PERSONAL = {"name", "email_address", "mobile_phone"}


def _table(name: str, rows: int, oid: int) -> Table:
    columns = [
        Column(
            name=column,
            data_type=data_type,
            is_nullable=nullable,
            position=position,
            sensitivity="secret"
            if column in _SECRETS
            else "personal"
            if name == "company_users" and column in _PERSONAL
            else "none",
            sensitivity_reason="named like a token" if column in _SECRETS else "",
            default_value="now()" if column == "created_at" else None,
        )
        for position, (column, data_type, nullable) in enumerate(_FULL.get(name, _PLAIN), start=1)
    ]
    names = [column.name for column in columns]
    times = [column.name for column in columns if column.data_type.startswith("timestamp")]
    files = []
    if "s3_key" in names:
        files.append(FileReferenceColumn("s3_key", FileReferenceType.S3_KEY, "company/project/type/id/name",
                                         sampled=500, parsed_share=0.97))  # fmt: skip
    if "url" in names:
        files.append(
            FileReferenceColumn("url", FileReferenceType.URL, "signed URL", sampled=500, parsed_share=1.0)
        )
    if "attachments" in names:
        files.append(FileReferenceColumn("attachments", FileReferenceType.JSONB_S3_MAP, "map of id to key",
                                         sampled=300, parsed_share=0.93))  # fmt: skip
    fresh = "last_synced_at" if "last_synced_at" in names else "updated_at"
    return Table(
        name=name,
        row_count=rows,
        columns=columns,
        timestamp_columns=times,
        file_reference_columns=files,
        key_columns=["id"],
        key_basis="proven_id",
        key_duplicates=4 if name == "photos" else 0,
        key_nulls=1 if name == "photos" else 0,
        key_note="counted: every value but a few is there once",
        timestamp_column=fresh,
        timestamps=[
            TimestampFitness("last_synced_at", fresh == "last_synced_at", ["set for every row"])
            if "last_synced_at" in names
            else TimestampFitness("updated_at", True, ["never before created_at"]),
            TimestampFitness("created_at", False, ["does not move when a row changes"]),
        ],
        oid=oid,
        size_bytes=rows * 560,
        indexes=[Index(f"{name}_project_id_idx", ["project_id"])] if "project_id" in names else [],
        warnings=["4 keys are held by more than one row"] if name == "photos" else [],
    )


def _relations(tables: list[Table]) -> list[ImplicitRelationship]:
    found = []
    for table in tables:
        for column, target, role in (
            ("project_id", "projects", "project"),
            ("created_by_id", "company_users", "created_by"),
            ("assignee_id", "company_users", "assignee"),
            ("vendor_id", "vendors", "vendor"),
        ):
            if table.has_column(column) and table.name != target:
                found.append(
                    ImplicitRelationship(
                        table.name,
                        column,
                        target,
                        confidence=0.97,
                        orphan_share=0.01,
                        cardinality="many_to_one",
                        relation=role,
                        evidence=[
                            f"the column's name says {role}",
                            f"99 % of 500 sampled values exist in {target}.id",
                            "5 of 500 values have no row there",
                        ],
                    )
                )
    return found


def schema_map(tables: int | None = None) -> SchemaMap:
    """The schema; with `tables` so many more made-up ones in a second schema."""
    listed = [_table(name, rows, 16_400 + n) for n, (name, rows) in enumerate(ROWS.items())]
    listed[0].readable, listed[0].problem = False, "permission denied for table _prisma_migrations"
    listed[0].row_count = 0
    for number in range(tables or 0):
        extra = _table(f"archive.t_{number:05d}", number % 977, 30_000 + number)
        extra.schema = "archive"
        listed.append(extra)
    guess = ImplicitRelationship(
        "rfis", "assignee_id", "vendors", confidence=0.31, orphan_share=0.72, relation="assignee",
        evidence=["the ranges of the ids overlap", "72 % of sampled values have no row there"],
    )  # fmt: skip
    return SchemaMap(
        discovery_timestamp="2026-01-31T08:05:00Z",
        database_name="procore",
        tables=listed,
        relationships=_relations(listed[: len(ROWS)]),
        candidates=[guess],
        external_columns=[ExternalColumn("api_credentials", "company_id", "no table of companies here")],
        views=[Table("open_rfis", 0, list(listed[36].columns), kind="view")],
        schemas=["public"] + (["archive"] if tables else []),
        server_version="18.1",
    )
