"""Cells that hold JSON: copies of API answers, custom fields, time cards, logs."""

from __future__ import annotations

from random import Random
from typing import Final

from ingestion.sandbox.sample.attachments import attachment, attachment_id, names
from ingestion.sandbox.sample.cells import (
    Maker,
    amount,
    day_text,
    outside_low,
    stamp_text,
    with_nulls,
)
from ingestion.sandbox.sample.chunk import DAY_MS, NULL, Chunk, user_name, vendor_name
from ingestion.sandbox.sample.secrets import planted_secrets
from ingestion.sandbox.sample.world import mix

ENTITIES: Final = [
    "projects",
    "drawings",
    "photos",
    "rfis",
    "submittals",
    "change_events",
    "commitment_contracts",
    "requisitions",
    "timesheets",
    "direct_costs",
    "specification_sections",
    "vendors",
    "company_users",
    "daily_logs",
    "documents",
]
_UOM: Final = ("ls", "ea", "hr", "sf", "LF", "Ton")
_SECRET_SHARE: Final = 0.01


def custom_fields(chunk: Chunk, random: Random) -> list[str]:
    """0 to 20 custom fields; seven of ten rows have none at all."""
    pool = chunk.pools.custom_fields
    made = []
    for _ in chunk.rows:
        if random.random() < 0.7:
            made.append(NULL)
            continue
        count, start = int(random.random() * 21), int(random.random() * (len(pool) - 20))
        made.append("{" + ", ".join(pool[start : start + count]) + "}")
    return made


def currency(chunk: Chunk, random: Random) -> list[str]:
    """The currency of an amount; half of the rows do not say."""
    usd = (
        '{"currency_iso_code": "USD", "currency_exchange_rate": "1.0", "base_currency_iso_code": "USD"}',
        '{"currency_iso_code": "CAD", "currency_exchange_rate": "0.7342", "base_currency_iso_code": "USD"}',
    )
    return with_nulls(random.choices(usd, (97, 3), k=len(chunk)), random, 0.5)


def id_list(target: str, null: float = 0.4, empty: float = 0.45) -> Maker:
    """A list of ids as numbers or, one of twenty, strings; `target` is a table or a name outside."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        world, made = chunk.world, []
        rows = world.rows.get(target, 0)
        for place in range(len(chunk)):
            share = random.random()
            if share < null:
                made.append(NULL)
                continue
            count = 0 if share < null + empty else 1 + int(random.random() * 6)
            ids = []
            for _ in range(count):
                if target == "drawing_revisions":
                    wheel, rank = world.wheel(target), chunk.ranks[place]
                    room = wheel.count(rank)
                    if not room:
                        break
                    number = world.id(target, wheel.row(rank, int(random.random() * room)))
                elif rows:
                    number = world.id(target, int(random.random() * rows))
                else:
                    number = attachment_id(random)
                ids.append(f'"{number}"' if random.random() < 0.05 else str(number))
            made.append(f"[{', '.join(ids)}]")
        return made

    return make


def attachment_array(chunk: Chunk, random: Random) -> list[str]:
    """bigint[]: attachments of a direct cost; an element is NULL in one of a thousand."""
    made = []
    for _ in chunk.rows:
        share = random.random()
        if share < 0.4:
            made.append(NULL)
        elif share < 0.7:
            made.append("{}")
        else:
            ids = [str(attachment_id(random)) for _ in range(1 + int(random.random() * 5))]
            if random.random() < 0.001:
                ids[-1] = "NULL"
            made.append("{" + ",".join(ids) + "}")
    return made


def outside_object(label: str, null: float, column: str = "") -> Maker:
    """An object that describes what the id column beside it names: a cost code, a type of line."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        low = outside_low(chunk, label)
        words = chunk.pools.words
        made = []
        for _ in chunk.rows:
            pick = int(random.random() ** 2 * 240)
            code = f"{pick // 12 + 1:02d}-{pick % 12 * 100:04d}"
            made.append(
                f'{{"id": {low + pick * 131}, "name": "{words[pick % len(words)]}", '
                f'"flat_code": "{code}", "full_code": "{code}.S"}}'
            )
        return with_nulls(made, random, null)

    return make


