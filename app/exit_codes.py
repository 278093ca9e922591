"""Exit codes: what scripts may rely on, and which error leads to which."""

from __future__ import annotations

from enum import IntEnum

from ingestion import errors


class ExitCode(IntEnum):
    DONE = 0
    SOURCE = 1
    """The source database cannot be used."""
    VESPA = 2
    """Vespa cannot be used."""
    INCOMPLETE = 3
    """Finished with failures or differences, or stopped by the delete brake."""
    NOTHING = 4
    """Nothing succeeded."""
    CANCELLED = 5
    """Stopped by SIGINT or SIGTERM after its checkpoint."""
    LOCKED = 6
    """Another writer holds the state."""
    LOCAL = 7
    """State folder, disk, output or settings file."""
    USAGE = 64
    """Unknown flag, table or plan key."""
    INTERNAL = 70
    """An error of this program; the log is named."""


def exit_code_for(error: BaseException) -> ExitCode:
    """The exit code of an error that ended a command."""
    match error:
        case errors.WriterLocked():
            return ExitCode.LOCKED
        case errors.StateError() | errors.SettingsFileError() | errors.OutputError():
            return ExitCode.LOCAL
        case errors.VespaUnavailable() | errors.IndexError():
            return ExitCode.VESPA
        case errors.ConnectionError():
            return ExitCode.SOURCE
        case errors.SettingsError() | errors.SchemaError():
            return ExitCode.USAGE
        case errors.MassDeleteBrake():
            return ExitCode.INCOMPLETE
        case errors.IngestionError():
            return ExitCode.NOTHING
        case OSError():
            return ExitCode.LOCAL
        case _:
            return ExitCode.INTERNAL
