"""When Python looks for garbage: while something loads anyway, not while a key waits for its answer.

What stays for the whole session, Textual and a schema of thousands of tables, is half a million objects. Going
through them all takes 80 to 200 ms, and without help that happens at any key.
"""

from __future__ import annotations

import gc


def keep() -> None:
    """From now on collections pass over all that is there; takes no time."""
    gc.freeze()


def settle() -> None:
    """Collect everything once, then keep what is left; for a moment at which something large has loaded."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
