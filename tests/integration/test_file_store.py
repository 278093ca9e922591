"""The sandbox's file store answers as S3 and as Procore's storage do, with real images and PDFs."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import boto3
import pypdfium2
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from PIL import Image

from ingestion import errors
from ingestion.sandbox import file_contents, file_store, signing

FAR = 4_070_908_800
PHOTO = "1/2/photos/3/site photo #1 %20+é日.jpg"
PLAN = "1/2/drawings/3/Plan A-101.pdf"


@pytest.fixture(scope="module")
def store() -> Iterator[file_store.FileStoreProcess]:
    process = file_store.start()
    yield process
    process.stop()


def _get(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def _signed(store: file_store.FileStoreProcess, key: str, expires: int = FAR) -> str:
    return signing.sign(key, 1, 2, expires).replace(signing.HOST, store.url)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "gif", "tiff", "tif"])
def test_images_are_real_and_differ_by_key(suffix: str) -> None:
    one = file_contents.content_of(f"1/2/photos/3/a.{suffix}")
    two = file_contents.content_of(f"1/2/photos/4/a.{suffix}")
    assert one is not None
    assert two is not None
    assert one.body != two.body
    with Image.open(io.BytesIO(one.body)) as image:
        image.load()
        assert image.width >= 240


def test_a_pdf_says_the_words_of_its_key(store: file_store.FileStoreProcess) -> None:
    status, headers, body = _get(_signed(store, PLAN))
    assert (status, headers["Content-Type"]) == (200, "application/pdf")
    document = pypdfium2.PdfDocument(body)
    text = document[0].get_textpage().get_text_bounded()
    assert "drawings 3 Plan A 101 pdf" in text
    document.close()


def test_a_valid_url_gives_the_content_and_its_etag(store: file_store.FileStoreProcess) -> None:
    content = file_contents.content_of(PHOTO)
    assert content is not None
    status, headers, body = _get(_signed(store, PHOTO))
    assert (status, body, headers["ETag"]) == (200, content.body, content.etag)
    assert _get(_signed(store, PHOTO), **{"If-None-Match": content.etag})[0] == 304


def test_expired_and_forged_urls_are_refused_as_s3_refuses(store: file_store.FileStoreProcess) -> None:
    status, _, body = _get(_signed(store, PHOTO, 1_000))
    assert status == 403
    assert b"<Code>AccessDenied</Code><Message>Request has expired</Message>" in body
    status, _, body = _get(_signed(store, PHOTO) + "0")
    assert status == 403
    assert b"SignatureDoesNotMatch" in body


def test_a_missing_file_is_404(store: file_store.FileStoreProcess) -> None:
    status, _, body = _get(_signed(store, "1/2/photos/3/missing-a.jpg"))
    assert (status, b"NoSuchKey" in body) == (404, True)
    assert _get(f"{store.url}/bucket/1/2/missing-b.pdf")[0] == 404


def test_ranges_are_served_and_checked(store: file_store.FileStoreProcess) -> None:
    whole = _get(_signed(store, PHOTO))[2]
    status, headers, body = _get(_signed(store, PHOTO), Range="bytes=100-199")
    assert (status, body) == (206, whole[100:200])
    assert headers["Content-Range"] == f"bytes 100-199/{len(whole)}"
    assert _get(_signed(store, PHOTO), Range="bytes=100-")[2] == whole[100:]
    assert _get(_signed(store, PHOTO), Range=f"bytes={len(whole)}-")[0] == 416
    assert _get(_signed(store, PHOTO), Range="bytes=1-", **{"If-Range": '"other"'})[0] == 200


def test_boto3_reads_and_heads_any_key(store: file_store.FileStoreProcess) -> None:
    client: Any = boto3.client(
        "s3", endpoint_url=store.url, region_name="us-east-1",
        config=Config(signature_version=UNSIGNED, s3={"addressing_style": "path"}),
    )  # fmt: skip
    content = file_contents.content_of(PHOTO)
    assert content is not None
    answer = client.get_object(Bucket="files", Key=PHOTO)
    assert answer["Body"].read() == content.body
    assert client.head_object(Bucket="files", Key=PHOTO)["ContentLength"] == len(content.body)
    with pytest.raises(ClientError, match="NoSuchKey"):
        client.get_object(Bucket="files", Key="1/2/missing-x.pdf")
    client.close()


def test_the_path_is_decoded_once(store: file_store.FileStoreProcess) -> None:
    content = file_contents.content_of(PHOTO)
    assert content is not None
    assert _get(f"{store.url}/files/{quote(PHOTO)}")[2] == content.body


def test_a_port_in_use_is_named(store: file_store.FileStoreProcess) -> None:
    port = int(store.url.rpartition(":")[2])
    with pytest.raises(errors.IngestionError, match=f"port {port} cannot be used"):
        file_store.start(port)


def test_stopping_twice_is_harmless() -> None:
    process = file_store.start()
    process.stop()
    process.stop()
