"""What each column holds: rules by `table.column`, then by column name, then by type."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from ingestion.sandbox.sample import attachments, documents, facts, people
from ingestion.sandbox.sample.cells import (
    Maker,
    category,
    choice,
    clause,
    constant,
    day,
    decimal,
    flag,
    integer,
    moment,
    money,
    outside,
    prose,
    reference,
    stamp_text,
    text_of,
    user_names,
    with_nulls,
)
from ingestion.sandbox.sample.chunk import DAY_MS, NULL, Chunk, user_name, vendor_name
from ingestion.sandbox.sample.pools import TRADES
from ingestion.sandbox.sample.references import (
    REFERENCES,
    is_folder,
    section_of_revision,
    type_of_contract,
    user_of_member,
    vendor_of_contract,
)
from ingestion.sandbox.sample.secrets import planted_secrets
from ingestion.sandbox.sample.world import COMPANY, EPOCH_MS, mix

_OPTIONAL: Final = 0.4


def maker_of(table: facts.SampleTable, column: facts.SampleColumn) -> Maker:
    """The maker of a column."""
    name = f"{table.name}.{column.name}"
    if name in _RULES:
        return _RULES[name]
    if name in REFERENCES:
        return reference(column.name)
    if name in facts.categories():
        return category(name, facts.categories()[name])
    if column.name in _BY_NAME:
        return _BY_NAME[column.name]
    if column.name.endswith("s3_keys"):
        return attachments.key_map(column.name)
    return _by_type(column)


def _by_type(column: facts.SampleColumn) -> Maker:
    null = _OPTIONAL if column.nullable else 0.0
    kind = column.type
    if kind == "bigint":
        return outside(column.name, 240, null)
    if kind == "jsonb":
        return documents.id_list(column.name) if column.name.endswith("_ids") else documents.free_form(null)
    if kind == "date":
        return day(0.6 if column.nullable else 0.0)
    makers: dict[str, Callable[[], Maker]] = {
        "boolean": lambda: flag(0.25),
        "integer": lambda: integer(0, 40, null),
        "double precision": lambda: decimal(3, 1),
        "numeric(15,2)": lambda: money(null),
        "numeric(15,4)": lambda: decimal(4, 5_000, null),
        "numeric(15,10)": lambda: decimal(10, 104),
        "numeric(10,4)": lambda: choice(("1.0000", "0.7342"), (97, 3), null),
        "numeric(10,2)": lambda: decimal(2, 100, null),
        "numeric(5,2)": lambda: choice(("10.00", "5.00", "0.00", "7.50"), (55, 20, 15, 10), 0.2),
    }
    if kind in makers:
        return makers[kind]()
    if kind.startswith("timestamp"):
        return moment(0.6 if column.nullable else 0.0)
    return text_of("words", null)


def _ids(chunk: Chunk, random: Random) -> list[str]:
    if facts.tables()[chunk.table].columns[0].type == "bigint":
        return [str(number) for number in chunk.ids]
    return [chunk.world.uuid(chunk.table, row) for row in chunk.rows]


def _stamps(which: str, null: float = 0.0) -> Maker:
    def make(chunk: Chunk, random: Random) -> list[str]:
        return with_nulls([stamp_text(value) for value in getattr(chunk, which)], random, null)

    return make


def _numbers(prefix: str) -> Maker:
    """Numbers of records as people write them: `CO-011`, `011`, `11`, `7.1`, ` 11 `."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        made = []
        for ordinal in chunk.ordinals if chunk.table in _NUMBERED else chunk.rows:
            share, number = random.random(), ordinal + 1
            if share < 0.6:
                made.append(f"{prefix}-{number:03d}")
            elif share < 0.75:
                made.append(f"{number:03d}")
            elif share < 0.9:
                made.append(str(number))
            elif share < 0.95:
                made.append(f"{prefix}-{number}.{1 + int(random.random() * 3)}")
            else:
                made.append(f" {prefix}-{number:03d} ")
        return made

    return make


_NUMBERED: Final = frozenset(
    {
        "change_orders",
        "commitment_change_orders",
        "commitment_contracts",
        "rfis",
        "submittals",
        "requisitions",
    }
)


def _later(days: int) -> Maker:
    return moment(0.0, days * DAY_MS, days * DAY_MS + 1)


