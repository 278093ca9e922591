"""Files by key from a real S3 server: credentials, regions and addresses as AWS has them, and every refusal."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_world import REGION, Answer, Asked, S3World, served

from ingestion.file_detector import DetectedFile
from ingestion.file_downloader import DownloadResult, DownloadStrategy, FileDownloader
from ingestion.files.transfer import RetryPolicy

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 2000
SUM = hashlib.sha256(JPEG).hexdigest()
KEY = "1/2/photos/3/site photo #1 %20+é日.jpg"
HASTE = RetryPolicy(attempts=3, first_wait_s=0.001, longest_wait_s=0.002)


@pytest.fixture(scope="module")
def world() -> Iterator[S3World]:
    with served() as one:
        one.put(KEY, JPEG, ContentType="image/jpeg")
        yield one


@pytest.fixture
def s3(world: S3World, monkeypatch: pytest.MonkeyPatch) -> S3World:
    """The server, and a reader's credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREADER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "5ecret-of-the-reader")
    world.asked.clear()
    return world


Make = Callable[..., FileDownloader]


@pytest.fixture
def make(s3: S3World, tmp_path: Path) -> Make:
    def build(**config: str) -> FileDownloader:
        given = {"bucket": "files", "endpoint_url": s3.url, "region_name": REGION, "addressing_style": "path"}
        aws = {name: value for name, value in (given | config).items() if value}
        return FileDownloader(
            tmp_path / "files", DownloadStrategy.PROCORE_URL, aws_config=aws, retries=HASTE,
            max_file_size=len(JPEG) * 2,
        )  # fmt: skip

    return build


def _file(key: str = KEY, url: str | None = None, **more: Any) -> DetectedFile:
    record, name = more.pop("record", "8"), more.pop("name", "a.jpg")
    return DetectedFile(key, "photos", record, "s3_key", name, None, url, **more)


def _first(status: str, body: bytes = b"") -> Callable[[Asked, Answer], Answer]:
    """The first request is answered so, all others truly."""
    done: list[Asked] = []

    def change(asked: Asked, answer: Answer) -> Answer:
        if done:
            return answer
        done.append(asked)
        return status, [("Content-Length", str(len(body))), ("Content-Type", "application/xml")], body

    return change


async def test_a_key_is_fetched_with_the_environments_credentials_in_the_given_region(
    s3: S3World, make: Make
) -> None:
    result = await make().download(_file())
    assert (result.success, result.checksum, result.content_type) == (True, SUM, "image/jpeg"), result.error
    (asked,) = s3.asked
    assert "Credential=AKIAREADER/" in asked.authorization
    assert f"/{REGION}/s3/" in asked.authorization
    assert asked.path.startswith("/files/1/2/photos/3/")


