"""What each column holds: rules by `table.column`, then by column name, then by type."""

from __future__ import annotations

from collections.abc import Callable
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
from ingestion.sandbox.sample.chunk import NULL
from ingestion.sandbox.sample.columns import (
    biller_ids,
    biller_types,
    contract_types,
    division_numbers,
    drawing_numbers,
    folders,
    hexadecimal,
    ids,
    later,
    member_names,
    numbered,
    record_numbers,
    requisition_vendors,
    resource_ids,
    resources,
    secret,
    section_labels,
    section_numbers,
    sizes,
    spec_sections,
    stamps,
    taken_at,
    unless_folder,
)
from ingestion.sandbox.sample.pools import TRADES
from ingestion.sandbox.sample.references import (
    REFERENCES,
)
from ingestion.sandbox.sample.world import COMPANY, EPOCH_MS

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


_SELF_HOSTED: Final = "https://app.procore.example/webhooks/receiver?token={}"
_STATUS_ID: Final = outside("status_id", 5)
_AUDIT_STATUS: Final = choice(("200", "201", "404", "429", "500"), (88, 6, 3, 2, 1))
_ENTITY: Final = choice(documents.ENTITIES)
_ORIGIN: Final = text_of("words", 0.9)

_BY_NAME: Final[dict[str, Maker]] = {
    "id": ids,
    "company_id": constant(str(COMPANY)),
    "created_at": stamps("created"),
    "updated_at": stamps("updated"),
    "last_synced_at": stamps("synced"),
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
    "job_title": choice(
        ("Project Manager", "Superintendent", "Foreman", "Estimator", "Architect"), None, 0.4
    ),
    "license_number": numbered("LIC-{:06d}", 0.6),
    "labor_union": choice(("Local 18", "Local 40", "Local 401"), None, 0.8),
    "abbreviated_name": numbered("V{:04d}", 0.6),
    "accounting_method": choice(("amount", "unit"), (80, 20), 0.1),
    "payment_terms": choice(("Net 30", "Net 45", "Pay when paid"), None, 0.4),
    "terms": choice(("Net 30", "Net 45", "Due on receipt"), None, 0.4),
    "extended_type": choice(("manual", "calculated"), (70, 30), 0.3),
    "priority": choice(("low", "normal", "high"), None, 0.4),
    "permission_template_name": choice(("Read Only", "Standard", "Project Admin"), None, 0.4),
    "invoice_number": numbered("{:05d}", 0.2),
    "bill_to_address": people.street,
    "ship_to_address": people.street,
    "procore_entity_type": _ENTITY,
    "application_id": choice(("app-sync", "app-invoices", "app-reports"), (80, 15, 5)),
    "request_parameters": documents.request,
    "file_size": sizes,
    "filename": attachments.revision_name,
}

