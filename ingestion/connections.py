"""The services of one run, opened on first use and closed together: source, index and state."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ingestion import errors
from ingestion.postgres import connection_url
from ingestion.redaction import redact_text
from ingestion.reports import Where
from ingestion.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from vespa.application import Vespa

    from ingestion.db_connection import ConnectionConfig, DatabaseConnection
    from ingestion.state.store import StateStore
    from ingestion.vespa import client

# Drivers are imported where they are first needed: together a third of a second, and the first screen waits.


class Connections:
    """Opens each service once; every method may be called from several tasks."""

    def __init__(self, settings: Settings, logger: logging.Logger) -> None:
        self.settings = settings
        self.logger = logger
        self._config: ConnectionConfig | None = None
        self._vespa: Vespa | None = None
        self._source: DatabaseConnection | None = None
        self._index: client.VespaSession | None = None
        self._state: StateStore | None = None
        self._opening = asyncio.Lock()

    @property
    def config(self) -> ConnectionConfig:
        """Where the source is; raises errors.SettingsError when the URL cannot be understood."""
        if self._config is None:
            from ingestion.db_connection import ConnectionConfig

            config = ConnectionConfig.from_environment(self.settings.database_url or None, os.environ)
            if "statement_timeout" not in self.settings.database_url:
                config.statement_timeout_s = self.settings.statement_timeout_s
            self._config = config
        return self._config

    @property
    def is_configured(self) -> bool:
        """Whether settings or environment name a source at all."""
        return bool(self.settings.database_url) or connection_url.is_configured(os.environ)

    @property
    def state_path(self) -> Path:
        """The state file of this source and index."""
        from ingestion.state.store import state_path

        config = self.config
        return state_path(
            self.settings.state_root,
            config.host,
            config.port,
            config.database,
            self.settings.vespa_url,
            self.settings.namespace,
        )

    def where(self, *, sandbox: bool) -> Where:
        """The addresses in use, without secrets; never fails and connects to nothing."""
        try:
            database, configured = self.config.where, self.is_configured
        except errors.IngestionError as error:
            database, configured = redact_text(str(error)), False
        return Where(
            database=database if configured else "",
            vespa=redact_text(self.settings.vespa_url),
            namespace=self.settings.namespace,
            state_dir=str(self.settings.state_root),
            configured=configured,
            sandbox=sandbox,
        )

    def vespa(self) -> Vespa:
        """The pyvespa application of the settings."""
        if self._vespa is None:
            from ingestion.vespa import client

            self._vespa = client.build(
                self.settings.vespa_url,
                cert=self.settings.vespa_cert or None,
                key=self.settings.vespa_key or None,
                ca_cert=self.settings.vespa_ca_cert or None,
                token=self.settings.vespa_token or None,
            )
        return self._vespa

    async def source(self) -> DatabaseConnection:
        """The connected source; raises errors.SourceUnavailable."""
        async with self._opening:
            if self._source is None:
                from ingestion.db_connection import DatabaseConnection

                source = DatabaseConnection(self.config, self.logger)
                await source.connect()
                self._source = source
            return self._source

    async def index(self) -> client.VespaSession:
        """The session with Vespa; nothing is sent yet."""
        async with self._opening:
            if self._index is None:
                from ingestion.vespa import client

                session = client.VespaSession(self.vespa(), namespace=self.settings.namespace)
                await session.open()
                self._index = session
            return self._index

    async def state(self) -> StateStore:
        """The open state file, created if there is none; raises errors.StateError."""
        async with self._opening:
            if self._state is None:
                from ingestion.state.store import StateStore

                self._state = await StateStore.open(self.state_path)
            return self._state

    async def close(self) -> None:
        """Close whatever was opened; a service that cannot close cleanly is let go."""
        for service in (self._source, self._index, self._state):
            if service is not None:
                with suppress(Exception):
                    await service.close()
        self._source = self._index = self._state = None
