"""Typed Python values and the server's text give one and the same string, for every type and extreme."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion import values
from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.postgres import sql
from ingestion.schema_discovery import Column

PREPARE = """
CREATE TYPE mood AS ENUM ('sad', 'so so', 'glad "really"');
CREATE TYPE place AS (name text, spot point, since timestamptz, tags text[], note text, ok boolean);
CREATE DOMAIN moment AS timestamptz;
CREATE DOMAIN numbers AS int[];
"""

# Type, and literals that are hard for it.
VALUES: dict[str, list[str]] = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "32767"],
    "integer": ["0", "-2147483648"],
    "bigint": ["-9223372036854775808", "9223372036854775807", "562949953421313"],
    "numeric": ["1.50", "-0.00", "NaN", "1e-20", "9999999999999.99", "123456789012345678901234567890.1", "1e30"],
    "numeric(15,2)": ["9999999999999.99", "0"],
    "real": ["1.1", "1e6", "999999", "1e-5", "0.0001", "3.4028235e38", "1.4e-45", "NaN", "-Infinity", "-0"],
    "double precision": ["0.1", "1e15", "1e14", "123456789012345680", "1e-5", "5e-324", "1.7976931348623157e308",
                         "NaN", "Infinity", "-0", "0.0001", "100"],
    "money": ["-1234.56"],
    "text": ["", "null", "ü 😀 \u202eabc", "a\tb\r\nc", "NULL", "2024-01-01 00:00:00"],
    "character varying(36)": ["trailing  "],
    "character(5)": ["ab", ""],
    '"char"': ["x", ""],
    "name": ["a name"],
    "timestamp without time zone": [
        "2024-01-31 08:05:00.12", "2024-01-31 08:05:00", "infinity", "-infinity", "0044-03-15 12:00 BC",
        "12345-01-01", "294276-12-31 23:59:59.999999", "4713-01-01 00:00 BC", "0001-01-01",
        "9999-12-31 23:59:59.999999",
    ],
    "timestamp(3) without time zone": ["2024-01-31 08:05:00.120"],
    "timestamp with time zone": [
        "2024-01-31 08:05:00.12+02", "infinity", "-infinity", "0044-03-15 12:00+00 BC", "12345-01-01 00:00+00",
        "0001-01-01 00:00+00", "9999-12-31 23:59:59.999999+00", "0001-01-01 00:00+05", "1900-01-01 00:00:00+00",
    ],
    "date": [
        "2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "5874897-12-31", "0001-01-01", "4713-01-01 BC",
    ],
    "time without time zone": ["00:00", "24:00:00", "23:59:59.999999", "08:05:00.120"],
    "time with time zone": ["08:05:00.5+02", "24:00:00-03:30", "01:02:03+00:00:15", "08:00-15:59"],
    "interval": [
        "1 mon", "30 days", "26:00:00", "1 day 02:00:00", "-1 days +02:00:00", "-02:00:00",
        "1 year -1 mons +3 days", "00:00:00", "-1 year -2 mons +3 days -04:05:06.789", "178000000 years",
        "infinity", "1.5 seconds", "-0.5 sec",
    ],
    "uuid": ["00112233-4455-6677-8899-AABBCCDDEEFF"],
    "bytea": ["\\x", "\\x00ff10"],
    "bit(5)": ["10101"],
    "bit varying": ["1", "101010101010", ""],
    "inet": ["10.0.0.1", "10.0.0.1/8", "::1", "2001:db8::/32"],
    "cidr": ["10.0.0.0/8", "10.0.0.1/32", "2001:db8::/32"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "json": ['{"b" : 1,  "a":[1,2.50,"\\u00e9"]}', "null", '"text"', "1e400"],
    "jsonb": ['{"b" : 1,  "aa":[1,2.50,"\\u00e9"], "b": 2}', "null",
              "123456789012345678901234567890.10", "[]", '"é\\\\"'],
    "int4range": ["[1,5)", "empty", "(,)", "(,5)", "[3,)"],
    "numrange": ["[1.50,2.0]", "(NaN,)"],
    "daterange": ["[2024-01-01,infinity)", "(,0044-03-15 BC)"],
    "tsrange": ['["2024-01-01 00:00","2024-02-01 12:30:00.5"]', "[infinity,infinity]"],
    "tstzrange": ['["2024-01-01 00:00+01","12345-01-01 00:00+00")'],
    "int4multirange": ["{[1,3),[5,9)}", "{}"],
    "tstzmultirange": ['{["2024-01-01 00:00+00","2024-01-02 00:00+00")}'],
    "point": ["(1,2.5)", "(1e20,-0)"],
    "line": ["{1,2,3.5}"],
    "lseg": ["[(1,2),(3,4)]"],
    "box": ["(3,4),(1,2)"],
    "path": ["((0,0),(1,1),(2,0))", "[(0,0),(1,1.5)]"],
    "polygon": ["((0,0),(1,1),(2,0))"],
    "circle": ["<(1,2),3.5>"],
    "tsvector": ["'fat':2 'rat':3A"],
    "tsquery": ["'fat' & 'rat'"],
    "pg_lsn": ["16/B374D848"],
    "oid": ["4294967295"],
    "xid": ["42"],
    "xid8": ["42"],
    "tid": ["(7,3)"],
    "pg_snapshot": ["10:20:10,14,15"],
    "jsonpath": ['$."a"[*]?(@ > 1)'],
    "mood": ["sad", "so so", 'glad "really"'],
    "place": ['("a b","(1,2)","2024-01-01 00:00+00","{a,""b c"",NULL}",,t)', "(,,,,,)",
              '("""q"" \\\\","(0,0)",infinity,{},"",f)'],
    "moment": ["2024-01-31 08:05:00.12+02", "infinity"],
    "numbers": ["{1,NULL,3}"],
    "integer[]": ["{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "[0:1]={7,8}"],
    "bigint[]": ["{562949953421313,NULL}"],
    "text[]": ['{a,"b c",NULL,"NULL","","q\\"\\\\"}', "{ü,\u0001}"],
    "boolean[]": ["{t,f,NULL}"],
    "numeric[]": ["{1.50,NaN,2}"],
    "real[]": ["{1.1,1e6,Infinity,NaN}"],
    "double precision[]": ["{0.1,1e15,-Infinity}"],
    "timestamp without time zone[]": ['{"2024-01-31 08:05:00.12",infinity,NULL,"0044-03-15 12:00 BC"}'],
    "timestamp with time zone[]": ['{"2024-01-31 08:05:00.12+00",infinity,"12345-01-01 00:00+00"}'],
    "date[]": ["{2024-02-29,infinity}"],
    "interval[]": ['{"26:00:00","1 mon"}'],
    "uuid[]": ["{00112233-4455-6677-8899-aabbccddeeff}"],
    "jsonb[]": ['{"{\\"a\\": 1}",NULL,"[]"}'],
    "bytea[]": ['{"\\\\x00ff"}'],
    "mood[]": ['{sad,"so so"}'],
    "place[]": ['{"(\\"a b\\",\\"(1,2)\\",,{x},,t)"}'],
    "int4range[]": ['{"[1,5)",empty}'],
    "character varying(9)[]": ["{ab,NULL}"],
}  # fmt: skip