def person(null: float = 0.0) -> Maker:
    """{id, name, login} of a company user."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        return with_nulls([_person(chunk, random) for _ in chunk.rows], random, null)

    return make


def _person(chunk: Chunk, random: Random) -> str:
    world = chunk.world
    row = int(random.random() * world.rows["company_users"])
    first, last = user_name(world, row)
    login = f"{first}.{last}{row}@example.test".lower().replace("'", "")
    return f'{{"id": {world.id("company_users", row)}, "name": "{first} {last}", "login": "{login}"}}'


def _vendor(chunk: Chunk, random: Random) -> str:
    row = int(random.random() * chunk.world.rows["vendors"])
    return f'{{"id": {chunk.world.id("vendors", row)}, "name": "{vendor_name(chunk.world, row)}"}}'


def line_items(chunk: Chunk, random: Random) -> list[str]:
    """0 to 40 lines of a change event."""
    made = []
    for _ in chunk.rows:
        lines = [
            f'{{"id": {attachment_id(random)}, "vendor": {_vendor(chunk, random)}, '
            f'"amounts": {{"cost": "{amount(random)}", "revenue": "{amount(random)}"}}, '
            f'"description": "{random.choice(chunk.pools.titles_json)}"}}'
            for _ in range(int(random.random() ** 2 * 41))
        ]
        made.append(f"[{', '.join(lines)}]")
    return made


def rfqs(chunk: Chunk, random: Random) -> list[str]:
    """0 to 8 requests for quotation."""
    made = []
    for _ in chunk.rows:
        found = [
            f'{{"id": {attachment_id(random)}, "number": "{number + 1}", "status": "open", '
            f'"vendor": {_vendor(chunk, random)}}}'
            for number in range(int(random.random() ** 2 * 9))
        ]
        made.append(f"[{', '.join(found)}]")
    return made


def responses(chunk: Chunk, random: Random) -> list[str]:
    """Official responses, with HTML bodies and attachments."""
    made = []
    for place in range(len(chunk)):
        share = random.random()
        if share < 0.3:
            made.append(NULL)
            continue
        parts = []
        count = 0 if share < 0.6 else 1 + int(random.random() * 6)
        files = names(chunk, random, count)
        for step in range(count):
            attached = "[]"
            if random.random() < 0.5 and step < len(files):
                attached = f"[{attachment(chunk, place, 'official_responses', random, files[step])}]"
            parts.append(
                f'{{"id": {attachment_id(random)}, "body": "{random.choice(chunk.pools.html_json)}", '
                f'"official": {"true" if random.random() < 0.3 else "false"}, '
                f'"created_at": "{stamp_text(chunk.created[place] + DAY_MS)[:10]}T08:00:00Z", '
                f'"created_by": {_person(chunk, random)}, "attachments": {attached}}}'
            )
        made.append(f"[{', '.join(parts)}]")
    return made


def timecards(chunk: Chunk, random: Random) -> list[str]:
    """0 to 30 entries of a timesheet: the largest JSON of the database, in the median 4 kB."""
    people = [_person_party(chunk, number) for number in range(60)]
    low = outside_low(chunk, "cost_code_id")
    words = chunk.pools.words
    codes = [f'{{"id": {low + n * 131}, "name": "{words[n % len(words)]}"}}' for n in range(60)]
    kinds = ('{"id": 1, "time_type": "Regular Time"}', '{"id": 2, "time_type": "Overtime"}')
    draw, made = random.random, []
    for created in chunk.created:
        date = day_text(created)
        number = attachment_id(random)
        entries = []
        for step in range(int(draw() * 31)):
            share = draw()
            pick = int(share * 3_600)
            entries.append(
                f'{{"id": {number + step}, "date": "{date}", "hours": "{1 + pick % 9}.{pick % 4 * 25:02d}", '
                f'"party": {people[pick // 60]}, "billable": {"true" if pick % 3 else "false"}, '
                f'"cost_code": {codes[pick % 60]}, "timecard_time_type": {kinds[pick % 8 == 0]}}}'
            )
        made.append(f"[{', '.join(entries)}]")
    return made


def _person_party(chunk: Chunk, number: int) -> str:
    rows = chunk.world.rows["company_users"]
    row = mix(chunk.world.salt("crew") + number) % rows
    name = " ".join(user_name(chunk.world, row))
    return f'{{"id": {chunk.world.id("company_users", row)}, "name": "{name}"}}'


def summary(chunk: Chunk, random: Random) -> list[str]:
    """A requisition's sums: strings, one of ten a number."""
    sums = (
        "total_retainage",
        "contract_sum_to_date",
        "original_contract_sum",
        "current_payment_due",
        "net_change_by_change_orders",
        "total_completed_and_stored_to_date",
    )
    made = []
    for _ in chunk.rows:
        members = []
        for name in sums:
            value = amount(random)
            members.append(f'"{name}": {value}' if random.random() < 0.1 else f'"{name}": "{value}"')
        made.append("{" + ", ".join(members) + "}")
    return made


def log_data(chunk: Chunk, random: Random) -> list[str]:
    """A daily log's 5 to 30 members, nested."""
    made = []
    for _ in chunk.rows:
        members = [
            f'"field_{number}": "{random.choice(chunk.pools.titles_json)}"'
            for number in range(3 + int(random.random() * 26))
        ]
        members.append(
            f'"weather": {{"sky": "clear", "temperature": {{"low": {int(random.random() * 60)}}}}}'
        )
        members.append(f'"created_by": {_person(chunk, random)}')
        made.append("{" + ", ".join(members) + "}")
    return made


