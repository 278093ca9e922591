"""What every screen shows at 80 by 24, kept as text beside this file.

A change that is meant is written anew with `UPDATE_SNAPSHOTS=1 python -m pytest tests/tui/test_snapshots.py`
and then read in the diff.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.tui.fake_service import request

FOLDER = Path(__file__).parent / "snapshots"


async def test_every_screen_looks_as_it_did(opened: Any) -> None:
    seen: dict[str, str] = {}
    async with opened("connect", size=(80, 24)) as d:
        await d.until(lambda: d.bridge.view is not None and d.bridge.view.finished)
        await d.until(lambda: d.bridge.source.value is not None and d.bridge.vespa.value is not None)
        await d.schema_loaded()
        for name, ready in (
            ("connect", lambda: d.sees("complete")),
            ("schema", lambda: d.sees("Columns", "permission denied")),
            ("plan", lambda: d.sees("No reference is", "starts")),
            ("checkpoints", lambda: d.sees("Checkpoints 48")),
            ("jobs", lambda: d.sees("7,628")),
            ("failures", lambda: d.sees("Signed URL", "doc_id")),
            ("search", lambda: d.sees("Ask the index")),
            ("help", lambda: d.sees("Actions")),
        ):
            d.app.go(name)
            await d.pause()
            await d.until(ready)
            await d.settle()
            seen[name] = d.text()
        await d.bridge.start_job(request())
        d.service.step(40)
        d.app.go("run")
        await d.until(lambda: d.sees("51%", "/ 7,631", "completed: 0 indexed"))
        await d.settle()
        seen["run"] = d.text()
    if os.environ.get("UPDATE_SNAPSHOTS"):
        FOLDER.mkdir(exist_ok=True)
        for name, text in seen.items():
            (FOLDER / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    for name, text in seen.items():
        kept = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
        assert text.splitlines() == kept.splitlines(), name