def _drawing_number(chunk: Chunk, random: Random) -> list[str]:
    made = []
    for ordinal in chunk.ordinals:
        sheet = 101 + ordinal
        letter = "AMESPC"[ordinal % 6]
        text = (f"{letter}-{sheet}", f"{letter}{sheet // 100}.{sheet % 100:02d}", f"{letter}{sheet:04d}")[
            ordinal % 3
        ]
        made.append(f" {text} " if random.random() < 0.02 else text)
    return made


def _section_number(row: int, style: int) -> str:
    first, second, third = row % 33 + 1, row // 33 % 10, row // 330 % 100
    gap = " " if style else ""
    return f"{first:02d}{gap}{second}{third // 10}{gap}{third % 10}0"


def _section_numbers(chunk: Chunk, random: Random) -> list[str]:
    wheel, world = chunk.world.wheel("specification_sections"), chunk.world
    rows: list[int] = list(chunk.rows)
    if chunk.table == "specification_section_revisions":
        rows = [section_of_revision(world, row) for row in rows]
    salt = world.salt("section numbers")
    return [_section_number(wheel.ordinal(row), mix(salt + row) % 3) for row in rows]


def _section_label(chunk: Chunk, random: Random) -> list[str]:
    titles = chunk.pools.titles
    numbers = _section_numbers(chunk, random)
    return [f"{number} - {random.choice(titles)}" for number in numbers]


def _spec_section(chunk: Chunk, random: Random) -> list[str]:
    made = []
    for _ in chunk.rows:
        number = _section_number(int(random.random() * 400), int(random.random() * 3))
        made.append(number if random.random() < 0.7 else f"{number} - Common Work Results")
    return with_nulls(made, random, 0.2)


def _division_number(chunk: Chunk, random: Random) -> list[str]:
    return [f"{ordinal % 49 + 1:02d}" for ordinal in chunk.ordinals]


def _folders(chunk: Chunk, random: Random) -> list[str]:
    return ["t" if is_folder(chunk.world, row) else "f" for row in chunk.rows]


def _unless_folder(maker: Maker) -> Maker:
    def make(chunk: Chunk, random: Random) -> list[str]:
        values = maker(chunk, random)
        return [
            NULL if is_folder(chunk.world, row) else value
            for row, value in zip(chunk.rows, values, strict=True)
        ]

    return make


def _sizes(chunk: Chunk, random: Random) -> list[str]:
    """Bytes: log-normal around 800 kB, as large as an integer holds."""
    return [str(min(2_147_483_647, int(random.lognormvariate(13.6, 1.6)))) for _ in chunk.rows]


def _contract_type(chunk: Chunk, random: Random) -> list[str]:
    world = chunk.world
    if chunk.table == "commitment_contracts":
        return [type_of_contract(world, row) for row in chunk.rows]
    return [type_of_contract(world, max(0, row)) for row in chunk.reference("commitment_id")]


def _requisition_vendor(chunk: Chunk, random: Random) -> list[str]:
    world = chunk.world
    return [
        NULL if row < 0 else vendor_name(world, vendor_of_contract(world, row))
        for row in chunk.reference("commitment_id")
    ]


def _biller_id(chunk: Chunk, random: Random) -> list[str]:
    jobs = outside("sub_jobs", 300)(chunk, random)
    kinds = _biller_types(chunk, random)
    projects = chunk.projects
    return [
        NULL if kind is NULL else str(projects[place]) if kind == "Project" else jobs[place]
        for place, kind in enumerate(kinds)
    ]


def _biller_types(chunk: Chunk, random: Random) -> list[str]:
    return chunk.shared("biller", lambda own: choice(("Project", "SubJob"), (85, 15), 0.05)(chunk, own))


def _resources(chunk: Chunk, random: Random) -> list[str]:
    names = ("rfis", "photos", "drawings", "submittals", "commitment_contracts")
    return chunk.shared("resources", lambda own: own.choices(names, k=len(chunk)))


def _resource_ids(chunk: Chunk, random: Random) -> list[str]:
    world = chunk.world
    return [
        str(world.id(name, int(random.random() * world.rows[name]))) for name in _resources(chunk, random)
    ]


