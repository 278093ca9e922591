"""What can go wrong, as the public contract names it, with the next step for a person.

    IngestionError
      ConnectionError      the source database or Vespa cannot be reached, or refuses us
        SourceUnavailable    PostgreSQL
        VespaUnavailable     Vespa
          VespaBlocked         Vespa refuses feed because a disk or memory limit is reached (507)
      SchemaError          discovery or validation of a schema
      TransformError       a record cannot be turned into a document
      IndexError           Vespa refuses a document
      DownloadError        a file cannot be fetched
      StateError           the state file: unreadable, unwritable, newer than this version
        WriterLocked         another job holds the writer lock
      SettingsError        a flag, environment variable, plan or settings file is wrong
        SettingsFileError    the settings file cannot be read at all
        OutputError          a file or folder that was asked for cannot be written
      MassDeleteBrake      deletes beyond the allowed share of a table wait for the operator

Two names shadow Python's own. Always write `errors.ConnectionError`, never import it by name.
Messages never hold a secret: pass text that may through `ingestion.redaction` first.
"""

from __future__ import annotations


class IngestionError(Exception):
    """Base of all errors; `hint` is the next step, one sentence, empty where there is none."""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConnectionError(IngestionError):
    """Database or Vespa connection error."""


class SchemaError(IngestionError):
    """Schema discovery or validation error."""


class TransformError(IngestionError):
    """Record transformation error."""


class IndexError(IngestionError):
    """Vespa indexing error."""


class DownloadError(IngestionError):
    """File download error; `cause` is a stable slug for clustering, such as `http_403`."""

    def __init__(self, message: str = "", *, hint: str = "", cause: str = "download_failed") -> None:
        super().__init__(message, hint=hint)
        self.cause = cause


class SourceUnavailable(ConnectionError):
    """PostgreSQL cannot be reached, refuses the login, or went away beyond the retries."""


class VespaUnavailable(ConnectionError):
    """Vespa cannot be reached, refuses us, or stayed overloaded beyond the deadline."""


class VespaBlocked(VespaUnavailable):
    """Vespa refuses feed (507): a disk or memory limit of the cluster is reached."""


class StateError(IngestionError):
    """The state file cannot be read or written, or comes from a newer version."""


class WriterLocked(StateError):
    """Another writer holds the state; the message names its process, host and job."""


class SettingsError(IngestionError):
    """A flag, an environment variable, a plan or the settings file holds something unusable."""


class SettingsFileError(SettingsError):
    """The settings file is missing, unreadable or no TOML."""


class OutputError(SettingsError):
    """A file or folder that a flag or a screen asks for cannot be written."""


class MassDeleteBrake(IngestionError):
    """More of a table would be deleted than allowed; nothing was removed."""

    def __init__(self, table: str, suspects: int, indexed: int, *, hint: str = "") -> None:
        super().__init__(
            f"{table}: {suspects:,} of {indexed:,} indexed records are gone from the source; none removed",
            hint=hint or "Check the source, then repeat with --allow-mass-delete.",
        )
        self.table, self.suspects, self.indexed = table, suspects, indexed


def from_parts(kind: str, message: str, hint: str) -> IngestionError:
    """An error told by another process: the class of that name, or IngestionError for an unknown one."""
    cls = globals().get(kind)
    if not (isinstance(cls, type) and issubclass(cls, IngestionError)) or cls is MassDeleteBrake:
        cls = IngestionError
    return cls(message, hint=hint)
