"""Servers that take every document and keep none: nginx where installed, else granian; and one that records.

Both speak HTTP/1.1 and cleartext HTTP/2 and answer what a sync asks before it begins: the largest `read_seq`,
health, and visits of an empty index.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote

import orjson

DOCUMENT = '{"pathId":"/document/v1/","id":"id:sink"}'
VISIT = '{"pathId":"/document/v1/","documents":[],"documentCount":0}'
SEARCH = '{"root":{"fields":{"totalCount":0},"children":[]}}'
HEALTH = '{"status":{"code":"up"}}'

_NGINX = """
user root; daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 0;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi; default_type application/json;
  http2_max_concurrent_streams 1024;
  server {{
    listen 127.0.0.1:{one}; listen 127.0.0.1:{two} http2;
    location = /search/ {{ return 200 '{search}'; }}
    location = /state/v1/health {{ return 200 '{health}'; }}
    location ~ /docid/$ {{ return 200 '{visit}'; }}
    location / {{ return 200 '{document}'; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Sink:
    """`url` speaks HTTP/1.1, `h2_url` cleartext HTTP/2 with prior knowledge."""

    name: str
    url: str
    h2_url: str
    pid: int


@contextmanager
def sink(home: Path) -> Iterator[Sink]:
    """The fastest sink that this machine has."""
    home.mkdir(parents=True, exist_ok=True)
    one, two = _free_ports()
    if shutil.which("nginx"):
        config = home / "nginx.conf"
        config.write_text(
            _NGINX.format(
                home=home, one=one, two=two, search=SEARCH, health=HEALTH, visit=VISIT, document=DOCUMENT
            )
        )
        argv, name = ["nginx", "-c", str(config), "-e", str(home / "error.log")], "nginx"
    else:
        two = one
        argv, name = [sys.executable, "-m", "tests.benchmarks.sinks", str(one)], "granian"
    server = subprocess.Popen(argv)
    try:
        _wait_for(one)
        yield Sink(name, f"http://127.0.0.1:{one}", f"http://127.0.0.1:{two}", server.pid)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


@asynccontextmanager
async def recorder(path: Path) -> AsyncIterator[str]:
    """The URL of a sink that writes every operation to `path`, in the JSON lines that `vespa feed` reads."""
    with path.open("wb") as out:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except (asyncio.IncompleteReadError, ConnectionError):
                    break
                if head.startswith(b"PRI "):
                    break  # asks for HTTP/2, which this one does not speak
                lines = head.decode().split("\r\n")
                method, target, _ = lines[0].split(" ")
                length = next((int(x[15:]) for x in lines if x.lower().startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                answer = answer_of(method, target)
                if answer == DOCUMENT:
                    out.write(_operation(method, target, body) + b"\n")
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(answer), answer.encode())
                )
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**27)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def answer_of(method: str, target: str) -> str:
    """What a sink says to a request."""
    path = target.partition("?")[0]
    if path == "/search/":
        return SEARCH
    if path == "/state/v1/health":
        return HEALTH
    return VISIT if method == "GET" and path.endswith("/docid/") else DOCUMENT


def _operation(method: str, target: str, body: bytes) -> bytes:
    path, _, query = target.partition("?")
    _, _, _, namespace, doc_type, _, user = path.split("/", 6)
    params = parse_qs(query)
    verb = {"POST": "put", "DELETE": "remove"}[method]
    operation: dict[str, object] = {verb: f"id:{unquote(namespace)}:{doc_type}::{unquote(user)}"}
    if "condition" in params:
        operation["condition"] = params["condition"][0]
    if params.get("create") == ["true"]:
        operation["create"] = True
    if body:
        operation |= orjson.loads(body)
    return orjson.dumps(operation)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the sink does not answer")


def _serve(port: int) -> None:
    """The sink of machines without nginx: granian, which speaks both protocols on one port."""
    from granian.constants import Interfaces
    from granian.server import Server

    Server("tests.benchmarks.sinks:application", "127.0.0.1", port, interface=Interfaces.RSGI).serve()


async def application(scope: object, protocol: object) -> None:
    """An RSGI application."""
    await protocol()  # type: ignore[operator]
    path = f"{scope.path}?"  # type: ignore[attr-defined]
    answer = answer_of(scope.method, path)  # type: ignore[attr-defined]
    protocol.response_str(200, [("content-type", "application/json")], answer)  # type: ignore[attr-defined]


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
