"""Figures, times, states and text from data, as they are written everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from app import formatting as f
from app.widgets.fuzzy import ranked, score
from app.widgets.ink import fit, width_of, wrap
from app.widgets.row_list import ListColumn, lay_out


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0"), (9_999, "9,999"), (48_389, "48.4k"), (999_960, "1.0M"), (45_000_000, "45.0M"), (None, "—")],
)
def test_short_counts(number: int | None, expected: str) -> None:
    assert f.short_count(number) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.42, "0.4s"), (12, "12s"), (59.6, "1m 00s"), (185, "3m 05s"), (7_800, "2h 10m"), (None, "—")],
)
def test_durations(seconds: float | None, expected: str) -> None:
    assert f.duration(seconds) == expected


@pytest.mark.parametrize(
    ("size", "expected"), [(0, "0 B"), (1023, "1023 B"), (4_404_019, "4.2 MiB"), (2**40, "1.0 TiB")]
)
def test_sizes(size: int, expected: str) -> None:
    assert f.size(size) == expected


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, "0%"), (0.0001, "<1%"), (0.9999, "99%"), (1.0, "100%"), (None, "—")]
)
def test_a_percentage_never_claims_an_end_that_is_not_there(share: float | None, expected: str) -> None:
    assert f.percent(share) == expected


def test_times_are_utc_with_z() -> None:
    assert f.moment(1_769_846_700.0) == "2026-01-31 08:05:00Z"
    assert f.ago(1_769_846_700.0, 1_769_846_700.0 + 7300) == "2h ago"


@given(st.floats(0, 1), st.integers(0, 120))
def test_a_bar_fills_its_width_and_is_full_only_at_the_end(share: float, width: int) -> None:
    done, rest = f.bar(share, width)
    assert len(done) + len(rest) == width
    assert (rest == "" and "╸" not in done) == (share == 1.0 or width == 0) or width == 0
    assert f.bar(share, width, f.ASCII)[0].isascii()


@given(st.text())
def test_text_from_data_cannot_steer_the_terminal(text: str) -> None:
    shown = f.safe(text)
    assert not any((ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200f\u200e")
    assert "\n" not in f.one_line(text)
    assert f.safe(text, glyphs=f.ASCII).isascii()


@pytest.mark.parametrize("state", ["pending", "running", "partial", "failed", "never heard of"])
def test_a_state_has_a_glyph_and_a_word_in_both_glyph_sets(state: str) -> None:
    for glyphs in (f.UNICODE, f.ASCII):
        mark = f.state_mark(state, glyphs)
        assert mark.glyph
        assert mark.word


@pytest.mark.parametrize(
    ("encoding", "environ", "unicode"),
    [
        ("utf-8", {"LANG": "en_US.UTF-8", "TERM": "xterm"}, True),
        ("utf-8", {"LANG": "C", "TERM": "xterm"}, False),
        ("ascii", {"TERM": "xterm"}, False),
        ("utf-8", {"TERM": "dumb"}, False),
        ("utf-8", {"TERM": "linux"}, False),
        ("utf-8", {"TERM": "dumb", "PROCORE_INGEST_GLYPHS": "unicode"}, True),
    ],
)
def test_glyphs_follow_the_terminal(encoding: str, environ: dict[str, str], unicode: bool) -> None:
    assert f.glyphs_for(encoding, environ).unicode is unicode


def test_passwords_and_signatures_are_taken_out_of_messages() -> None:
    text = "postgresql://u:secret@h/db https://x/y?a=1&sig=abc&expires=9"
    assert f.redacted(text) == "postgresql://u:***@h/db https://x/y?a=1&sig=REDACTED&expires=REDACTED"


# -- painting ----------------------------------------------------------------------------------------------

WIDE = st.text(st.sampled_from("ab ç漢字é🏗\u0301"), max_size=30)


@given(st.lists(st.tuples(WIDE, st.sampled_from(["", "bad"])), max_size=4), st.integers(1, 30), st.booleans())
def test_runs_fill_exactly_their_cells(runs: list[tuple[str, str]], width: int, right: bool) -> None:
    assert width_of(fit(runs, width, right=right)) == width


@given(WIDE, st.integers(2, 20))
def test_wrapped_lines_never_pass_the_width_and_lose_nothing_but_blanks(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(
    st.lists(
        st.builds(
            ListColumn,
            st.uuids().map(str),
            st.just("T"),
            st.integers(0, 12),
            st.integers(1, 3),
            st.integers(3, 12),
            drop=st.integers(0, 5),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(20, 200),
)
def test_columns_use_the_room_and_pass_it_only_when_none_may_go(
    columns: list[ListColumn], width: int
) -> None:
    laid = lay_out(columns, width)
    used = sum(size for _, size in laid) + 2 * (len(laid) - 1)
    assert used <= width or not any(column.drop for column, _ in laid)
    assert all(size >= (column.width or column.minimum) for column, size in laid)


def test_fuzzy_matching_prefers_what_people_mean() -> None:
    names = ["commitment_change_order_items", "commitment_contract_items", "photos", "prime_contracts"]
    assert ranked("photo", names, str) == ["photos"]
    assert ranked("contract", names, str)[0] in {"prime_contracts", "commitment_contract_items"}
    assert "photos" not in ranked("cmtitm", names, str)
    assert score("xyz", "photos") == 0
