"""What operators have settled, such as accepting or rejecting an inferred relationship."""

from __future__ import annotations

from typing import Final

from ingestion.state.connection import StateConnection
from ingestion.state.types import Decision

# A decision, or a newer one on the same subject.
PUT: Final = """INSERT OR REPLACE INTO decisions (kind, subject, verdict, note, decided_at)
    VALUES (:kind, :subject, :verdict, :note, :at)"""
# Decisions of one kind.
LIST: Final = (
    """SELECT kind, subject, verdict, note, decided_at FROM decisions WHERE kind = :kind ORDER BY subject"""
)
# Take a decision back.
WITHDRAW: Final = "DELETE FROM decisions WHERE kind = :kind AND subject = :subject"


class Decisions(StateConnection):
    """One per kind and subject: the newest holds."""

    async def decide(self, decision: Decision) -> None:
        params = {
            "kind": decision.kind,
            "subject": decision.subject,
            "verdict": decision.verdict,
            "note": decision.note,
        }
        await self._write(lambda tx: tx.run(PUT, {**params, "at": decision.decided_at or tx.now}))

    async def decisions(self, kind: str) -> dict[str, Decision]:
        """By subject."""
        rows = await self._read(LIST, {"kind": kind})
        return {
            row["subject"]: Decision(
                kind=row["kind"],
                subject=row["subject"],
                verdict=row["verdict"],
                note=row["note"],
                decided_at=row["decided_at"],
            )
            for row in rows
        }

    async def withdraw(self, kind: str, subject: str) -> None:
        """As if it had never been decided."""
        await self._write(lambda tx: tx.run(WITHDRAW, {"kind": kind, "subject": subject}))
