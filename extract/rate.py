"""How fast recordings are processed."""

from __future__ import annotations

import time


class Rate:
    """The seconds of audio that have been processed per second since this was made."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._audio = 0.0

    def note(self, seconds: float) -> str:
        """Add seconds of audio; return the rate for the progress bar, empty where there is no audio."""
        self._audio += seconds
        if not self._audio:
            return ""
        return f"{self._audio / max(time.monotonic() - self._started, 1e-3):.3g} x realtime"
