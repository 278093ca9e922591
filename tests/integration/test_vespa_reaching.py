"""Vespa behind TLS, client certificates, tokens and proxies, each a real server; and what is said when it fails."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import itertools
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ingestion import errors, settings
from ingestion.connections import Connections
from ingestion.vespa import client
from ingestion.vespa.feeding import Feeder, Verdict
from ingestion.vespa.operations import Operation

READINGS = itertools.count(1)
LOCALHOST = ipaddress.ip_address("127.0.0.1")


# --------------------------------------------------------------- certificates


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that signs for servers and clients, all in one folder."""

    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def pem(self) -> str:
        path = self.folder / f"{self.name}.pem"
        if not path.exists():
            path.write_bytes(self._sign(self.name, self.key, None).public_bytes(serialization.Encoding.PEM))
        return str(path)

    def issue(self, name: str, usage: x509.ObjectIdentifier, password: bytes = b"") -> tuple[str, str]:
        """Paths of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        paths = (self.folder / f"{name}.crt", self.folder / f"{name}.key")
        paths[0].write_bytes(self._sign(name, key, usage).public_bytes(serialization.Encoding.PEM))
        hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        kind = serialization.PrivateFormat.PKCS8
        paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, hidden))
        return str(paths[0]), str(paths[1])

    def _sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, usage: x509.ObjectIdentifier | None
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
        )
        if usage is not None:
            names = x509.SubjectAlternativeName([x509.IPAddress(LOCALHOST)])
            builder = builder.add_extension(names, critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(self.key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("strangers"), "stranger")


# ------------------------------------------------------------- servers between


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@dataclass(slots=True)
class Relay:
    """A server that hands every connection on; a forward proxy when it has no `target` of its own."""

    target: tuple[str, int] | None = None
    refuses: bytes = b""
    asked: list[str] = field(default_factory=list)
    protocols: list[str | None] = field(default_factory=list)
    """What was agreed on by ALPN for each connection over TLS."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (tls := writer.get_extra_info("ssl_object")) is not None:
            self.protocols.append(tls.selected_alpn_protocol())
        target, first = self.target, b""
        if target is None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, address, _ = head.split(" ", 2)
            self.asked.append(f"{method} {address}")
            if self.refuses:
                writer.write(self.refuses)
                await writer.drain()
                writer.close()
                return
            if method == "CONNECT":
                host, _, port = address.partition(":")
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                parts = urlsplit(address)
                host, port = str(parts.hostname), str(parts.port)
                first = head.encode()  # an absolute address is fine with every server (RFC 9112, 3.2.2)
            target = (host, int(port))
        inner, outer = await asyncio.open_connection(*target)
        outer.write(first)
        await asyncio.gather(_pump(reader, outer), _pump(inner, writer))


