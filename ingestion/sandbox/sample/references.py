"""Which columns refer to which tables. The database declares none of it; this is the truth behind it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from ingestion.sandbox.sample import facts
from ingestion.sandbox.sample.cells import pick
from ingestion.sandbox.sample.chunk import Chunk, Indexes, Reference
from ingestion.sandbox.sample.world import PROJECT_SCOPED, World, mix

_OPTIONAL: Final = 0.4


def is_folder(world: World, row: int) -> bool:
    """Whether a document is a folder."""
    return mix(world.salt("folders") + row) & 3 == 0


def area_of_drawing(world: World, row: int) -> int:
    """The drawing area of a drawing: one of its project's."""
    return _of_project(world, "drawings", row, "drawing_areas")


def vendor_of_contract(world: World, row: int) -> int:
    """The vendor of a commitment contract."""
    return mix(world.salt("contract vendors") + row) % world.rows["vendors"]


def type_of_contract(world: World, row: int) -> str:
    """The type of a commitment contract: three of five are work orders."""
    return "WorkOrderContract" if mix(world.salt("contract types") + row) % 5 < 3 else "PurchaseOrderContract"


def vendor_of_user(world: World, row: int) -> int:
    """The vendor that a company user works for; -1 for two of five."""
    hashed = mix(world.salt("user vendors") + row)
    return -1 if hashed % 5 < 2 else (hashed >> 8) % world.rows["vendors"]


def division_of_section(world: World, row: int) -> int:
    """The division of a specification section: one of its project's."""
    return _of_project(world, "specification_sections", row, "specification_section_divisions")


def is_current(world: World, row: int) -> bool:
    """Whether a section's revision of the same row number is its current one: nine of ten."""
    return mix(world.salt("current revisions") + row) % 10 != 0


def section_of_revision(world: World, row: int) -> int:
    """The section of a specification revision; an outdated one belongs to another of the project."""
    if row < world.rows["specification_sections"] and is_current(world, row):
        return row
    return _of_project(world, "specification_section_revisions", row, "specification_sections")


def user_of_member(world: World, table: str, row: int) -> int:
    """The company user of a project's member: another one for each member, while they last."""
    wheel = world.wheel(table)
    rank = wheel.rank(row)
    return (mix(world.salt("members") + rank) + wheel.ordinal(row) * 7) % world.rows["company_users"]


def _of_project(world: World, table: str, row: int, target: str) -> int:
    own, other = world.wheel(table), world.wheel(target)
    rank = own.rank(row)
    return other.row(rank, mix(world.salt(f"{table}:{target}") + row) % other.count(rank))


def _by_row(find: Callable[[World, int], int]) -> Callable[[Chunk, Random], Indexes]:
    return lambda chunk, random: [find(chunk.world, row) for row in chunk.rows]


def _via(column: str, find: Callable[[World, int], int]) -> Callable[[Chunk, Random], Indexes]:
    """What the row that another column refers to leads to."""
    return lambda chunk, random: [
        -1 if row < 0 else find(chunk.world, row) for row in chunk.reference(column)
    ]


def _around(target: str) -> Callable[[Chunk, Random], Indexes]:
    """Each row of the target in turn."""
    return lambda chunk, random: [row % chunk.world.rows[target] for row in chunk.rows]


def _member(chunk: Chunk, random: Random) -> Indexes:
    return [user_of_member(chunk.world, chunk.table, row) for row in chunk.rows]


def _current_revision(chunk: Chunk, random: Random) -> Indexes:
    revisions = chunk.world.rows["specification_section_revisions"]
    return [row if row < revisions and is_current(chunk.world, row) else -1 for row in chunk.rows]


def _earlier_folder(chunk: Chunk, random: Random) -> Indexes:
    """A folder of the project with a smaller row number, so that the hierarchy has no cycle."""
    world, wheel = chunk.world, chunk.world.wheel(chunk.table)
    made = []
    for row, rank, ordinal in zip(chunk.rows, chunk.ranks, chunk.ordinals, strict=True):
        found = -1
        for _ in range(4):
            if not ordinal:
                break
            candidate = wheel.row(rank, int(random.random() * ordinal))
            if candidate < row and is_folder(world, candidate):
                found = candidate
                break
        made.append(found)
    return made


def _earlier(chunk: Chunk, random: Random) -> Indexes:
    draw = random.random
    return [-1 if not row or draw() < 0.8 else int(draw() * row) for row in chunk.rows]


def _project_row(chunk: Chunk, random: Random) -> Indexes:
    rows = chunk.world.project_rows
    return [rows[rank] for rank in chunk.ranks]


