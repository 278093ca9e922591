"""What untrusted files hold, read by a child process that they may crash: facts, text, small pictures to show.

Each child serves many files; one that crashes, hangs or has served enough is replaced. What it did with
the file at hand is that file's failure alone. Of images only headers are read, which takes less than waking the
child, so several go to it at a time; where it dies of them, each is tried alone.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ingestion import errors, values

_CHILD: Final = Path(__file__).with_name("extraction_child.py")
_FILES_PER_CHILD: Final = 2_000
LONGEST_SIDE: Final = 1_200
"""Pixels of a preview; no terminal shows more."""
_LONGEST_ANSWER: Final = 8 * 2**20
"""Bytes of a line; the largest preview takes 5.8 million."""
_MOST_TOGETHER: Final = 16
_GATHER_S: Final = 0.01
"""Seconds that an image waits for others."""
_ENDING_S: Final = 5.0
"""How long a child that closed its output may take to be gone."""
EXTRACTED: Final = frozenset({"pdf", "jpg", "png", "gif", "tiff"})
"""Types, as `sniffing.sniff` calls them, that have something to extract."""


_Request = dict[str, str]
_Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """`taken_at` is epoch milliseconds; `text` holds only what Vespa takes. `missing` names a library that
    is not installed, without which nothing was extracted."""

    width: int | None = None
    height: int | None = None
    taken_at: int | None = None
    pages: int | None = None
    text: str = ""
    missing: str = ""

    def fields(self) -> dict[str, Any]:
        """The members that a file's document has, absent ones omitted."""
        members = {
            "width": self.width, "height": self.height, "taken_at": self.taken_at, "pages": self.pages,
            "extracted_text": self.text or None,
        }  # fmt: skip
        return {name: value for name, value in members.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture made small: `rgb` has three bytes for each of `width` times `height` pixels, row by row."""

    width: int
    height: int
    rgb: bytes


class _Unread(Exception):
    """Why the child has no answer, in words for a person."""


@dataclass(frozen=True, slots=True)
class ExtractionLimits:
    """Per file: seconds, pixels; per child: bytes of memory."""

    timeout_s: float = 30.0
    most_pixels: int = 500_000_000
    memory_bytes: int = 1_536 * 2**20


class Extractor:
    """At most `processes` children; `aclose` ends them. Safe to share between tasks.

    With `personal` the text of an image says where it was taken and who owns it, as its EXIF does.
    """

    def __init__(
        self, *, processes: int = 1, limits: ExtractionLimits | None = None, personal: bool = False
    ) -> None:
        self._limits = limits or ExtractionLimits()
        self.personal = personal
        self._idle: list[_Child] = []
        self._slots = asyncio.Semaphore(max(1, processes))
        self._waiting: list[tuple[_Request, asyncio.Future[_Answer]]] = []
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Extractor:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def extract(self, path: Path, kind: str) -> Facts:
        """What the file at `path` says of itself; `kind` as `sniffing.sniff` found it.

        Raises DownloadError (`extraction_failed`) for a file that is damaged, too complex, or kills the child.
        """
        if kind not in EXTRACTED:
            return Facts()
        try:
            request = {"path": str(path), "kind": kind}
            answer = await (self._alone(request) if kind == "pdf" else self._together(request))
        except _Unread as error:
            raise _failed(str(error)) from None
        text, _ = values.clean(str(answer.get("text", "")))
        return Facts(
            answer.get("width"), answer.get("height"), answer.get("taken_at"), answer.get("pages"), text,
            str(answer.get("missing", "")),
        )  # fmt: skip

    async def preview(self, path: Path) -> Preview:
        """The picture at `path`, upright, no side longer than `LONGEST_SIDE`.

        Raises DownloadError (`extraction_failed`) for what is no picture, has too many pixels, or ends the child.
        """
        try:
            request = {"path": str(path), "kind": "preview", "side": str(LONGEST_SIDE)}
            answer = await self._alone(request)
            if missing := answer.get("missing"):
                raise _Unread(f"{missing} is not installed")
            # What an attacked child sends is not believed either.
            width, height = int(answer["width"]), int(answer["height"])
            rgb = base64.b64decode(answer["rgb"], validate=True)
            if not (
                0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE and len(rgb) == width * height * 3
            ):
                raise _Unread("the reader answered nonsense")
        except (KeyError, TypeError, ValueError):
            raise _no_preview("the reader answered nonsense") from None
        except _Unread as error:
            raise _no_preview(str(error)) from None
        return Preview(width, height, rgb)

    async def _alone(self, request: _Request) -> _Answer:
        """The answer to one request; raises _Unread where it is why there is none."""
        return _read(await self._answer(request, 1))

    async def _together(self, request: _Request) -> _Answer:
        """The same, in company of those that come within `_GATHER_S`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Answer] = loop.create_future()
        self._waiting.append((request, answer))
        if len(self._waiting) >= _MOST_TOGETHER:
            self._serve_waiting()
        elif len(self._waiting) == 1:
            loop.call_later(_GATHER_S, self._serve_waiting)
        return _read(await answer)

    def _serve_waiting(self) -> None:
        waiting = [(request, answer) for request, answer in self._waiting if not answer.done()]
        self._waiting = []
        if waiting:
            task = asyncio.create_task(self._serve(waiting), name="files-extract")
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, waiting: list[tuple[_Request, asyncio.Future[_Answer]]]) -> None:
        """Answer all of them; whatever goes wrong is theirs to hear of."""
        try:
            answers: list[_Answer] | None = None
            if len(waiting) > 1:
                with suppress(_Unread):
                    said = await self._answer({"together": [request for request, _ in waiting]}, len(waiting))
                    answers = said.get("together")
            if not isinstance(answers, list) or len(answers) != len(waiting):
                answers = None
            for number, (request, answer) in enumerate(waiting):
                try:
                    found = answers[number] if answers is not None else await self._answer(request, 1)
                except _Unread as error:
                    found = {"error": str(error)}
                if not answer.done():
                    answer.set_result(found if isinstance(found, dict) else {"error": "no answer"})
        except asyncio.CancelledError:
            for _, answer in waiting:
                answer.cancel()
            raise
        except Exception as error:
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)

    async def _answer(self, request: Mapping[str, Any], files: int) -> _Answer:
        """What a child says; raises _Unread where it takes too long or ends."""
        async with self._slots:
            child = self._idle.pop() if self._idle else await _Child.start(self._limits, self.personal)
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    answer = await child.ask(request, files)
            except TimeoutError:
                await child.end()
                raise _Unread(f"it took longer than {self._limits.timeout_s:.0f} s") from None
            except BaseException:
                await child.end()
                raise
            if answer is None:
                status = await child.end()
                raise _Unread(f"its content ended the reader ({_ending(status)})")
            await self._put_back(child)
        return answer

    async def aclose(self) -> None:
        """End the children, and whatever is asked of them; `extract` starts new ones."""
        for _, answer in self._waiting:
            answer.cancel()
        self._waiting = []
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        idle, self._idle = self._idle, []
        await asyncio.gather(*(child.end() for child in idle))

    async def _put_back(self, child: _Child) -> None:
        if child.served >= _FILES_PER_CHILD:
            await child.end()
        else:
            self._idle.append(child)


