"""Secrets in text: gone wherever they stand, and nothing else is touched."""

from __future__ import annotations

import html
import io
import json
import logging
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.redaction import REDACTED, Redactor, redact_each, redact_text, redact_url

SECRET = "Zm9vYmFy0192-x_y~z.9"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://s/x?companyId=1&projectId=2&sig=§", "https://s/x?companyId=1&projectId=2&sig=REDACTED"),
        ("https://s/x?sig=§&projectId=2#top", "https://s/x?sig=REDACTED&projectId=2#top"),
        ("https://s/x?X-Amz-Credential=§&X-Amz-Date=§&x=1", "https://s/x?X-Amz-Credential=REDACTED&X-Amz-Date=REDACTED&x=1"),
        ("https://s/x?Expires=§&Policy=§&Key-Pair-Id=§", "https://s/x?Expires=REDACTED&Policy=REDACTED&Key-Pair-Id=REDACTED"),
        ("https://s/x?token=§&access_token=§&token_type=b", "https://s/x?token=REDACTED&access_token=REDACTED&token_type=b"),
        ("see https://s/x?sig=§.", "see https://s/x?sig=REDACTED."),
        ("(https://s/x?sig=§), [https://s/x?sig=§]", "(https://s/x?sig=REDACTED), [https://s/x?sig=REDACTED]"),
        ("{https://s/x?sig=§,https://s/y?sig=§}", "{https://s/x?sig=REDACTED,https://s/y?sig=REDACTED}"),
        ('<a href="https://s/x?a=1&amp;sig=§">', '<a href="https://s/x?a=1&amp;sig=REDACTED">'),
        ("https://s/x?a=1&#38;sig=§", "https://s/x?a=1&#38;sig=REDACTED"),
        (r'{"u": "https:\/\/s\/x?a=1\u0026sig=§\/T"}', r'{"u": "https:\/\/s\/x?a=1\u0026sig=REDACTED"}'),
        ("https://r/?to=https%3A%2F%2Fs%2Fx%3Fa%3D1%26sig%3D§%26b%3D2", "https://r/?to=https%3A%2F%2Fs%2Fx%3Fa%3D1%26sig%3DREDACTED%26b%3D2"),
        ("https://r/?to=https%253A%252F%252Fs%253Fsig%253D§%2526b", "https://r/?to=https%253A%252F%252Fs%253Fsig%253DREDACTED%2526b"),
        ("https://s/x?X%2DAmz%2DSignature=§", "https://s/x?X%2DAmz%2DSignature=REDACTED"),
        ("https://s/cb#access_token=§&state=1", "https://s/cb#access_token=REDACTED&state=1"),
        ("postgresql://u:§@h/d?sslmode=require", "postgresql://u:REDACTED@h/d?sslmode=require"),
        ("postgres://u:p@ss/w@h/d", "postgres://u:REDACTED@h/d"),
        ("https://u:§@h/p", "https://u:REDACTED@h/p"),
        ("host=h password=§ dbname=d", "host=h password=REDACTED dbname=d"),
        ("password='§ §' PGPASSWORD=§", "password=REDACTED PGPASSWORD=REDACTED"),
        ("Authorization: Bearer §", "Authorization: Bearer REDACTED"),
    ],
)  # fmt: skip
def test_secrets_are_replaced_and_the_rest_stays(text: str, expected: str) -> None:
    redacted = redact_text(text.replace("§", SECRET))
    assert redacted == expected
    assert redact_text(redacted) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "", "plain text", "a=b&c=d", "the policy is: expires=never", "signature pending", "What? sig",
        "bearer bonds due",
        "https://s/x?companyId=1&design=2&monkey=3", "s3/key/with spaces & signs = fun.pdf", "x?sig=",
        "mail@example.test",
        "=SUM(A1:A9)", "https://s/x?sort=token_type", "key=value; author=me", "100% sig nificant",
    ],
)  # fmt: skip
def test_text_without_secrets_comes_back_unchanged(text: str) -> None:
    assert redact_text(text) is text or redact_text(text) == text