BASE_TYPES = {"moment": "timestamptz", "numbers": "_int4"}


def _column(data_type: str) -> Column:
    return Column("c", data_type, True, base_type=BASE_TYPES.get(data_type, ""))


@pytest.fixture
async def db(empty_database: str) -> Any:
    connection = await asyncpg.connect(empty_database)
    await connection.execute(PREPARE)
    # The machine's own settings must not matter.
    await connection.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''America/St_Johns''', current_database());"
        " EXECUTE format('ALTER DATABASE %I SET datestyle = ''German''', current_database());"
        " EXECUTE format('ALTER DATABASE %I SET intervalstyle = ''iso_8601''', current_database());"
        " EXECUTE format('ALTER DATABASE %I SET bytea_output = ''escape''', current_database());"
        " EXECUTE format('ALTER DATABASE %I SET extra_float_digits = -5', current_database()); END $$"
    )
    await connection.close()
    database = DatabaseConnection(ConnectionConfig.from_url(empty_database))
    await database.connect()
    yield database
    await database.close()


async def _both(
    db: DatabaseConnection, data_type: str, literals: list[str]
) -> list[tuple[str, str | None, str | None]]:
    """(literal, text from the typed value, text from the server's text) of each."""
    column = _column(data_type)
    rows = ", ".join(f"({n}, {sql.literal(text)}::{data_type})" for n, text in enumerate(literals))
    source = f"(VALUES {rows}) AS t(n, c)"
    typed = await db.execute(f"SELECT c FROM {source} ORDER BY n")
    kind = sql.base_type(column)
    texts: list[str | None] = []
    async with aclosing(
        db.text_batches(f"SELECT {sql.text_column(column)} FROM {source} ORDER BY n")
    ) as batches:
        async for batch in batches:
            texts += [None if cell is None else values.canonical(cell, kind) for (cell,) in batch]
    return [
        (lit, values.to_text(row["c"], kind), text)
        for lit, row, text in zip(literals, typed, texts, strict=True)
    ]


async def test_typed_values_and_server_text_give_the_same_string(db: DatabaseConnection) -> None:
    different = []
    for data_type, literals in VALUES.items():
        for literal, typed, text in await _both(db, data_type, literals):
            if typed != text:
                different.append((data_type, literal, typed, text))
    assert different == []