def locations(chunk: Chunk, random: Random) -> list[str]:
    """Names of nested locations, or objects that name them."""
    shapes = (
        '["Building A", "Level 3", "Room 301"]',
        '[{"id": 1, "name": "Building A > Level 3", "node_name": "Level 3"}]',
    )
    return with_nulls(random.choices(shapes, k=len(chunk)), random, 0.5)


def amounts_by_id(label: str, null: float) -> Maker:
    """{"<column id>": amount or null}."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        low, made = outside_low(chunk, label), []
        for _ in chunk.rows:
            members = [
                f'"{low + number * 131}": ' + (f'"{amount(random)}"' if random.random() < 0.8 else "null")
                for number in range(int(random.random() * 9))
            ]
            made.append("{" + ", ".join(members) + "}")
        return with_nulls(made, random, null)

    return make


def free_form(null: float) -> Maker:
    """A small object of no fixed shape."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        made = [
            f'{{"note": "{random.choice(chunk.pools.titles_json)}", "factor": {random.random():.6f}, '
            f'"tags": ["{random.choice(chunk.pools.words)}", null, true]}}'
            for _ in chunk.rows
        ]
        return with_nulls(made, random, null)

    return make


def request(chunk: Chunk, random: Random) -> list[str]:
    """Parameters of a request; one of a hundred carries a secret that nothing may publish."""
    secrets, made = planted_secrets(chunk.world.seed)[4:], []
    for place in range(len(chunk)):
        entity = ENTITIES[int(random.random() * len(ENTITIES))]
        page = 1 + int(random.random() * 40)
        project = chunk.world.project_id(int(random.random() * chunk.world.working))
        body = f'"page": {page}, "entity": "{entity}", "per_page": 100, "project_id": {project}'
        if chunk.wants("secret_in_json") and random.random() < _SECRET_SHARE:
            secret = secrets[int(random.random() * len(secrets))]
            shape = int(random.random() * 3)
            body += (
                f', "api_key": "{secret}"',
                f', "headers": {{"Authorization": "Bearer {secret}"}}',
                f', "login": {{"user": "sync", "password": "{secret}"}}',
            )[shape]
            chunk.note(place, "request_parameters", "secret_in_json", "indexed")
        made.append("{" + body + "}")
    return made


def answer(null: float) -> Maker:
    """A copy of an API's answer: a list of records, log-normal in size."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        made = []
        for _ in chunk.rows:
            if random.random() < null:
                made.append(NULL)
                continue
            count = min(200, int(random.lognormvariate(1.2, 1.2)))
            records = [
                f'{{"id": {attachment_id(random)}, "title": "{random.choice(chunk.pools.titles_json)}", '
                f'"description": "{random.choice(chunk.pools.prose_json)}"}}'
                for _ in range(count)
            ]
            made.append(f'{{"total": {count}, "records": [{", ".join(records)}]}}')
        return made

    return make


def entity_types(chunk: Chunk, random: Random) -> list[str]:
    """1 to 15 names of what a sync took."""
    made = []
    for _ in chunk.rows:
        start, count = int(random.random() * 10), 1 + int(random.random() ** 2 * len(ENTITIES))
        made.append("[" + ", ".join(f'"{name}"' for name in ENTITIES[start : start + count]) + "]")
    return made


def record_counts(chunk: Chunk, random: Random) -> list[str]:
    """How many records a sync took of each."""
    draw, made = random.random, []
    for _ in chunk.rows:
        start, count = int(draw() * 10), 1 + int(draw() ** 2 * len(ENTITIES))
        members = [f'"{name}": {int(draw() ** 3 * 900)}' for name in ENTITIES[start : start + count]]
        made.append("{" + ", ".join(members) + "}")
    return made


def sync_errors(null: float) -> Maker:
    """What went wrong, with stacks: some few of 200 kB."""

    def make(chunk: Chunk, random: Random) -> list[str]:
        made = []
        for _ in chunk.rows:
            if random.random() < null:
                made.append(NULL)
                continue
            frames = 1_800 if random.random() < 0.02 else 4 + int(random.random() ** 3 * 60)
            entity = ENTITIES[int(random.random() * len(ENTITIES))]
            stack = "\\\\n".join(
                f"    at {entity}Sync.step{number} (/app/dist/sync/{entity}.js:{number * 7 + 11}:{number % 80})"
                for number in range(frames)
            )
            made.append(
                f'[{{"stack": "Error: request failed\\\\n{stack}", "entity": "{entity}", '
                f'"message": "429 Too Many Requests"}}]'
            )
        return made

    return make


def invoice(chunk: Chunk, random: Random) -> list[str]:
    """What was sent to the accounting system."""
    return [
        f'{{"uom": "{random.choice(_UOM)}", "total": "{amount(random)}", "lines": {int(random.random() * 30)}}}'
        for _ in chunk.rows
    ]
