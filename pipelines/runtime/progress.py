"""What a waiting user sees: a bar with time left on a terminal, at most one line a second in a log."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """Counts to `total`; `update(done, note)` may be called as often as one likes. quiet: no output (other ranks)."""

    label: str
    total: int
    quiet: bool = False
    first: int = 0
    _started: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)
    _bar: Any = None

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` of `total` are done; `note` is a few words such as the loss."""
        if self.quiet:
            return
        if sys.stderr.isatty():
            self._update_bar(done, note)
            return
        now = time.monotonic()
        # lines thin out as a run grows long: about fifty for any duration, never more than one a second
        if done < self.total and now - self._last < max(1.0, (now - self._started) / 10):
            return
        self._last = now
        rate = (now - self._started) / max(done - self.first, 1)
        left = "" if done >= self.total else f", {rate * (self.total - done):.0f} s left"
        print(f"{self.label}: {done}/{self.total}{left}{' | ' + note if note else ''}", flush=True)

    def _update_bar(self, done: int, note: str) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, desc=self.label, initial=self.first, leave=True)
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= self.total:
            self._bar.close()