async def test_promised_spellings(db: DatabaseConnection) -> None:
    promised = {
        ("boolean", "true"): "true",
        ("numeric", "1.50"): "1.50",
        ("timestamp(3) without time zone", "2024-01-31 08:05:00.120"): "2024-01-31T08:05:00.12",
        ("timestamp with time zone", "2024-01-31 08:05:00+02"): "2024-01-31T06:05:00Z",
        ("timestamp with time zone", "0044-03-15 12:00+00 BC"): "0044-03-15T12:00:00Z BC",
        ("timestamp without time zone", "12345-01-01"): "12345-01-01T00:00:00",
        ("timestamp without time zone", "-infinity"): "-infinity",
        ("date", "0044-03-15 BC"): "0044-03-15 BC",
        ("time without time zone", "24:00:00"): "24:00:00",
        ("interval", "1 mon"): "1 mon",
        ("jsonb", '{"b":1,"a":"\\u00e9"}'): '{"a": "é", "b": 1}',
        ("integer[]", "{1,NULL,3}"): "[1,null,3]",
        ("bytea", "\\x00ff"): "\\x00ff",
        ("inet", "10.0.0.1"): "10.0.0.1",
        ("character(5)", "ab"): "ab   ",
        ("moment", "2024-01-31 08:05:00+02"): "2024-01-31T06:05:00Z",
    }
    for (data_type, literal), wanted in promised.items():
        assert await _both(db, data_type, [literal]) == [(literal, wanted, wanted)], data_type


async def test_a_dict_has_the_server_s_spacing(db: DatabaseConnection) -> None:
    for document in ({"a": [1, 2.5, None, True, {"é": '\u0001\n"\\'}], "bb": {}}, [], ["x"], {"n": 10**30}):
        text = json.dumps(document)
        ((_, _, served),) = await _both(db, "jsonb", [text])
        assert values.to_text(document, "jsonb") == served


async def test_one_bad_cell_does_not_fail_its_batch(db: DatabaseConnection) -> None:
    rows = await db.execute(
        "SELECT CASE WHEN n = 5 THEN '12345-01-01'::timestamptz ELSE '2024-01-01'::timestamptz END AS t"
        " FROM generate_series(1, 9) AS n"
    )
    assert [type(row["t"]).__name__ for row in rows].count("str") == 1


async def test_any_moment_and_float_agree(db: DatabaseConnection) -> None:
    moments: list[int] = []
    floats: list[float] = []

    @settings(max_examples=120, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.integers(-210_866_803_200, 9_223_371_331_199).map(lambda s: s * 1_000_000),
        st.floats(allow_nan=False, allow_infinity=False),
        st.floats(allow_nan=False, allow_infinity=False, width=32),
        st.integers(0, 999_999),
    )
    def collect(us: int, wide: float, narrow: float, fraction: int) -> None:
        moments.append(us + fraction)
        floats.extend((wide, narrow, float(us), float(2**fraction) if fraction < 1023 else 0.1))

    collect()
    rows = await db.execute(
        "SELECT t, t::text AS t_text, d, d::text AS d_text, i, i::text AS i_text FROM unnest($1::bigint[]) AS us,"
        " LATERAL (SELECT us / 86400000000 * interval '1 day' + us % 86400000000 * interval '1 us' AS i) AS a,"
        " LATERAL (SELECT timestamptz 'epoch' + i AS t, (timestamp 'epoch' + i)::date AS d) AS b",
        moments,
    )
    for us, row in zip(moments, rows, strict=True):
        canonical = values.canonical(row["t_text"], "timestamptz")
        assert values.to_text(row["t"], "timestamptz") == canonical
        assert values.epoch_ms(canonical) == us // 1000
        assert values.to_text(row["d"]) == row["d_text"]
        assert values.to_text(row["i"]) == row["i_text"]
    rows = await db.execute("SELECT f, f::text AS text FROM unnest($1::float8[]) AS f", floats)
    assert [values.to_text(row["f"]) for row in rows] == [row["text"] for row in rows]
    small = [f for f in floats if abs(f) < 3e38 and (f == 0 or abs(f) > 1e-37)]
    rows = await db.execute(
        "SELECT f::float4 AS f, f::float4::text AS text FROM unnest($1::float8[]) AS f", small
    )
    assert [values.to_text(row["f"], "float4") for row in rows] == [row["text"] for row in rows]


async def test_long_cells_arrive_cut_one_character_over(db: DatabaseConnection) -> None:
    limit = sql.CELL_LIMIT_BYTES
    for data_type, literal in (("text", "repeat('é', 2000000)"), ("jsonb", "to_jsonb(repeat('x', 2000000))"),
                               ("bytea", "convert_to(repeat('x', 2000000), 'UTF8')"),
                               ("text[]", "array_fill('word'::text, ARRAY[300000])")):  # fmt: skip
        column = _column(data_type)
        async with aclosing(
            db.text_batches(f"SELECT {sql.text_column(column)} FROM (SELECT {literal} AS c) t")
        ) as rows:
            async for ((cell,),) in rows:
                assert cell is not None
                assert limit < len(cell.encode()) <= 4 * (limit + 1)
                kept, was_cut = values.cut(cell)
                assert was_cut
                assert limit - 3 <= len(kept.encode()) <= limit
