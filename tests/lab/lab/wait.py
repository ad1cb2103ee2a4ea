"""Waiting for events: a condition is asked every 20 ms until it holds. Nothing here sleeps for a guessed time."""

import time

INTERVAL = 0.02


class NotYet(AssertionError):
    """The condition did not come true in time."""


def wait_for(what, condition, timeout=10):
    """Returns the first true value of condition(). what says in the error what was waited for; it may be a function."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise NotYet(f"{what() if callable(what) else what}: not within {timeout} s")
        time.sleep(INTERVAL)