def _prime_line_item(null: float) -> Callable[[Chunk, Random], Indexes]:
    """A line item of a prime contract of the project, where it has one."""

    def make(chunk: Chunk, random: Random) -> Indexes:
        world, draw = chunk.world, random.random
        contracts, items = world.rows["prime_contracts"], world.rows["prime_contract_line_items"]
        wheel = world.wheel("prime_contracts")
        made = []
        for rank in chunk.ranks:
            count = 0 if draw() < null else wheel.count(rank)
            contract = wheel.row(rank, int(draw() * count)) if count else items
            # Line item i belongs to contract i modulo the number of contracts.
            mine = max(0, -((contract - items) // contracts))
            made.append(contract + contracts * int(draw() * mine) if mine else -1)
        return made

    return make


def _entry(
    target: str, rows: Callable[[Chunk, Random], Indexes] | None = None, null: float = 0.0
) -> Reference:
    return Reference(target, rows or pick(target, null))


_USER: Final = _entry("company_users", null=_OPTIONAL)

REFERENCES: Final[dict[str, Reference]] = {
    **{
        f"{name}.project_id": _entry("projects", _project_row)
        for name, table in facts.tables().items()
        if table.has("project_id")
    },
    "budget_line_items.budget_view_id": _entry("budget_views"),
    "change_events.created_by_id": _USER,
    "commitment_change_order_items.commitment_change_order_id": _entry("commitment_change_orders"),
    "commitment_change_order_items.commitment_line_item_id": _entry("commitment_contract_items", null=0.4),
    "commitment_change_order_items.prime_line_item_id": _entry(
        "prime_contract_line_items", _prime_line_item(0.4)
    ),
    "commitment_change_orders.contract_id": _entry("commitment_contracts"),
    "commitment_change_orders.created_by_id": _USER,
    "commitment_change_orders.designated_reviewer_id": _USER,
    "commitment_change_orders.received_from_id": _USER,
    "commitment_change_orders.reviewed_by_id": _USER,
    "commitment_contract_items.commitment_contract_id": _entry("commitment_contracts"),
    "commitment_contract_items.prime_line_item_id": _entry(
        "prime_contract_line_items", _prime_line_item(0.4)
    ),
    "commitment_contract_items.vendor_id": _entry(
        "vendors", _via("commitment_contract_id", vendor_of_contract)
    ),
    "commitment_contracts.assignee_id": _USER,
    "commitment_contracts.vendor_id": _entry("vendors", _by_row(vendor_of_contract)),
    "company_users.vendor_id": _entry("vendors", _by_row(vendor_of_user)),
    "direct_cost_items.direct_cost_id": _entry("direct_costs"),
    "direct_costs.employee_id": _USER,
    "direct_costs.vendor_id": _entry("vendors", null=0.2),
    "documents.parent_id": _entry("documents", _earlier_folder),
    "drawing_revisions.drawing_area_id": _entry("drawing_areas", _via("drawing_id", area_of_drawing)),
    "drawing_revisions.drawing_id": _entry("drawings"),
    "drawing_revisions.drawing_set_id": _entry("drawing_sets", null=0.1),
    "drawings.drawing_area_id": _entry("drawing_areas", _by_row(area_of_drawing)),
    "inspections.created_by_id": _USER,
    "integration_response_events.request_id": _entry(
        "integration_request_events", _around("integration_request_events")
    ),
    "invoice_submissions.commitment_id": _entry("commitment_contracts"),
    "invoice_submissions.procore_requisition_id": _entry("requisitions", null=0.4),
    "observations.assignee_id": _USER,
    "observations.created_by_id": _USER,
    "owner_invoices.prime_contract_id": _entry("prime_contracts"),
    "prime_contract_change_orders.created_by_id": _USER,
    "prime_contract_change_orders.designated_reviewer_id": _USER,
    "prime_contract_change_orders.prime_contract_id": _entry("prime_contracts"),
    "prime_contract_change_orders.received_from_id": _USER,
    "prime_contract_change_orders.reviewed_by_id": _USER,
    "prime_contract_line_items.prime_contract_id": _entry("prime_contracts", _around("prime_contracts")),
    "prime_contracts.architect_id": _entry("vendors", null=_OPTIONAL),
    "prime_contracts.contractor_id": _entry("vendors", null=0.2),
    "prime_contracts.created_by_id": _USER,
    "prime_contracts.vendor_id": _entry("vendors", null=0.2),
    "project_roles.user_id": _entry("company_users", _member),
    "project_users.user_id": _entry("company_users", _member),
    "project_users.vendor_id": _entry("vendors", _via("user_id", vendor_of_user)),
    "punch_items.created_by_id": _USER,
    "punch_items.final_approver_id": _USER,
    "punch_items.punch_item_manager_id": _USER,
    "requisitions.commitment_id": _entry("commitment_contracts", null=0.02),
    "rfis.assignee_id": _USER,
    "rfis.responsible_contractor_id": _entry("vendors", null=_OPTIONAL),
    "specification_section_revisions.specification_section_division_id": _entry(
        "specification_section_divisions", _via("specification_section_id", division_of_section)
    ),
    "specification_section_revisions.specification_section_id": _entry(
        "specification_sections", _by_row(section_of_revision)
    ),
    "specification_sections.current_revision_id": _entry(
        "specification_section_revisions", _current_revision
    ),
    "specification_sections.specification_section_division_id": _entry(
        "specification_section_divisions", _by_row(division_of_section)
    ),
    "submittal_attachments.approver_id": _USER,
    "submittal_attachments.submittal_id": _entry("submittals"),
    "submittals.received_from_id": _USER,
    "vendor_insurances.vendor_id": _entry("vendors"),
    "vendors.parent_id": _entry("vendors", _earlier),
    "vendors.primary_contact_id": _entry("company_users", null=0.2),
    "webhook_health_metrics.hook_id": _entry("webhook_hooks", _around("webhook_hooks")),
    "webhook_triggers.hook_id": _entry("webhook_hooks", _around("webhook_hooks")),
}
"""Every column that refers to a table, by `table.column`."""

SCOPED: Final = frozenset(
    name
    for name, reference in REFERENCES.items()
    if reference.target in PROJECT_SCOPED and name.partition(".")[0] in PROJECT_SCOPED
)
"""References whose target belongs to the row's own project."""