class _Child:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.served = 0

    @classmethod
    async def start(cls, limits: ExtractionLimits, personal: bool) -> _Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(_CHILD), str(limits.memory_bytes), str(limits.most_pixels),
            str(limits.timeout_s + _ENDING_S), "personal" if personal else "",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            # No secret of ours reaches a process that opens strangers' files.
            env={name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ},
            limit=_LONGEST_ANSWER, start_new_session=True,
        )  # fmt: skip
        return cls(process)

    async def ask(self, request: Mapping[str, Any], files: int) -> _Answer | None:
        """The child's answer, None when it ended instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.served += files
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
            line = await self._process.stdout.readline()
            answer = json.loads(line) if line else None
        except (ConnectionError, ValueError):
            return None
        return answer if isinstance(answer, dict) else None

    async def end(self) -> int:
        """Kill the child and reap it; its exit status."""
        if self._process.stdout is not None and self._process.stdout.at_eof():
            # It is ending by itself. To kill it now could reap it past asyncio, and how it ended would be lost.
            with suppress(TimeoutError):
                async with asyncio.timeout(_ENDING_S):
                    await self._process.wait()
        with suppress(ProcessLookupError):
            self._process.kill()
        status = await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        return status


def _read(answer: _Answer) -> _Answer:
    if "error" in answer:
        raise _Unread(str(answer["error"]))
    return answer


def _failed(reason: str) -> errors.DownloadError:
    return errors.DownloadError(
        f"the file was fetched, but nothing can be extracted: {reason}", cause="extraction_failed"
    )


def _no_preview(reason: str) -> errors.DownloadError:
    return errors.DownloadError(
        f"This file is no picture that can be shown: {reason}.", cause="extraction_failed"
    )


def _ending(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit {status}"
