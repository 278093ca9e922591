"""How processes with large batches give memory back to the system."""

from __future__ import annotations

from typing import Final

GIVE_BACK: Final = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "1048576"}
"""Environment of a process at its start. glibc's malloc then returns what a batch with large rows took, where by
itself it would keep more and more of it (mallopt(3)); elsewhere without effect."""