_RULES: Final[dict[str, Maker]] = {
    "_prisma_migrations.checksum": hexadecimal(64),
    "_prisma_migrations.migration_name": numbered("2025{:010d}_change"),
    "_prisma_migrations.started_at": stamps("created"),
    "_prisma_migrations.finished_at": stamps("created"),
    "_prisma_migrations.logs": constant(NULL),
    "_prisma_migrations.rolled_back_at": constant(NULL),
    "_prisma_migrations.applied_steps_count": constant("1"),
    "api_credentials.id": constant("1"),
    "api_credentials.credential_type": constant("procore_oauth"),
    "api_credentials.access_token": secret(0),
    "api_credentials.refresh_token": secret(1),
    "api_credentials.token_type": constant("Bearer"),
    "api_credentials.expires_at": constant(stamp_text(EPOCH_MS + 5_400_000)),
    "api_credentials.company_id": constant(NULL),
    "api_credentials.scope": constant(NULL),
    "audit_records.timestamp": stamps("created"),
    "audit_records.expires_at": later(90),
    "audit_records.response_status": _AUDIT_STATUS,
    "audit_records.response_data": documents.answer(0.3),
    "audit_records.errors": documents.sync_errors(0.95),
    "budget_line_items.biller_type": biller_types,
    "budget_line_items.biller_id": biller_ids,
    "budget_line_items.origin_id": outside("budget_origin", 400, 0.9),
    "budget_line_items.additional_columns": documents.amounts_by_id("budget_columns", 0.5),
    "budget_line_items.budgeted": flag(0.9),
    "change_events.number": integer(1, 400, 0.1),
    "change_events.alphanumeric_number": record_numbers("CE"),
    "change_events.change_event_line_items": documents.line_items,
    "change_events.rfqs": documents.rfqs,
    "change_events.change_event_status_id": outside("change_event_status_id", 4),
    "change_orders.number": record_numbers("CO"),
    "change_orders.schedule_impact": choice(
        ("0", "1", "5", "14", "30", "-1", "-5"), (60, 9, 9, 9, 8, 3, 2), 0.5
    ),
    "commitment_change_order_items.wbs_code": documents.outside_object("wbs_code_id", 0.2),
    "commitment_change_orders.number": record_numbers("CCO"),
    "commitment_contracts.type": contract_types,
    "commitment_contracts.number": record_numbers("SC"),
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
    "direct_cost_items.origin_id": numbered("ERP-{:07d}"),
    "direct_cost_items.cost_code": documents.outside_object("cost_code_id", 0.1),
    "direct_cost_items.line_item_type": documents.outside_object("line_item_type_id", 0.1),
    "direct_cost_items.wbs_code": documents.outside_object("wbs_code_id", 0.1),
    "direct_costs.origin_id": numbered("DC-{:06d}"),
    "direct_costs.attachment_ids": documents.attachment_array,
    "direct_costs.last_synced_at": stamps("synced", 0.1),
    "documents.folder_id": integer(1, 60, 0.7),
    "documents.is_folder": folders,
    "documents.name": lambda chunk, random: [attachments.document_name(chunk, row) for row in chunk.rows],
    "documents.url": attachments.document_url,
    "documents.size": unless_folder(sizes),
    "documents.file_type": unless_folder(
        lambda chunk, random: [attachments.document_type(chunk, row) for row in chunk.rows]
    ),
    "drawing_revisions.s3_key": attachments.revision_key("drawings"),
    "drawings.drawing_number": drawing_numbers,
    "integration_request_events.timestamp": stamps("created"),
    "integration_request_events.event_type": constant("request"),
    "integration_request_events.operation": choice(("GET", "POST", "PATCH"), (70, 20, 10)),
    "integration_response_events.timestamp": stamps("created"),
    "integration_response_events.success": flag(0.93),
    "integration_response_events.data_payload": documents.answer(0.3),
    "invoice_submissions.external_invoice_id": numbered("INV-{:06d}"),
    "invoice_submissions.invoice_number": numbered("{:04d}"),
    "submittal_attachments.filename": text_of("filenames"),
    "submittal_attachments.s3_key": attachments.revision_key("submittal_attachments"),
    "punch_items.number": numbered("{:d}"),
    "invoice_submissions.request_payload": documents.invoice,
    "invoice_submissions.error_message": text_of("titles", 0.75),
    "invoice_submissions.submitted_at": stamps("created"),
    "owner_invoices.number": integer(1, 60),
    "photos.url": attachments.photo_url,
    "photos.thumbnail_url": attachments.thumbnail_url,
    "photos.s3_key": attachments.photo_key,
    "photos.image_category_id": outside("image_category_id", 120),
    "photos.description": text_of("titles", 0.8),
    "photos.location": text_of("words", 0.7),
    "photos.taken_at": taken_at,
    "prime_contracts.number": record_numbers("PC"),
    "prime_contract_change_orders.number": record_numbers("PCCO"),
    "prime_contract_line_items.unit_cost": money(_OPTIONAL),
    "prime_contract_line_items.extended_data": documents.free_form(0.8),
    "processed_webhook_events.ulid": hexadecimal(26),
    "processed_webhook_events.event_id": numbered("{:d}"),
    "processed_webhook_events.resource_name": resources,
    "processed_webhook_events.resource_id": resource_ids,
    "processed_webhook_events.processed_at": stamps("created"),
    "processed_webhook_events.expires_at": later(30),
    "project_roles.user_name": member_names,
    "project_users.employee_id": people.employee_number,
    "projects.name": people.project_name,
    "projects.project_number": lambda chunk, random: with_nulls(
        [f"{18 + row % 8}-{100 + row:03d}" for row in chunk.rows], random, 0.1
    ),
    "requisitions.commitment_type": contract_types,
    "requisitions.invoice_number": record_numbers("INV"),
    "requisitions.vendor_name": requisition_vendors,
    "requisitions.percent_complete": choice(("45.0%", "45", "100.00", "N/A"), (50, 30, 15, 5), 0.05),
    "requisitions.created_by": documents.person(0.02),
    "requisitions.summary": documents.summary,
    "rfis.number": record_numbers("RFI"),
    "rfis.question": prose(0.05, html=0.3),
    "specification_section_divisions.number": division_numbers,
    "specification_section_divisions.description": text_of("titles"),
    "specification_section_divisions.url": constant(NULL),
    "specification_section_revisions.number": section_numbers,
    "specification_section_revisions.description": text_of("titles"),
    "specification_section_revisions.s3_key": attachments.revision_key("specification_section_revisions"),
    "specification_sections.number": section_numbers,
    "specification_sections.label": section_labels,
    "specification_sections.description": text_of("titles"),
    "submittals.number": record_numbers("SUB"),
    "submittals.status_id": _STATUS_ID,
    "submittals.spec_section": spec_sections,
    "sync_events.start_time": stamps("created"),
    "sync_events.completion_time": moment(0.02, 1_000, 900_000),
    "sync_events.entity_types": documents.entity_types,
    "sync_events.record_counts": documents.record_counts,
    "sync_events.errors": documents.sync_errors(0.94),
    "timesheets.date": day(0, -3, 1),
    "timesheets.number": numbered("{:d}"),
    "timesheets.created_by": documents.person(),
    "timesheets.timecard_entries": documents.timecards,
    "vendor_insurances.name": people.insurer,
    "vendor_insurances.policy_number": numbered("POL-{:08d}", 0.1),
    "vendor_insurances.limit": choice(("$1,000,000", "1M", "1000000", "$2,000,000"), None, 0.3),
    "vendor_insurances.effective_date": day(0.1),
    "vendor_insurances.expiration_date": day(0.1, 300, 400),
    "vendors.name": people.vendor,
    "vendors.email_address": people.vendor_email,
    "vendors.website": people.website,
    "vendors.is_active": flag(0.85),
    "vendors.bidding_qualifications": documents.free_form(0.9),
    "webhook_hooks.procore_hook_id": numbered("{:d}"),
    "webhook_hooks.namespace": constant("procore-mirror"),
    "webhook_hooks.api_version": constant("v2"),
    "webhook_hooks.destination_url": secret(2, _SELF_HOSTED),
    "webhook_hooks.environment": constant("production"),
    "webhook_hooks.active": constant("t"),
    "webhook_triggers.resource_name": lambda chunk, random: [
        documents.ENTITIES[row % len(documents.ENTITIES)] for row in chunk.rows
    ],
    "webhook_triggers.event_type": lambda chunk, random: [
        ("create", "update", "delete")[row % 3] for row in chunk.rows
    ],
    "webhook_triggers.procore_trigger_id": numbered("{:d}"),
}
