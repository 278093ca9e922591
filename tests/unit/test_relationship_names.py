"""References found by names and types alone: one line is one habit of naming."""

from __future__ import annotations

import pytest

from ingestion import relationships
from ingestion.schema_discovery import Column, ImplicitRelationship, Index, Table


def tables(text: str) -> list[Table]:
    """`name: column type, column! type` a line; `!` is NOT NULL, `*` the declared primary key, bigint default."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(":")
        columns, primary = [], []
        for part in filter(None, map(str.strip, rest.split(","))):
            column, _, kind = part.partition(" ")
            if column.endswith("*"):
                column = column[:-1]
                primary.append(column)
            required = column.endswith("!") or column in primary
            columns.append(Column(column.rstrip("!"), kind.strip() or "bigint", not required))
        schema, _, relname = name.rpartition(".")
        indexes = [Index("pk", primary, True, True)] if primary else []
        found.append(Table(name, 0, columns, schema=schema or "public", relname=relname, indexes=indexes))
    return found


def asserted(text: str) -> set[str]:
    return {
        f"{r.source_table}.{r.source_column} -> {r.target_table}.{r.target_column}"
        for r in relationships.infer(tables(text)).relationships
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        pytest.param("orders: id, customer_id\ncustomers: id", "orders.customer_id -> customers.id", id="plural"),
        pytest.param("order: id, category_id\ncategory: id", "order.category_id -> category.id", id="singular"),
        pytest.param("track: track_id!, album_id\nalbum: album_id!", "track.album_id -> album.album_id",
                     id="key-named-after-table"),
        pytest.param("photos: id, createdBy\nUsers: id", "photos.createdBy -> Users.id", id="role-in-camel-case"),
        pytest.param("Orders: OrderID*, CustomerID\nCustomers: CustomerID*",
                     "Orders.CustomerID -> Customers.CustomerID", id="pascal-case"),
        pytest.param("orders: orderid*, customerid\ncustomers: customerid*",
                     "orders.customerid -> customers.customerid", id="lower-case-run-together"),
        pytest.param("invoices: id, contract_id\ncommitment_contracts: id",
                     "invoices.contract_id -> commitment_contracts.id", id="prefix-left-out"),
        pytest.param("film: film_id!, original_language_id\nlanguage: language_id!",
                     "film.original_language_id -> language.language_id", id="role-before-the-table"),
        pytest.param("rfis: id, assignee_id\ncompany_users: id", "rfis.assignee_id -> company_users.id",
                     id="role-alone"),
        pytest.param("docs: id, parent_id", "docs.parent_id -> docs.id", id="self-reference"),
        pytest.param("employees: employee_id!, reports_to\nx: id", "employees.reports_to -> employees.employee_id",
                     id="superior"),
        pytest.param("orders: id, ship_via\nshippers: shipper_id!", "orders.ship_via -> shippers.shipper_id",
                     id="verb-and-preposition"),
        pytest.param("release: id!, artist_credit\nartist_credit: id!", "release.artist_credit -> artist_credit.id",
                     id="no-id-at-all"),
        pytest.param("concept_map: id, concept_id_1, concept_id_2\nconcept: concept_id!",
                     "concept_map.concept_id_2 -> concept.concept_id", id="numbered"),
        pytest.param("dept_emp: emp_no!, dept_no!\nemployees: emp_no*\ndepartments: dept_no*",
                     "dept_emp.emp_no -> employees.emp_no", id="abbreviated-key"),
        pytest.param("book: id_, author_\nauthor: id_", "book.author_ -> author.id_", id="trailing-underscore"),
        pytest.param("a: id, fk_user\nuser: id", "a.fk_user -> user.id", id="fk-first"),
        pytest.param("current_node_tags: node_id, k text\ncurrent_nodes: id\nnodes: id",
                     "current_node_tags.node_id -> current_nodes.id", id="nearest-relative"),
        pytest.param("l_area_artist: id, entity0, entity1\narea: id\nartist: id",
                     "l_area_artist.entity1 -> artist.id", id="numbered-link"),
        pytest.param("area_redirect: gid* uuid, new_id\narea: id*", "area_redirect.new_id -> area.id",
                     id="pointer-table"),
        pytest.param("scopes: id, fk_api_key\napi_keys: id", "scopes.fk_api_key -> api_keys.id",
                     id="table-that-ends-in-key"),
        pytest.param("scopes: id, pusher_api_key\napi_keys: id", "scopes.pusher_api_key -> api_keys.id",
                     id="table-that-ends-in-key-in-a-role"),
        pytest.param("order_lines: id, order\norders: id", "order_lines.order -> orders.id",
                     id="a-word-for-a-figure-that-is-a-table-here"),
        pytest.param("jobtickets: jobticketid*, supportrepid, resolvedby\nemployees: employeeid*, title text",
                     "jobtickets.resolvedby -> employees.employeeid", id="role-run-together"),
        pytest.param("jobtickets: jobticketid*, supportrepid, resolvedby\nemployees: employeeid*, title text",
                     "jobtickets.supportrepid -> employees.employeeid", id="two-word-role-run-together"),
        pytest.param("turbinecheck: turbinecheckid!, turbineprobeid\nturbinelimit: turbineprobeid!, peak text\n"
                     "probe: probeid!, probelabel text", "turbinecheck.turbineprobeid -> probe.probeid",
                     id="word-known-only-from-other-names"),
        pytest.param("sales.orders: id, customer_id\nsales.customers: id\nold.customers: id",
                     "sales.orders.customer_id -> sales.customers.id", id="same-schema-first"),
        pytest.param("tasks: id, rfi_id\nrfis: id", "tasks.rfi_id -> rfis.id", id="plural-in-is"),
        pytest.param("accounts: id, moved_to_account_id", "accounts.moved_to_account_id -> accounts.id",
                     id="own-row-and-how-it-relates"),
        pytest.param("orders: id, customer_id integer\ncustomers: id bigint", "orders.customer_id -> customers.id",
                     id="a-whole-name-of-another-size"),
        pytest.param("x: id, country_code text\ncountries: code* text", "x.country_code -> countries.code",
                     id="a-code-is-a-code"),
        pytest.param("themes: id, remote_theme_id\nremote_themes: id", "themes.remote_theme_id -> remote_themes.id",
                     id="a-table-of-what-is-elsewhere"),
        pytest.param("act_ru_task: id_, execution_id_\nact_ru_execution: id_\nact_ru_case_execution: id_\n"
                     "act_re_model: id_\nact_id_user: id_", "act_ru_task.execution_id_ -> act_ru_execution.id_",
                     id="fewest-words-left-out"),
        pytest.param("act_ru_task: id_, proc_def_id_\nact_re_procdef: id_\nact_ru_job: id_, task_id_\n"
                     "act_re_model: id_\nact_id_user: id_", "act_ru_task.proc_def_id_ -> act_re_procdef.id_",
                     id="words-apart-here-and-together-there"),
        pytest.param("Account: accountId\nAppUser: userId, managerUserId, teamId, email text\n"
                     "Ticket: ticketId, assigneeId", "Ticket.assigneeId -> AppUser.userId",
                     id="users-before-accounts"),
        pytest.param("tasks: id, assignee_id\ntask_assignees: id, task_id, user_id\nusers: id",
                     "tasks.assignee_id -> users.id", id="not-one-of-its-own-parts"),
    ],
)  # fmt: skip
def test_habit_is_understood(schema: str, expected: str) -> None:
    assert expected in asserted(schema)


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param("orders: id, cost_code_id\ncustomers: id", id="no-such-table"),
        pytest.param("sets: id, num_created_nodes integer\nnodes: id", id="a-count-of-rows"),
        pytest.param("items: id, customer_id text\ncustomers: id uuid", id="types-cannot-meet"),
        pytest.param("logs: id, record_id, record_type text\nrecords_a: id\nrecords_b: id", id="polymorphic"),
        pytest.param(
            "vendors: id, company_id\ncompany_users: id\ncompany_roles: id", id="begins-like-two-tables"
        ),
        pytest.param("city: city_id!, city text\ncountry: country_id!", id="attribute-named-like-its-table"),
        pytest.param("orders: id*, total integer", id="nothing-to-refer-to"),
        pytest.param("lines: id, order\norders: id", id="a-place-in-an-order"),
        pytest.param("x: id, item_id\nred_items: id\nblue_items: id", id="two-equal-targets"),
        pytest.param(
            "logs: id, resource_id, resource_type text\nresources: id", id="a-word-for-any-kind-of-thing"
        ),
        pytest.param("customers: id, stripe_customer_id, legacy_customer_id", id="own-number-elsewhere"),
        pytest.param("logins: id, google_user_id\nusers: id", id="number-of-another-system"),
        pytest.param(
            "orders: orderid*, externalorderid, retriedorderid\nx: xid*", id="own-number-run-together"
        ),
        pytest.param("jobs: id, retried_job_id\nx: id", id="own-row-for-no-said-reason"),
        pytest.param("notices: id, post_number\nposts: id", id="a-number-is-no-id"),
        pytest.param("labels: id, label_code\nrelease_labels: release*", id="its-own-code"),
        pytest.param("orders: id, tax_code\ntaxes: tax_id*", id="a-code-is-no-id"),
        pytest.param("posts: id, group_id\nci_resource_groups: id", id="two-words-left-out"),
        pytest.param("jobs: id, auto_canceled_by_id\nusers: id", id="done-by-no-person"),
        pytest.param("jobs: id, creator_id bigint\nusers: id integer", id="role-of-another-size"),
        pytest.param(
            "a: id, gid uuid\nb: id, gid uuid\nc: id, gid uuid\ngone: gid* uuid, reason text",
            id="key-whose-name-many-columns-have",
        ),
    ],
)
def test_it_abstains_rather_than_guesses(schema: str) -> None:
    assert asserted(schema) == set()


def test_names_run_together_are_read_word_by_word() -> None:
    found = asserted(
        """sales.salesorderheader: salesorderid*, customerid, billtoaddressid, shipmethodid, territoryid
        sales.salesorderdetail: salesorderid*, salesorderdetailid*, productid, unitpricediscount numeric(8,2)
        sales.customer: customerid*, accountnumber text
        sales.salesterritory: territoryid*, countryregioncode character varying(3)
        person.address: addressid*, stateprovinceid, addressline1 text
        person.stateprovince: stateprovinceid*, territoryid
        person.countryregion: countryregioncode* character varying(3), name text
        production.product: productid*, productsubcategoryid, reorderpoint smallint
        production.productsubcategory: productsubcategoryid*, productcategoryid
        production.productcategory: productcategoryid*, modifieddate date
        purchasing.shipmethod: shipmethodid*, shiprate numeric(8,2)"""
    )
    assert found == {
        "sales.salesorderheader.customerid -> sales.customer.customerid",
        "sales.salesorderheader.billtoaddressid -> person.address.addressid",
        "sales.salesorderheader.shipmethodid -> purchasing.shipmethod.shipmethodid",
        "sales.salesorderheader.territoryid -> sales.salesterritory.territoryid",
        "sales.salesorderdetail.salesorderid -> sales.salesorderheader.salesorderid",
        "sales.salesorderdetail.productid -> production.product.productid",
        "sales.salesterritory.countryregioncode -> person.countryregion.countryregioncode",
        "person.address.stateprovinceid -> person.stateprovince.stateprovinceid",
        "person.stateprovince.territoryid -> sales.salesterritory.territoryid",
        "production.product.productsubcategoryid -> production.productsubcategory.productsubcategoryid",
        "production.productsubcategory.productcategoryid -> production.productcategory.productcategoryid",
    }


def test_a_composite_key_takes_its_other_columns_along() -> None:
    found = asserted("node_tags: node_id! , version! , k text\nnodes: node_id*, version*, lat integer")
    assert found == {"node_tags.node_id -> nodes.node_id", "node_tags.version -> nodes.version"}


def test_a_declared_key_is_taken_as_it_is_and_not_judged_again() -> None:
    declared = [ImplicitRelationship("a", "b_id", "c", basis="declared")]
    found = relationships.infer(tables("a: id, b_id\nb: id\nc: id"), declared=declared)
    assert found.relationships == declared


def test_a_reference_to_nothing_is_said_to_be_external() -> None:
    found = relationships.infer(tables("items: id, cost_code_id\nvendors: id"))
    assert [(e.table, e.column) for e in found.external] == [("items", "cost_code_id")]
    assert "cost code" in found.external[0].reason


def test_a_rejected_relation_stays_away_and_an_accepted_one_is_asserted() -> None:
    given = tables("orders: id, customer_id, code_id\ncustomers: id\ncodes_of_law: id")
    decisions = {("orders", "customer_id", "customers"): False, ("orders", "code_id", "codes_of_law"): True}
    found = relationships.infer(given, decisions=decisions)
    assert [(r.source_column, r.target_table, r.basis) for r in found.relationships] == [
        ("code_id", "codes_of_law", "operator")
    ]
    assert not found.candidates


def test_what_was_asserted_before_stays_while_it_is_likely_and_goes_when_it_is_not() -> None:
    known = {("logs", "invoice_id", "invoices"), ("lines", "gpx_id", "gpx_data")}
    found = tables(
        "logs: id, invoice_id, invoice_type text\ninvoices: id\nlines: id, gpx_id\ngpx_data: id\ngpx_files: id"
    )

    def held(at: float, before: set[tuple[str, str, str]]) -> set[str]:
        return {r.source_table for r in relationships.infer(found, assert_at=at, before=before).relationships}

    assert held(0.95, set()) == set()
    # One is likely (0.9) and stays, the other was never more than one of two (0.48).
    assert held(0.95, known) == {"logs"}
    rejected = relationships.infer(found, before=known, decisions={("logs", "invoice_id", "invoices"): False})
    assert rejected.relationships == []


def test_every_relation_says_why_and_how_sure() -> None:
    found = relationships.infer(tables("orders: id, customer_id\ncustomers: id")).relationships[0]
    assert found.evidence
    assert 0.7 < found.confidence < 1
    assert found.relation == "customer"


def test_thousands_of_tables_take_seconds_not_minutes() -> None:
    text = "\n".join(
        f"thing_{i}: id, thing_{(i * 7) % 1500}_id, owner_{i}_id, note text" for i in range(1500)
    )
    found = relationships.infer(tables(text))
    assert len(found.relationships) > 1000
