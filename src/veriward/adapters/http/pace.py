"""How fast a served model is asked, and how long one waits before asking it again."""

import os
import time

from veriward.core.streams import Stream

FIRST_SECONDS, LAST_SECONDS = 0.25, 15.0


class Pace:
    """Lets at most `rate` requests start per second; None: all of them.

    >>> Pace(None).wait()
    """

    def __init__(self, rate: float | None) -> None:
        self._step, self._next = (1 / rate if rate else 0.0), 0.0

    def wait(self) -> None:
        """Return when the next request may start."""
        now = time.monotonic()
        if self._next > now:
            time.sleep(self._next - now)
        self._next = max(now, self._next) + self._step


class BackOff:
    """Waits twice as long each time, by a random share: callers that failed together must not come back together.

    The draw moves requests in time and can change no result, so it may differ from process to process.
    """

    def __init__(self) -> None:
        self._draws = Stream.of(os.getpid(), "adapters/served/back-off").generator()

    def wait(self, tries: int, after: float) -> None:
        """Sleep before another try: `tries` have failed, and the server asked for `after` seconds."""
        longest = min(FIRST_SECONDS * 2 ** (tries - 1), LAST_SECONDS)
        time.sleep(max(longest * float(self._draws.uniform(0.5, 1.0)), after))