@asynccontextmanager
async def serving(relay: Relay, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    running: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.create_task(relay.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 0)


def tls_server(authority: Authority, clients: Authority | None = None) -> ssl.SSLContext:
    """The server's side of TLS; with `clients` only those whom that authority signed come in."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("server", ExtendedKeyUsageOID.SERVER_AUTH))
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.pem)
    return context


async def fed_and_found(session: client.VespaSession) -> bool:
    """Whether a put, a search and a get get through: every kind of request that we send."""
    operation = Operation(
        "put", client.RECORD, "rfis:1", next(READINGS), {"doc_id": "rfis:1", "content_text": "x" * 5000}
    )
    (outcome,) = await Feeder(session, deadline_s=0.5).feed([operation])
    found = await session.query({"yql": "select * from procore_record where doc_id contains 'rfis:1'"})
    stored = await session.document(client.RECORD, "rfis:1")
    return outcome.verdict is Verdict.ACCEPTED and bool(found["fields"]["totalCount"]) and stored is not None


async def refused(session: client.VespaSession) -> errors.VespaUnavailable:
    async with session:
        with pytest.raises(errors.VespaUnavailable) as caught:
            await session.is_up()
    return caught.value


# ------------------------------------------------------------------------- TLS


async def test_vespa_is_fed_and_asked_over_tls(vespa_url: str, namespace: str, authority: Authority) -> None:
    async with serving(Relay(address(vespa_url)), tls_server(authority)) as port:
        vespa = client.build(f"https://127.0.0.1:{port}", ca_cert=authority.pem)
        async with client.VespaSession(vespa, namespace=namespace) as session:
            assert await fed_and_found(session)


async def test_a_certificate_that_nobody_vouches_for_is_refused_and_says_what_to_give(
    vespa_url: str, authority: Authority, stranger: Authority
) -> None:
    async with serving(Relay(address(vespa_url)), tls_server(authority)) as port:
        url = f"https://127.0.0.1:{port}"
        for vespa in (client.build(url), client.build(url, ca_cert=stranger.pem)):
            error = await refused(client.VespaSession(vespa))
            assert "certificate" in str(error)
            assert "--vespa-ca-cert" in error.hint


async def test_mutual_tls_shows_our_certificate(vespa_url: str, namespace: str, authority: Authority) -> None:
    cert, key = authority.issue("us", ExtendedKeyUsageOID.CLIENT_AUTH)
    async with serving(Relay(address(vespa_url)), tls_server(authority, authority)) as port:
        url = f"https://127.0.0.1:{port}"
        vespa = client.build(url, cert=cert, key=key, ca_cert=authority.pem)
        async with client.VespaSession(vespa, namespace=namespace) as session:
            assert await fed_and_found(session)
            recipe = session.recipe()
        # What another process makes of it knows the same authority and shows the same certificate.
        async with client.VespaSession.from_recipe(recipe) as session:
            assert await fed_and_found(session)


@pytest.mark.parametrize("speaks", ["h2", "http/1.1"])
async def test_many_documents_share_a_connection_over_tls_where_the_server_chooses_http_2(
    vespa_url: str, namespace: str, authority: Authority, speaks: str
) -> None:
    cert, key = authority.issue("feeder", ExtendedKeyUsageOID.CLIENT_AUTH)
    context = tls_server(authority, authority)
    context.set_alpn_protocols([speaks])
    relay = Relay(address(vespa_url))
    async with serving(relay, context) as port:
        vespa = client.build(f"https://127.0.0.1:{port}", cert=cert, key=key, ca_cert=authority.pem)
        async with client.VespaSession(vespa, namespace=namespace) as session:
            feeder = Feeder(session, deadline_s=5)
            fields = {"source_table": "rfis", "content_text": "x" * 3000}
            seq = next(READINGS)
            outcomes = await feeder.feed(
                [Operation("put", client.RECORD, f"rfis:{n}", seq, fields) for n in range(300)]
            )
            assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
            assert await session.document(client.RECORD, "rfis:299") is not None
    shared = [protocol for protocol in relay.protocols if protocol == "h2"]
    assert len(shared) == (2 if speaks == "h2" else 0)


async def test_mutual_tls_without_a_certificate_or_with_a_strangers_is_explained(
    vespa_url: str, authority: Authority, stranger: Authority
) -> None:
    cert, key = stranger.issue("stranger", ExtendedKeyUsageOID.CLIENT_AUTH)
    async with serving(Relay(address(vespa_url)), tls_server(authority, authority)) as port:
        url = f"https://127.0.0.1:{port}"
        error = await refused(client.VespaSession(client.build(url, ca_cert=authority.pem)))
        assert "--vespa-cert" in error.hint, error
        vespa = client.build(url, cert=cert, key=key, ca_cert=authority.pem)
        error = await refused(client.VespaSession(vespa))
        assert "security/clients.pem" in error.hint, error


async def test_tls_spoken_to_a_plain_port_is_explained(vespa_url: str) -> None:
    error = await refused(client.VespaSession(client.build(vespa_url.replace("http:", "https:"))))
    assert "http://" in error.hint, error


@pytest.mark.parametrize("what", ["missing", "encrypted", "not a pair", "no authority"])
def test_files_that_cannot_be_used_are_named_before_anything_is_sent(
    what: str, authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.issue("pair", ExtendedKeyUsageOID.CLIENT_AUTH)
    ca_cert = None
    if what == "missing":
        cert = str(tmp_path / "none.pem")
    elif what == "encrypted":
        _, key = authority.issue("hidden", ExtendedKeyUsageOID.CLIENT_AUTH, b"secret")
    elif what == "not a pair":
        _, key = authority.issue("other", ExtendedKeyUsageOID.CLIENT_AUTH)
    else:
        ca_cert = str(tmp_path / "none.pem")
    with pytest.raises(errors.SettingsError, match="cannot be used") as caught:
        client.VespaSession(client.build("https://127.0.0.1:1", cert=cert, key=key, ca_cert=ca_cert))
    assert "PEM" in caught.value.hint


# --------------------------------------------------------------------- proxies


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_everything_goes_through_the_proxy_that_the_environment_names(
    scheme: str, vespa_url: str, namespace: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Relay()
    async with (
        serving(Relay(address(vespa_url)), tls_server(authority) if scheme == "https" else None) as port,
        serving(proxy) as proxy_port,
    ):
        monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{proxy_port}")
        vespa = client.build(f"{scheme}://127.0.0.1:{port}", ca_cert=authority.pem)
        async with client.VespaSession(vespa, namespace=namespace) as session:
            assert await fed_and_found(session)
        through = len(proxy.asked)
        assert through
        assert proxy.asked[0].startswith("CONNECT" if scheme == "https" else "POST http://")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with client.VespaSession(vespa, namespace=namespace) as session:
            assert await fed_and_found(session)
        assert len(proxy.asked) == through


async def test_a_proxy_that_refuses_or_is_not_there_is_named(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with serving(Relay(refuses=says)) as proxy_port:
        for port in (proxy_port, 1):
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
            error = await refused(client.VespaSession(client.build("https://vespa.example")))
            assert "HTTPS_PROXY" in error.hint, error


# ---------------------------------------------------------- logins and answers


async def test_a_token_opens_the_door_and_a_wrong_one_is_told_without_being_shown() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer right":
            return web.json_response({"message": "Forbidden"}, status=403)
        return web.json_response({"status": {"code": "up"}})

    app = web.Application()
    app.router.add_get("/state/v1/health", answer)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        async with client.VespaSession(client.build(url, token="right")) as session:
            assert await session.is_up()
        error = await refused(client.VespaSession(client.build(url, token="wrong-secret")))
        assert "refuses the login (403: Forbidden)" in str(error)
        assert "token" in error.hint
        assert "wrong-secret" not in f"{error}{error.hint}"


async def test_nobody_there_and_a_name_that_is_none_are_told_apart() -> None:
    error = await refused(client.VespaSession(client.build("http://127.0.0.1:1")))
    assert "vespa serve" in error.hint
    error = await refused(client.VespaSession(client.build("http://no-such-host.invalid:8080")))
    assert "cannot be reached" in str(error)
    assert "name" in error.hint


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, {"root": {"errors": [{"message": "Could not resolve source ref 'procore_schema'"}]}},
         errors.IndexError, "vespa deploy"),
        (504, {"root": {"errors": [{"message": "Timed out"}]}}, errors.VespaUnavailable, "doctor"),
        (503, "<html>busy</html>", errors.VespaUnavailable, "doctor"),
        (200, "<html>Welcome to the portal</html>", errors.VespaUnavailable, "--vespa-url"),
    ],
)  # fmt: skip
async def test_an_answer_that_helps_nobody_says_the_next_step(
    status: int, body: object, kind: type[errors.IngestionError], said: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_post("/search/", answer)
    async with (
        TestServer(app) as server,
        client.VespaSession(client.build(str(server.make_url("")))) as session,
    ):
        with pytest.raises(kind) as caught:
            await session.query({"yql": "select * from procore_schema where true"})
    assert said in caught.value.hint


# ------------------------------------------- the vespa command line's own set-up


@pytest.fixture
def cli_home(tmp_path: Path, authority: Authority) -> Path:
    """As `vespa config set` and `vespa auth cert` leave it."""
    (tmp_path / "tenant.app.default").mkdir()
    cert, key = authority.issue("cli", ExtendedKeyUsageOID.CLIENT_AUTH)
    Path(cert).rename(tmp_path / "tenant.app.default" / "data-plane-public-cert.pem")
    Path(key).rename(tmp_path / "tenant.app.default" / "data-plane-private-key.pem")
    return tmp_path


def loaded(home: Path, config: str, **environment: str) -> settings.Settings:
    (home / "config.yaml").write_text(config)
    return settings.load(environment={"VESPA_CLI_HOME": str(home), **environment}, folder=home)


async def test_target_and_key_pair_of_the_vespa_command_line_are_used(
    cli_home: Path, vespa_url: str, namespace: str, authority: Authority
) -> None:
    async with serving(Relay(address(vespa_url)), tls_server(authority, authority)) as port:
        found = loaded(
            cli_home,
            f"application: tenant.app.default\ntarget: https://127.0.0.1:{port}\n",
            VESPA_CLI_DATA_PLANE_CA_CERT_FILE=authority.pem,
        )
        connections = Connections(replace(found, namespace=namespace), logging.getLogger("test"))
        try:
            assert await fed_and_found(await connections.index())
        finally:
            await connections.close()


def test_what_is_named_beats_the_vespa_command_line(cli_home: Path) -> None:
    config = "application: tenant.app\ntarget: cloud\n"
    folder = cli_home / "tenant.app.default"
    cloud = "https://abc.vespa-app.cloud"
    assert loaded(cli_home, config).vespa_url == settings.DEFAULT_VESPA_URL
    assert loaded(cli_home, config, VESPA_URL=cloud).vespa_cert == str(folder / "data-plane-public-cert.pem")
    assert loaded(cli_home, config, VESPA_URL=cloud).vespa_key == str(folder / "data-plane-private-key.pem")
    assert loaded(cli_home, config, VESPA_URL=cloud, VESPA_TOKEN="t").vespa_cert == ""
    assert loaded(cli_home, config, VESPA_URL=cloud, VESPA_CERT="mine.pem").vespa_key == ""
    # Nobody else is shown the certificate.
    assert loaded(cli_home, config, VESPA_URL="https://other.example").vespa_cert == ""
    named = loaded(cli_home, "target: http://one:8080/\n", VESPA_URL="http://two:8080")
    assert named.vespa_url == "http://two:8080"
    assert loaded(cli_home, "target: http://one:8080/\n").vespa_url == "http://one:8080"


@pytest.mark.parametrize("config", ["", "not: [yaml", "\x00", "target:\n  deeper: x", "target: local"])
def test_a_configuration_that_says_nothing_changes_nothing(cli_home: Path, config: str) -> None:
    assert loaded(cli_home, config).vespa_url == settings.DEFAULT_VESPA_URL
