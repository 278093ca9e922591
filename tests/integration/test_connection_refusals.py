"""What an operator gets wrong about the source has its own sentence each, and no secret in it."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from db_world import Relay, admin, answering, connected

from ingestion import errors
from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres

SECRET = "geheim-5up3r"


async def _refusal(url: str) -> errors.IngestionError:
    db = DatabaseConnection(replace(ConnectionConfig.from_url(url), connect_timeout_s=0.5))
    with pytest.raises(errors.IngestionError) as caught:
        await db.connect()
    assert not db.is_connected
    await db.close()
    error = caught.value
    assert SECRET not in f"{error} {error.hint} {db.config!r}"
    assert error.hint
    assert "\n" not in str(error)
    return error


async def test_each_failure_to_connect_has_its_own_sentence(postgres: EmbeddedPostgres) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    login = f"postgresql://postgres:{SECRET}@"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = await _refusal(f"{login}127.0.0.1:{unused.getsockname()[1]}/x?sslmode=disable")
    assert "refuses connections" in str(refused)
    assert "unknown" in str(await _refusal(f"{login}no-such-host.invalid/x"))
    assert "does not exist" in str(await _refusal(postgres.url("no_such_database")))
    assert "role" in str(await _refusal(postgres.url("postgres", user="nobody")))
    assert "has no PostgreSQL socket" in str(await _refusal("postgresql://postgres@/x?host=/nowhere"))
    async with Relay(ConnectionConfig.from_url(postgres.url("postgres")).host) as plain:
        no_tls = await _refusal(f"{login}127.0.0.1:{plain.port}/postgres")
    assert "does not offer an encrypted connection" in str(no_tls)
    assert "sslmode=disable" in no_tls.hint
    async with answering(silent) as port:
        assert "did not answer in time" in str(await _refusal(f"{login}127.0.0.1:{port}/x?sslmode=disable"))


async def test_server_refusals_are_told_apart() -> None:
    def refusing(code: str, message: str) -> Callable[..., Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(8)
            fields = f"SFATAL\0VFATAL\0C{code}\0M{message}\0\0".encode()
            writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
            await writer.drain()
            writer.close()

        return serve

    for code, message, expected, hinted in (
        ("28P01", "password authentication failed", "refuses the password", "PGPASSWORD"),
        ("53300", "sorry, too many clients already", "no free connection", "workers"),
        ("28000", "no pg_hba.conf entry for host, no encryption", "only encrypted", "sslmode=require"),
    ):
        async with answering(refusing(code, message)) as port:
            error = await _refusal(f"postgresql://u:{SECRET}@127.0.0.1:{port}/x?sslmode=disable")
        assert expected in str(error)
        assert hinted in error.hint


async def test_a_table_without_rights_is_named(empty_database: str, postgres: EmbeddedPostgres) -> None:
    async with admin(empty_database) as other:
        await other.execute(
            "CREATE TABLE hidden (a int); DROP ROLE IF EXISTS limited; CREATE ROLE limited LOGIN"
        )
    database = ConnectionConfig.from_url(empty_database).database
    async with connected(postgres.url(database, user="limited")) as db:
        with pytest.raises(errors.SchemaError, match="hidden") as caught:
            await db.execute("SELECT * FROM hidden")
        assert "GRANT SELECT" in caught.value.hint
    async with admin(empty_database) as other:
        await other.execute("DROP ROLE limited")


async def test_queries_before_connect_say_what_is_missing() -> None:
    db = DatabaseConnection(ConnectionConfig.from_url("postgresql://u@h/x"), logging.getLogger("test"))
    assert not db.is_connected
    with pytest.raises(errors.SourceUnavailable, match="not connected"):
        await db.execute("SELECT 1")
    await db.close()


def _certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate of `localhost`, and the context of a server that has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    file, private = folder / "server.pem", folder / "server.key"
    file.write_bytes(made.public_bytes(form))
    private.write_bytes(
        key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, private)
    return file, context


async def test_sslmode_decides_what_is_verified(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    certificate, context = _certificate(tmp_path)
    folder = ConnectionConfig.from_url(postgres.url("postgres")).host
    async with Relay(folder, tls=context) as front:
        for host, query, works in (
            ("127.0.0.1", "", True),
            ("127.0.0.1", "sslmode=require", True),
            ("127.0.0.1", f"sslmode=verify-ca&sslrootcert={certificate}", True),
            ("localhost", f"sslmode=verify-full&sslrootcert={certificate}", True),
            ("127.0.0.1", f"sslmode=verify-full&sslrootcert={certificate}", False),
            ("localhost", "sslmode=verify-full&sslrootcert=system", False),
        ):
            url = f"postgresql://postgres@{host}:{front.port}/postgres?{query}"
            if works:
                async with connected(url) as db:
                    assert await db.execute("SELECT 1 AS n") == [{"n": 1}]
            else:
                error = await _refusal(url)
                assert "cannot be verified" in str(error)
                assert "sslrootcert" in error.hint


async def test_missing_certificates_are_named(tmp_path: Path) -> None:
    bad = ConnectionConfig.from_url(f"postgresql://u@h/x?sslmode=verify-full&sslrootcert={tmp_path}/none.pem")
    with pytest.raises(errors.SettingsError, match=r"none\.pem"):
        await DatabaseConnection(bad).connect()
    with pytest.raises(errors.SettingsError, match="root certificate"):
        await DatabaseConnection(replace(bad, sslrootcert=None)).connect()
    with pytest.raises(errors.SettingsError, match=r"client\.pem"):
        await DatabaseConnection(replace(bad, sslmode="require", sslcert="client.pem")).connect()
