"""References taken apart by the short way and by the standard library are the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.files import references
from ingestion.files.references import parse_url_reference

NEVER = re.compile(r"(?!)")

urls = st.builds(
    lambda scheme, host, port, path, query, fragment: f"{scheme}://{host}{port}{path}{query}{fragment}",
    st.sampled_from(["http", "https", "HTTP"]),
    st.sampled_from(
        [
            "a.example",
            "b.s3.amazonaws.com",
            "s3.eu-west-1.amazonaws.com",
            "A.example",
            "u:p@h",
            "[::1]",
            "a..b",
            "",
        ]
    ),
    st.sampled_from(["", ":80", ":99999", ":x"]),
    st.sampled_from(["", "/"]).flatmap(
        lambda lead: st.text("a/%20.é?\\\n[:@", max_size=12).map(lead.__add__)
    ),
    st.sampled_from(["", "?", "?a=b&c", "?response-content-disposition=filename%3Dx.pdf"]),
    st.sampled_from(["", "#", "#f?x"]),
)


@given(urls)
def test_both_ways_name_the_same_file(url: str) -> None:
    short = parse_url_reference(url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "_PLAIN_URL", NEVER)
        assert parse_url_reference(url) == short
