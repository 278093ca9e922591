"""Signed URLs of the file store: deterministic, verifiable, unforgeable by accident."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.sandbox import signing

FAR = 4_070_908_800  # 2099-01-01
KEY = "562949953421312/562949954421312/photos/562949973421312/site photo #1.jpg"


@given(key=st.text(min_size=1, max_size=300), company=st.integers(0, 2**53), project=st.integers(0, 2**53))
def test_every_key_comes_back_from_its_own_url(key: str, company: int, project: int) -> None:
    assert signing.verify(signing.sign(key, company, project, FAR), 0) == signing.Verified(key, FAR)


def test_equal_arguments_give_an_equal_url_of_the_known_shape() -> None:
    url = signing.sign(KEY, 1, 2, FAR)
    assert url == signing.sign(KEY, 1, 2, FAR)
    assert url.startswith("https://storage.procore.example/api/v5/files/")
    assert "?companyId=1&projectId=2&sig=" in url


def test_a_path_without_host_verifies_too() -> None:
    path = signing.sign(KEY, 1, 2, FAR).removeprefix(signing.HOST)
    assert signing.verify(path, 0) == signing.Verified(KEY, FAR)


def test_an_expired_url_is_refused_and_says_so() -> None:
    assert signing.verify(signing.sign(KEY, 1, 2, 1_000), 1_000) == signing.Refused("expired", KEY, 1_000)


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"),
        lambda url: url.replace("companyId=1", "companyId=9"),
        lambda url: url.replace("projectId=2", "projectId=9"),
        lambda url: url.replace("/files/", "/files/A"),
        lambda url: url.partition("?")[0],
    ],
    ids=["signature", "company", "project", "opaque", "no query"],
)
def test_a_changed_url_is_refused(change) -> None:
    assert signing.verify(change(signing.sign(KEY, 1, 2, FAR)), 0) == signing.Refused("bad_signature")


def test_another_path_is_malformed() -> None:
    assert signing.verify("/elsewhere?sig=1", 0) == signing.Refused("malformed")


def test_signing_keeps_up_with_a_bulk_load() -> None:
    start = time.perf_counter()
    for number in range(5_000):
        signing.sign(KEY, 1, number, FAR)
    assert time.perf_counter() - start < 0.5
