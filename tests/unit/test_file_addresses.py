"""Which addresses may be contacted, and what content may be the file."""

from __future__ import annotations

import pytest

from ingestion import errors
from ingestion.files import sniffing
from ingestion.files.addresses import AddressPolicy, GuardedResolver, is_public, rewritten

STRICT = AddressPolicy()
NAMED = AddressPolicy.of(
    allow_private=False, hosts=["minio.lan"], urls=["http://127.0.0.1:9000", "https://10.0.0.1"]
)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
     "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1",
     "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "fd00:ec2::254", "not an ip"],
)  # fmt: skip
def test_everything_else_is_not(address: str) -> None:
    assert not is_public(address)


def test_only_the_named_host_and_port_are_excepted() -> None:
    NAMED.check_url("http://127.0.0.1:9000/a")
    NAMED.check_url("https://10.0.0.1/a")
    for url in ("http://127.0.0.1:9001/a", "http://10.0.0.1/a", "http://[::1]:9000/"):
        with pytest.raises(errors.DownloadError, match="private address"):
            NAMED.check_url(url)
    assert NAMED.permits("MINIO.lan", 1234, "192.168.0.5")


async def test_a_name_that_leads_inside_is_refused_when_it_is_resolved() -> None:
    resolver = GuardedResolver(STRICT)
    with pytest.raises(errors.DownloadError, match="localhost leads to a private address"):
        await resolver.resolve("localhost", 80)
    assert await GuardedResolver(AddressPolicy(allow_private=True)).resolve("localhost", 80)


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("https://s.example/a?x=1", "http://127.0.0.1:1/a?x=1"),
        ("https://s.example", "http://127.0.0.1:1"),
        ("https://s.example.evil.test/a", "https://s.example.evil.test/a"),
        ("https://other.example/a", "https://other.example/a"),
    ],
)
def test_a_rewrite_replaces_whole_hosts_only(url: str, result: str) -> None:
    assert rewritten(url, {"https://s.example/": "http://127.0.0.1:1"}) == result


@pytest.mark.parametrize(
    ("kind", "head", "fits"),
    [
        ("pdf", b"%PDF-1.7\n", True), ("pdf", b"junk before %PDF-1.4", True), ("pdf", b"\xff\xd8\xff\xe0", False),
        ("jpg", b"\x89PNG\r\n\x1a\n", True), ("jpg", b"%PDF-1.4", False), ("tif", b"MM\x00*", True),
        ("png", b"<html>", False), ("", b"<!DOCTYPE html>", False), ("jpg", b"", False),
        ("jpg", b"<?xml version='1.0'?><Error>", False), ("html", b"<html>", True), ("xml", b"<?xml ?><a>", True),
        ("dwg", b"AC1032", True), ("", b"anything", True), ("GIF", b"GIF89a", True), ("gif", b"GIF9", False),
    ],
)  # fmt: skip
def test_content_must_fit_the_name(kind: str, head: bytes, fits: bool) -> None:
    assert (sniffing.mismatch(kind, head) == "") is fits
