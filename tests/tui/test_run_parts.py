"""What the run screen says of a job at work."""

from __future__ import annotations

from app.formatting import ASCII
from app.screens.run_parts import total_lines
from ingestion.run_view import ArrivalView, RunView


def test_files_on_their_way_are_shown_with_their_speed_and_the_longest_ones_share() -> None:
    arriving = ArrivalView(
        under_way=3, bytes_per_s=2.5 * 2**20, filename="plan.pdf", received_bytes=45, expected_bytes=100
    )
    view = RunView(job_id="j", status="running", started_at=1.0, as_of=2.0, arriving=arriving)
    shown = "".join(text for text, _ in total_lines(view, 100, ASCII)[2])
    assert shown == "3 files at 2.5 MiB/s, plan.pdf 45%"