def _taken(chunk: Chunk, random: Random) -> list[str]:
    made = []
    for created in chunk.created:
        share = random.random()
        if share < 0.1:
            made.append(NULL)
        elif share < 0.11:
            made.append("2000-01-01 00:00:00")
        else:
            hours = -2 if share < 0.12 else 1 + share * 40
            made.append(stamp_text(created - int(hours * 3_600_000)))
    return made


def _hex(digits: int) -> Maker:
    def make(chunk: Chunk, random: Random) -> list[str]:
        return [f"{random.getrandbits(digits * 4):0{digits}x}" for _ in chunk.rows]

    return make


def _numbered(form: str, null: float = 0.0) -> Maker:
    """Texts with the row's number in them, so that no two are equal."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        return with_nulls([form.format(row + 1) for row in chunk.rows], random, null)

    return make


def _secret(number: int, form: str = "{}") -> Maker:
    return lambda chunk, random: [form.format(planted_secrets(chunk.world.seed)[number])] * len(chunk)


def _member_user(chunk: Chunk, random: Random) -> list[str]:
    world = chunk.world
    rows = [user_of_member(world, chunk.table, row) for row in chunk.rows]
    return [" ".join(user_name(world, row)) for row in rows]


_SELF_HOSTED: Final = "https://app.procore.example/webhooks/receiver?token={}"
_STATUS_ID: Final = outside("status_id", 5)
_AUDIT_STATUS: Final = choice(("200", "201", "404", "429", "500"), (88, 6, 3, 2, 1))
_ENTITY: Final = choice(documents.ENTITIES)
_ORIGIN: Final = text_of("words", 0.9)

_BY_NAME: Final[dict[str, Maker]] = {
    "id": _ids,
    "company_id": constant(str(COMPANY)),
    "created_at": _stamps("created"),
    "updated_at": _stamps("updated"),
    "last_synced_at": _stamps("synced"),
    "deleted_at": moment(0.96),
    "attachments": attachments.attachment_list("attachments"),
    "custom_fields": documents.custom_fields,
    "currency_configuration": documents.currency,
    "official_responses": documents.responses,
    "description": prose(),
    "notes": prose(0.8),
    "comment": prose(0.7),
    "title": text_of("titles"),
    "subject": text_of("titles"),
    "name": text_of("titles"),
    "label": text_of("titles"),
    "created_by_name": user_names("created_by_id"),
    "inclusions": clause(0.4),
    "exclusions": clause(0.5),
    "origin_id": _ORIGIN,
    "origin_code": _ORIGIN,
    "origin_data": _ORIGIN,
    "position": integer(1, 40, 0.1),
    "revision": integer(0, 4, 0.3),
    "grand_total": money(),
    "uom": choice(("ls", "ea", "hr", "sf", "LF", "Ton"), (40, 30, 15, 5, 5, 5), 0.3),
    "address": people.street,
    "city": people.city(0),
    "state_code": people.city(1),
    "zip": people.city(2),
    "country_code": constant("US"),
    "business_phone": people.phone(0.3),
    "mobile_phone": people.phone(0.5),
    "fax_number": people.phone(0.9),
    "trade_name": choice(TRADES, None, 0.4),
    "procore_entity_type": _ENTITY,
    "application_id": choice(("app-sync", "app-invoices", "app-reports"), (80, 15, 5)),
    "request_parameters": documents.request,
    "file_size": _sizes,
    "filename": attachments.revision_name,
}

_RULES: Final[dict[str, Maker]] = {
    "_prisma_migrations.checksum": _hex(64),
    "_prisma_migrations.migration_name": _numbered("2025{:010d}_change"),
    "_prisma_migrations.started_at": _stamps("created"),
    "_prisma_migrations.finished_at": _stamps("created"),
    "_prisma_migrations.logs": constant(NULL),
    "_prisma_migrations.rolled_back_at": constant(NULL),
    "_prisma_migrations.applied_steps_count": constant("1"),
    "api_credentials.id": constant("1"),
    "api_credentials.credential_type": constant("procore_oauth"),
    "api_credentials.access_token": _secret(0),
    "api_credentials.refresh_token": _secret(1),
    "api_credentials.token_type": constant("Bearer"),
    "api_credentials.expires_at": constant(stamp_text(EPOCH_MS + 5_400_000)),
    "api_credentials.company_id": constant(NULL),
    "api_credentials.scope": constant(NULL),
    "audit_records.timestamp": _stamps("created"),
    "audit_records.expires_at": _later(90),
    "audit_records.response_status": _AUDIT_STATUS,
    "audit_records.response_data": documents.answer(0.3),
    "audit_records.errors": documents.sync_errors(0.95),
    "budget_line_items.biller_type": _biller_types,
    "budget_line_items.biller_id": _biller_id,
    "budget_line_items.origin_id": outside("budget_origin", 400, 0.9),
    "budget_line_items.additional_columns": documents.amounts_by_id("budget_columns", 0.5),
    "budget_line_items.budgeted": flag(0.9),
    "change_events.number": integer(1, 400, 0.1),
    "change_events.alphanumeric_number": _numbers("CE"),
    "change_events.change_event_line_items": documents.line_items,
    "change_events.rfqs": documents.rfqs,
    "change_events.change_event_status_id": outside("change_event_status_id", 4),
    "change_orders.number": _numbers("CO"),
    "change_orders.schedule_impact": choice(
        ("0", "1", "5", "14", "30", "-1", "-5"), (60, 9, 9, 9, 8, 3, 2), 0.5
    ),
    "commitment_change_order_items.wbs_code": documents.outside_object("wbs_code_id", 0.2),
    "commitment_change_orders.number": _numbers("CCO"),
    "commitment_contracts.type": _contract_type,
    "commitment_contracts.number": _numbers("SC"),
    "commitment_contracts.description": prose(0.25, html=0.15),
    "commitment_contracts.accessor_ids": documents.id_list("company_users"),
    "commitment_contracts.bill_recipient_ids": documents.id_list("company_users"),
    "commitment_contracts.drawing_revision_ids": documents.id_list("drawing_revisions"),
    "company_users.login": people.login,
    "company_users.email_address": people.email,
    "company_users.name": people.user("full"),
    "company_users.first_name": people.user("first"),
    "company_users.last_name": people.user("last"),
    "company_users.employee_id": people.employee_number,
    "company_users.avatar_url": attachments.avatar,
    "company_users.permission_template_id": outside("permission_template_id", 12, 0.2),
    "company_users.is_active": flag(0.8),
    "daily_logs.log_date": day(),
    "daily_logs.location_id": integer(1, 40, 0.7),
    "daily_logs.multi_tier_location": documents.locations,
    "daily_logs.log_data": documents.log_data,
    "direct_cost_items.origin_id": _numbered("ERP-{:07d}"),
    "direct_cost_items.cost_code": documents.outside_object("cost_code_id", 0.1),
    "direct_cost_items.line_item_type": documents.outside_object("line_item_type_id", 0.1),
    "direct_cost_items.wbs_code": documents.outside_object("wbs_code_id", 0.1),
    "direct_costs.origin_id": _numbered("DC-{:06d}"),
    "direct_costs.attachment_ids": documents.attachment_array,
    "direct_costs.last_synced_at": _stamps("synced", 0.1),
    "documents.folder_id": integer(1, 60, 0.7),
    "documents.is_folder": _folders,
    "documents.name": lambda chunk, random: [attachments.document_name(chunk, row) for row in chunk.rows],
    "documents.url": attachments.document_url,
    "documents.size": _unless_folder(_sizes),
    "documents.file_type": _unless_folder(
        choice(("pdf", "xlsx", "docx", "jpg", "dwg", "application/pdf", "msg"), (50, 15, 15, 8, 5, 4, 3))
    ),
    "drawing_revisions.s3_key": attachments.revision_key("drawings"),
    "drawings.drawing_number": _drawing_number,
    "integration_request_events.timestamp": _stamps("created"),
    "integration_request_events.event_type": constant("request"),
    "integration_request_events.operation": choice(("GET", "POST", "PATCH"), (70, 20, 10)),
    "integration_response_events.timestamp": _stamps("created"),
    "integration_response_events.success": flag(0.93),
    "integration_response_events.data_payload": documents.answer(0.3),
    "invoice_submissions.external_invoice_id": _numbered("INV-{:06d}"),
    "invoice_submissions.invoice_number": _numbered("{:04d}"),
    "invoice_submissions.request_payload": documents.invoice,
    "invoice_submissions.error_message": text_of("titles", 0.75),
    "invoice_submissions.submitted_at": _stamps("created"),
    "owner_invoices.number": integer(1, 60),
    "photos.url": attachments.photo_url(),
    "photos.thumbnail_url": attachments.photo_url("thumb_", "thumbnail_url"),
    "photos.s3_key": attachments.photo_key,
    "photos.image_category_id": outside("image_category_id", 120),
    "photos.description": text_of("titles", 0.8),
    "photos.location": text_of("words", 0.7),
    "photos.taken_at": _taken,
    "prime_contract_change_orders.number": _numbers("PCCO"),
    "prime_contract_line_items.unit_cost": money(_OPTIONAL),
    "prime_contract_line_items.extended_data": documents.free_form(0.8),
    "processed_webhook_events.ulid": _hex(26),
    "processed_webhook_events.event_id": _numbered("{:d}"),
    "processed_webhook_events.resource_name": _resources,
    "processed_webhook_events.resource_id": _resource_ids,
    "processed_webhook_events.processed_at": _stamps("created"),
    "processed_webhook_events.expires_at": _later(30),
    "project_roles.user_name": _member_user,
    "project_users.employee_id": people.employee_number,
    "projects.name": people.project_name,
    "projects.project_number": lambda chunk, random: with_nulls(
        [f"{18 + row % 8}-{100 + row:03d}" for row in chunk.rows], random, 0.1
    ),
    "requisitions.commitment_type": _contract_type,
    "requisitions.invoice_number": _numbers("INV"),
    "requisitions.vendor_name": _requisition_vendor,
    "requisitions.percent_complete": choice(("45.0%", "45", "100.00", "N/A"), (50, 30, 15, 5), 0.05),
    "requisitions.created_by": documents.person(0.02),
    "requisitions.summary": documents.summary,
    "rfis.number": _numbers("RFI"),
    "rfis.question": prose(0.05, html=0.3),
    "specification_section_divisions.number": _division_number,
    "specification_section_divisions.description": text_of("titles"),
    "specification_section_divisions.url": constant(NULL),
    "specification_section_revisions.number": _section_numbers,
    "specification_section_revisions.description": text_of("titles"),
    "specification_section_revisions.s3_key": attachments.revision_key("specification_section_revisions"),
    "specification_sections.number": _section_numbers,
    "specification_sections.label": _section_label,
    "specification_sections.description": text_of("titles"),
    "submittals.number": _numbers("SUB"),
    "submittals.status_id": _STATUS_ID,
    "submittals.spec_section": _spec_section,
    "sync_events.start_time": _stamps("created"),
    "sync_events.completion_time": moment(0.02, 1_000, 900_000),
    "sync_events.entity_types": documents.entity_types,
    "sync_events.record_counts": documents.record_counts,
    "sync_events.errors": documents.sync_errors(0.94),
    "timesheets.date": day(0, -3, 1),
    "timesheets.number": _numbered("{:d}"),
    "timesheets.created_by": documents.person(),
    "timesheets.timecard_entries": documents.timecards,
    "vendor_insurances.name": people.insurer,
    "vendor_insurances.policy_number": _numbered("POL-{:08d}", 0.1),
    "vendor_insurances.limit": choice(("$1,000,000", "1M", "1000000", "$2,000,000"), None, 0.3),
    "vendor_insurances.effective_date": day(0.1),
    "vendor_insurances.expiration_date": day(0.1, 300, 400),
    "vendors.name": people.vendor,
    "vendors.email_address": people.vendor_email,
    "vendors.website": people.website,
    "vendors.is_active": flag(0.85),
    "vendors.bidding_qualifications": documents.free_form(0.9),
    "webhook_hooks.procore_hook_id": _numbered("{:d}"),
    "webhook_hooks.namespace": constant("procore-mirror"),
    "webhook_hooks.api_version": constant("v2"),
    "webhook_hooks.destination_url": _secret(2, _SELF_HOSTED),
    "webhook_hooks.environment": constant("production"),
    "webhook_hooks.active": constant("t"),
    "webhook_triggers.resource_name": lambda chunk, random: [
        documents.ENTITIES[row % len(documents.ENTITIES)] for row in chunk.rows
    ],
    "webhook_triggers.event_type": lambda chunk, random: [
        ("create", "update", "delete")[row % 3] for row in chunk.rows
    ],
    "webhook_triggers.procore_trigger_id": _numbered("{:d}"),
}
