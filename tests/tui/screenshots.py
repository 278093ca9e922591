"""Regenerate `screenshots/*.svg` from the running application.

    python -m tests.tui.screenshots                    # against the double: every screen, both themes
    python -m tests.tui.screenshots --real             # against the sandbox, which is brought up
    python -m tests.tui.screenshots --size 80x24 --to /tmp/shots run failures

Names of scenes choose; without any, all are taken.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")

from app import formatting, themes
from app.application import IngestApp
from app.port import ServicePort
from app.ui_state import UiState
from ingestion.plan import Plan
from tests.tui.driving import Driver, drive
from tests.tui.fake_service import FakeService, request

Scene = Callable[[Driver], Awaitable[None]]


async def connect(d: Driver) -> None:
    await d.schema_loaded()
    await d.until(lambda: d.bridge.source.value is not None and d.bridge.vespa.value is not None, 30)


async def first_start(d: Driver) -> None:
    await d.pause()


async def schema(d: Driver) -> None:
    await d.schema_loaded()
    d.app.open_table("photos")
    await d.pause()


async def relations(d: Driver) -> None:
    await d.schema_loaded()
    d.app.open_table("rfis")
    await d.press("right_square_bracket", "tab")


async def samples(d: Driver) -> None:
    await d.schema_loaded()
    d.app.open_table("rfis")
    await d.press("right_square_bracket", "right_square_bracket", "tab")
    await d.settle()


async def evidence(d: Driver) -> None:
    await relations(d)
    await d.press("i")
    await d.until(lambda: d.sees("Sampled pairs") and not d.sees("reading"), 60)
    await d.pause()


async def preview(d: Driver) -> None:
    await schema(d)
    await d.press("v")
    await d.until(lambda: d.sees("row 1 of"), 60)


async def column(d: Driver) -> None:
    await schema(d)
    await d.press("tab", "down", "down", "enter")
    await d.until(lambda: d.sees("distinct"), 60)


async def connection(d: Driver) -> None:
    await connect(d)
    await d.press("a", *"service=warehouse", "tab", *"https://vespa.example:8080", "tab", "tab", *"warehouse")


async def dry_run(d: Driver) -> None:
    await d.schema_loaded()
    await d.press("d")
    await d.until(lambda: d.sees("49 of 49 tables"), 120)


async def plan(d: Driver) -> None:
    await d.schema_loaded()
    await d.settle()
    d.bridge.edit_plan(d.bridge.draft.exclude_pattern("*_events").toggle(["company_users"]))
    await d.press("down", "down", "down", "shift+down", "shift+down")
    await d.until(
        lambda: d.sees("tables left out") and "…" not in d.text().split("files")[-1].split("batch")[0], 60
    )
    await d.settle()


async def start(d: Driver) -> None:
    await d.schema_loaded()
    await asyncio.sleep(0.3)
    await d.settle()
    await d.press("s")


async def run(d: Driver) -> None:
    await running(d)


async def running(d: Driver) -> None:
    await d.schema_loaded()
    if (active := await d.bridge.active_job()) is not None:
        d.bridge.watch(active.id)
    else:
        await d.bridge.start_job(request(plan=Plan(download_files=True)))
    if isinstance(d.service, FakeService):
        d.service.step(60)
    await d.until(lambda: d.bridge.view is not None and (d.bridge.view.share or 0) > 0.35, 300)
    await asyncio.sleep(0.5)
    await d.settle()


async def leave(d: Driver) -> None:
    await running(d)
    await d.press("q")


async def finished(d: Driver) -> None:
    await d.schema_loaded()
    if isinstance(d.service, FakeService):
        await d.bridge.start_job(request())
        d.service.step(400)
    await d.until(lambda: d.bridge.view is not None and d.bridge.view.finished, 600)
    await d.settle()


async def verify(d: Driver) -> None:
    await finished(d)
    await d.press("v")
    await d.until(lambda: d.bridge.verification.value is not None, 600)
    await d.settle()


async def settled(d: Driver) -> None:
    await d.schema_loaded()
    await asyncio.sleep(0.3)
    await d.settle()


async def failures(d: Driver) -> None:
    await settled(d)
    await d.press("down", "enter", "space", "space")
    await asyncio.sleep(0.5)
    await d.settle()


async def clear(d: Driver) -> None:
    await settled(d)
    await d.press("down", "x")


async def search(d: Driver) -> None:
    await settled(d)
    await d.press(*"slab", "enter")
    await asyncio.sleep(0.4)
    await d.settle()


async def files(d: Driver) -> None:
    await settled(d)
    await d.press("escape")
    d.screen.open_on(table="photos")
    await d.until(lambda: bool(d.screen._files), 60)
    await d.press("v")
    await asyncio.sleep(2)


async def palette(d: Driver) -> None:
    await settled(d)
    await d.press("ctrl+p")
    await asyncio.sleep(0.5)
    await d.press(*"retr")
    await asyncio.sleep(0.5)


async def keys(d: Driver) -> None:
    await settled(d)
    await d.press("question_mark")


SCENES: dict[str, tuple[str, Scene]] = {
    "connect": ("connect", connect), "first-start": ("connect", first_start), "schema": ("schema", schema),
    "relations": ("schema", relations), "samples": ("schema", samples),
    "column": ("schema", column), "connection": ("connect", connection), "dry-run": ("plan", dry_run),
    "evidence": ("schema", evidence),
    "preview": ("schema", preview), "plan": ("plan", plan), "start": ("plan", start), "run": ("run", run),
    "leave": ("run", leave), "finished": ("run", finished), "verify": ("run", verify),
    "checkpoints": ("checkpoints", settled), "clear": ("checkpoints", clear), "jobs": ("jobs", settled),
    "failures": ("failures", failures), "search": ("search", search), "help": ("help", settled),
    "files": ("search", files), "keys": ("failures", keys), "palette": ("schema", palette),
}  # fmt: skip


async def picture(
    name: str, service: ServicePort, size: tuple[int, int], *, theme: str = themes.DARK, ascii: bool = False
) -> str:
    """The SVG of one scene."""
    screen, scene = SCENES[name]
    state = UiState()
    state.set("theme", theme)
    clock: dict[str, Any] = {"clock": service.clock} if isinstance(service, FakeService) else {}
    app = IngestApp(
        service,
        screen=screen,
        ui_state=state,
        glyphs=formatting.ASCII if ascii else formatting.UNICODE,
        **clock,
    )
    async with drive(app, service, size) as driver:
        await scene(driver)
        await driver.settle()
        return await driver.picture()


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", nargs="*", choices=[*SCENES, []])
    parser.add_argument("--size", default="120x36")
    parser.add_argument("--theme", default="dark", choices=["dark", "light"])
    parser.add_argument("--ascii", action="store_true")
    parser.add_argument("--real", action="store_true", help="use the sandbox instead of the double")
    parser.add_argument("--to", type=Path, default=Path(__file__).parents[2] / "screenshots")
    chosen = parser.parse_args()
    width, _, height = chosen.size.partition("x")
    chosen.to.mkdir(parents=True, exist_ok=True)
    theme = themes.DARK if chosen.theme == "dark" else themes.LIGHT
    service: ServicePort | None = await real_service() if chosen.real else None
    for name in chosen.scenes or SCENES:
        used = service or FakeService(configured=name != "first-start")
        svg = await picture(name, used, (int(width), int(height)), theme=theme, ascii=chosen.ascii)
        suffix = "" if chosen.theme == "dark" else "-light"
        (chosen.to / f"{name}{suffix}.svg").write_text(svg, encoding="utf-8")
        print(chosen.to / f"{name}{suffix}.svg")
    if service is not None:
        await service.aclose()  # type: ignore[attr-defined]


async def real_service() -> ServicePort:
    """The service on the sandbox."""
    from ingestion.service import IngestService
    from ingestion.settings import Settings

    service = IngestService(Settings(database_url="postgresql://nobody@localhost/none"))
    await service.start_sandbox(lambda step, done, total: print(step))
    return service


if __name__ == "__main__":
    asyncio.run(main())