def _json_escaped(url: str) -> str:
    return json.dumps({"u": url}).replace("&", "\\u0026").replace("/", "\\/")


WRAPPINGS: tuple[Callable[[str], str], ...] = (
    lambda url: url,
    lambda url: f"see {url} and go on",
    lambda url: f"<a href='{html.escape(url)}'>x</a>",
    lambda url: json.dumps({"url": url, "n": 1}),
    _json_escaped,
    lambda url: json.dumps({"payload": json.dumps({"url": url})}),
    lambda url: f"https://r.example/?next={quote(url, safe='')}&z=1",
    lambda url: f"https://r.example/?next={quote(quote(url, safe=''), safe='')}&z=1",
    lambda url: f"[link]({url})",
    lambda url: f"{{{url},{url}}}",
)
_SIGNING = st.sampled_from(
    ["sig", "Signature", "token", "X-Amz-Signature", "X-Amz-Security-Token", "Policy", "access_token"]
)
_SIGNATURE = st.text("abcdefghijkmnopqrstuvwxyzABCDEF0123456789-_.~%+/", min_size=12, max_size=60).map(
    lambda s: "q7" + s.replace("%", "%2F") + "7q"
)


@given(_SIGNING, _SIGNATURE, st.sampled_from(WRAPPINGS))
def test_a_signature_is_found_in_every_wrapping(
    name: str, signature: str, wrap: Callable[[str], str]
) -> None:
    url = f"https://storage.example/f/1?companyId=7&{name}={signature}&projectId=9"
    redacted = redact_text(wrap(url))
    assert REDACTED in redacted
    for wrapped in (signature, wrap(signature), json.dumps(signature)[1:-1], quote(signature, safe="")):
        assert wrapped not in redacted
    assert "companyId" in redacted
    assert "projectId" in redacted
    assert redact_text(redacted) == redacted


@given(st.text())
def test_redaction_is_idempotent_and_never_fails(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


def test_resigning_a_url_changes_nothing_that_is_stored() -> None:
    urls = [f"https://s/f/1?companyId=1&projectId=2&sig={sig}" for sig in ("abc%2B", "zzz", "1.2.3~")]
    assert len({redact_url(url) for url in urls}) == 1


def test_long_text_is_handled_in_linear_time() -> None:
    for text in (
        "?sig=" * 60_000,
        "%26sig%3D" * 40_000,
        "://" + "a:" * 100_000 + "@",
        "password=" * 40_000,
        "&" * 300_000,
    ):
        redact_text(text)


# -- logging -----------------------------------------------------------------------------------------------


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(Redactor(["hunter2 & co", "tok3n-value"]))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, stream


def test_a_known_secret_leaves_no_log_record(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    logger.warning("login with %s failed at %s", "hunter2 & co", "postgresql://u:hunter2%20%26%20co@h/d")
    logger.warning("broken %d", "tok3n-value")
    try:
        raise ValueError("cause tok3n-value")
    except ValueError:
        logger.exception("while using tok3n-value", stack_info=True)
    logger.error("extra", extra={"url": "https://s/x?sig=abc"})
    text = stream.getvalue()
    assert "Traceback" in text
    assert "hunter2" not in text
    assert "tok3n" not in text
    assert text.count(REDACTED) >= 5


def test_very_short_secrets_do_not_ruin_the_log() -> None:
    redactor = Redactor(["a", "", "abc"])
    assert redactor.redact("abcabc a") == "abcabc a"


PIECES = (
    "https://h/a?sig=", "&token=", "abc", "password = '", "'", "Bearer ", "0123456789abcdef", "\n", ", ", "postgres://u:",
    "p@ss", "@host", "%26sig%3D", "\\u0026sig=", "pwd=", "x", "?expires=", "=",
)  # fmt: skip
MADE_OF_PIECES = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)


@given(st.lists(st.none() | MADE_OF_PIECES | st.text(max_size=20), max_size=6))
def test_texts_together_are_redacted_as_each_by_itself(texts: list[str | None]) -> None:
    assert list(redact_each(texts)) == [text and redact_text(text) for text in texts]
