"""A real S3 server in this process: moto behind a door that notes what it is asked and can be told to misbehave."""

from __future__ import annotations

import logging
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

REGION = "eu-central-1"
Answer = tuple[str, list[tuple[str, str]], bytes]
"""Status line, headers and body."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its path as sent, and the headers that say who asks for what."""

    method: str
    path: str
    host: str
    authorization: str
    range: str
    status: int


@dataclass(slots=True)
class S3World:
    """`asked` grows with every request; `twist` may change the answer to the next ones."""

    url: str
    client: Any
    asked: list[Asked] = field(default_factory=list)
    twist: Callable[[Asked, Answer], Answer] | None = None

    def put(self, key: str, body: bytes, **more: Any) -> None:
        self.client.put_object(Bucket="files", Key=key, Body=body, **more)
        self.asked.clear()

    def signed(self, key: str, seconds: int = 3600) -> str:
        """A URL as S3 signs them."""
        params = {"Bucket": "files", "Key": key}
        url: str = self.client.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)
        return url

    @contextmanager
    def twisted(self, change: Callable[[Asked, Answer], Answer]) -> Iterator[None]:
        self.twist = change
        try:
            yield
        finally:
            self.twist = None

    def door(self, inner: Any) -> Any:
        def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            noted: list[Any] = []
            body = b"".join(inner(environ, lambda status, headers, exc=None: noted.extend((status, headers))))
            status, headers = noted
            asked = Asked(
                environ["REQUEST_METHOD"], environ.get("RAW_URI", environ["PATH_INFO"]),
                environ.get("HTTP_HOST", ""), environ.get("HTTP_AUTHORIZATION", ""),
                environ.get("HTTP_RANGE", ""), int(status.split()[0]),
            )  # fmt: skip
            self.asked.append(asked)
            if self.twist is not None:
                status, headers, body = self.twist(asked, (status, headers, body))
            start_response(status, headers)
            return [body]

        return serve


@contextmanager
def served() -> Iterator[S3World]:
    """The server with the bucket `files`, on a random port, until the block ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    world = S3World("", None)
    app = world.door(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    world.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, name="moto", daemon=True).start()
    try:
        # What it holds outlives the server: it belongs to the process.
        urllib.request.urlopen(urllib.request.Request(f"{world.url}/moto-api/reset", method="POST")).close()
        world.client = boto3.client(
            "s3", endpoint_url=world.url, region_name=REGION, aws_access_key_id="maker",
            aws_secret_access_key="maker", config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip
        world.client.create_bucket(Bucket="files", CreateBucketConfiguration={"LocationConstraint": REGION})
        yield world
        world.client.close()
    finally:
        server.shutdown()
        server.server_close()