async def test_a_profile_gives_credentials_region_and_endpoint(
    s3: S3World, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(f"[profile site]\nregion = eu-north-1\nendpoint_url = {s3.url}\n")
    (tmp_path / "credentials").write_text("[site]\naws_access_key_id = AKIASITE\naws_secret_access_key = x\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    result = await make(profile_name="site", region_name="", endpoint_url="").download(_file())
    assert result.success, result.error
    assert "Credential=AKIASITE/" in s3.asked[0].authorization
    assert "/eu-north-1/s3/" in s3.asked[0].authorization


async def test_the_bucket_stands_in_the_path_or_in_the_host_as_set(
    s3: S3World, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **more: Any) -> Any:
        return real("127.0.0.1" if host == "files.localhost" else host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    await make().download(_file())
    endpoint = s3.url.replace("127.0.0.1", "localhost")
    await make(addressing_style="virtual", endpoint_url=endpoint).download(_file(record="9"))
    in_path, in_host = s3.asked
    assert in_path.path.startswith("/files/1/2/")
    assert in_host.host.startswith("files.localhost:")
    assert in_host.path.startswith("/1/2/")


async def test_an_s3_address_names_its_own_bucket(s3: S3World, make: Make) -> None:
    result = await make(bucket="").download(_file(bucket="files"))
    assert result.success, result.error


@pytest.mark.parametrize(
    ("key", "config", "cause"),
    [
        ("1/2/photos/3/gone.jpg", {}, "http_404"),
        (KEY, {"bucket": "no-such-bucket"}, "no_bucket"),
        (KEY, {"bucket": "Not A Bucket!"}, "bad_url"),
        ("half\ud800.jpg", {}, "bad_url"),
        ("1/2/../../../etc/passwd", {}, "http_404"),
        ("a\x00b.jpg", {}, "http_404"),
        (KEY, {"profile_name": "never heard of"}, "no_credentials"),
    ],
    ids=["key", "bucket", "no bucket's name", "surrogate", "dots", "NUL", "profile"],
)  # fmt: skip
async def test_what_is_not_there_is_named_and_asked_for_once(
    s3: S3World, make: Make, key: str, config: dict[str, str], cause: str, tmp_path: Path
) -> None:
    result = await make(**config).download(_file(key))
    assert (result.status, result.cause) == ("failed", cause)
    assert len(s3.asked) <= 1
    assert [p for p in (tmp_path / "files").rglob("*") if p.is_file()] == []


REFUSALS = {
    "InvalidAccessKeyId": ("403 Forbidden", "http_403"), "SignatureDoesNotMatch": ("403 Forbidden", "http_403"),
    "AccessDenied": ("403 Forbidden", "http_403"), "ExpiredToken": ("400 Bad Request", "no_credentials"),
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(REFUSALS))
async def test_refused_credentials_are_said_once_and_never_shown(s3: S3World, make: Make, code: str) -> None:
    status, cause = REFUSALS[code]
    body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
    with s3.twisted(_first(status, body)):
        result = await make().download(_file())
    assert (result.cause, len(s3.asked)) == (cause, 1)
    assert "5ecret" not in repr(result)


async def test_without_any_credentials_s3_itself_is_not_asked(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    result = await make(endpoint_url="").download(_file())
    assert (result.cause, result.hint) == ("no_credentials", "Give them in the usual places.")


@pytest.mark.parametrize(
    "status", ["500 X", "503 Slow Down", "429 Too Many Requests"]
)  # fmt: skip
async def test_a_store_that_is_busy_is_asked_again(s3: S3World, make: Make, status: str) -> None:
    with s3.twisted(_first(status)):
        result = await make().download(_file())
    assert (result.success, result.checksum, len(s3.asked)) == (True, SUM, 2), result.error


async def test_a_broken_transfer_goes_on_by_range(s3: S3World, make: Make) -> None:
    def cut(asked: Asked, answer: Answer) -> Answer:
        status, headers, body = answer
        return (status, headers, body[:300_000]) if len(s3.asked) == 1 else answer

    with s3.twisted(cut):
        result = await make().download(_file())
    assert (result.success, result.checksum) == (True, SUM), result.error
    whole, rest = s3.asked
    assert (whole.range, rest.range, rest.status) == ("", "bytes=300000-", 206)


async def test_a_file_replaced_between_two_pieces_is_fetched_anew(s3: S3World, make: Make) -> None:
    s3.put("moving.jpg", JPEG[::-1])

    def cut(asked: Asked, answer: Answer) -> Answer:
        status, headers, body = answer
        if len(s3.asked) > 1:
            return answer
        s3.put("moving.jpg", JPEG)
        s3.asked.append(asked)
        return status, headers, body[:300_000]

    with s3.twisted(cut):
        result = await make().download(_file("moving.jpg"))
    assert (result.success, result.checksum) == (True, SUM), result.error


async def test_an_unchanged_file_is_asked_about_only(s3: S3World, make: Make) -> None:
    first = await make().download(_file())
    again = await make().download(_file(), etag=first.etag)
    assert (again.success, again.cause, s3.asked[-1].status) == (True, "unchanged", 304)


async def test_content_that_differs_from_its_stated_checksum_is_refused(s3: S3World, make: Make) -> None:
    s3.put("sum.jpg", JPEG, ChecksumAlgorithm="SHA256")

    def flip(asked: Asked, answer: Answer) -> Answer:
        status, headers, body = answer
        return status, headers, body[:-1] + b"!"

    assert (await make().download(_file("sum.jpg"))).success
    with s3.twisted(flip):
        result = await make().download(_file("sum.jpg", record="9"))
    assert (result.success, result.cause) == (False, "wrong_content")


@pytest.mark.parametrize("by", ["key", "url"])
async def test_a_file_uploaded_in_parts_is_no_wrong_content(s3: S3World, make: Make, by: str) -> None:
    """Its stated checksum is over the parts' checksums."""
    upload = {"Bucket": "files", "Key": "parts.jpg"}
    upload_id = s3.client.create_multipart_upload(**upload, ChecksumAlgorithm="SHA256")["UploadId"]
    part = s3.client.upload_part(
        **upload, UploadId=upload_id, PartNumber=1, Body=JPEG, ChecksumAlgorithm="SHA256"
    )
    parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}]
    s3.client.complete_multipart_upload(**upload, UploadId=upload_id, MultipartUpload={"Parts": parts})
    file = _file("parts.jpg") if by == "key" else _file("", s3.signed("parts.jpg"))
    result = await make().download(file)
    assert (result.success, result.checksum) == (True, SUM), result.error


async def test_what_was_uploaded_compressed_is_stored_as_the_file_it_is(s3: S3World, make: Make) -> None:
    s3.put("zipped.jpg", gzip.compress(JPEG), ContentEncoding="gzip", ContentType="image/jpeg")
    s3.put("bomb.jpg", gzip.compress(bytes(20_000_000)), ContentEncoding="gzip")
    result = await make().download(_file("zipped.jpg"))
    assert (result.success, result.checksum) == (True, SUM), result.error
    bomb = await make().download(_file("bomb.jpg", record="9"))
    assert (bomb.status, bomb.cause) == ("skipped", "too_large")


async def test_a_signed_url_is_fetched_without_boto3_and_s3_takes_over_when_it_is_refused(
    s3: S3World, make: Make
) -> None:
    signed = await make().download(_file(url=s3.signed(KEY)))
    assert (signed.success, signed.checksum, s3.asked[0].authorization) == (True, SUM, "")
    s3.asked.clear()
    refusal = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    with s3.twisted(_first("403 Forbidden", refusal)):
        result = await make().download(_file(url=s3.signed(KEY), record="9"))
    assert (result.success, result.checksum) == (True, SUM), result.error
    by_url, by_key = s3.asked
    assert (by_url.authorization, "AKIAREADER" in by_key.authorization) == ("", True)


async def test_where_s3_lets_us_in_no_further_the_urls_failure_is_told_with_both_reasons(
    s3: S3World, make: Make
) -> None:
    refusal = b"<Error><Message>Request has expired</Message></Error>"

    def refuse(asked: Asked, answer: Answer) -> Answer:
        return "403 Forbidden", [("Content-Length", str(len(refusal)))], refusal

    with s3.twisted(refuse):
        result = await make().download(_file(url=s3.signed(KEY)))
    assert result.cause == "expired_url"
    assert "; from S3: " in (result.error or "")


async def test_s3_has_threads_of_its_own_and_no_more_of_them_than_allowed(
    s3: S3World, tmp_path: Path
) -> None:
    names: set[str] = set()

    def note(file: DetectedFile, size: int) -> None:
        names.add(threading.current_thread().name)

    config = {"bucket": "files", "endpoint_url": s3.url, "addressing_style": "path", "region_name": REGION}
    async with FileDownloader(
        tmp_path / "f", aws_config=config, concurrency=3, on_progress=note
    ) as downloader:
        results: list[DownloadResult] = await asyncio.gather(
            *(
                downloader.download(_file(bucket="files", record=str(n), file_id=f"{n:032x}"))
                for n in range(9)
            )
        )
    assert all(r.success for r in results)
    assert names
    assert all(name.startswith("s3") for name in names)
    assert len(names) <= 3
