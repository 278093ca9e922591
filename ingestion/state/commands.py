"""What operators ask of a running job, from whatever process they sit at."""

from __future__ import annotations

from typing import Final

from ingestion import errors
from ingestion.state.connection import StateConnection, Transaction
from ingestion.state.types import COMMANDS, JobCommand

# A command for a job.
REQUEST: Final = """INSERT INTO job_commands (job, command, argument, requested_at)
    VALUES (:job, :command, :argument, :now)"""
# Whether a command waits; asked several times a second, so it must not write.
WAITING: Final = """SELECT 1 FROM job_commands
    WHERE job = (SELECT ordinal FROM jobs WHERE id = :job) AND taken_at IS NULL LIMIT 1"""
# Take all that wait.
TAKE: Final = """UPDATE job_commands SET taken_at = :now WHERE job = :job AND taken_at IS NULL
    RETURNING id, command, argument, requested_at"""


class JobCommands(StateConnection):
    """Rows, so that they reach a job in another process and none is taken twice."""

    async def request_command(self, job_id: str, command: str, argument: str = "") -> None:
        """Ask a job to `pause`, `resume`, `stop`, or `skip` the table named by `argument`.

        `"skip photos"` in one word does as well. Raises StateError for any other command.
        """
        if not argument:
            command, _, argument = command.partition(" ")
        if command not in COMMANDS or (command == "skip") != bool(argument):
            raise errors.StateError(
                f"A job cannot be told to {command} {argument}".rstrip() + ".",
                hint="pause, resume, stop, skip TABLE",
            )

        async def request(tx: Transaction) -> None:
            await tx.run(
                REQUEST,
                {"job": await tx.job(job_id), "command": command, "argument": argument, "now": tx.now},
            )

        await self._write(request)

    async def take_commands(self, job_id: str) -> list[JobCommand]:
        """Commands not yet taken, oldest first; each is given out once, whoever asks. Cheap when there are none."""
        if await self._read_one(WAITING, {"job": job_id}) is None:
            return []

        async def take(tx: Transaction) -> list[JobCommand]:
            rows = await tx.rows(TAKE, {"job": await tx.job(job_id), "now": tx.now})
            taken = [
                JobCommand(id=row[0], job_id=job_id, command=row[1], argument=row[2], requested_at=row[3])
                for row in rows
            ]
            return sorted(taken, key=lambda command: command.id)

        return await self._write(take)
