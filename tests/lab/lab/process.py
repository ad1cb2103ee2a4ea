"""A process in the background with its output in a file: started, watched and stopped by its own pid."""

import os
import re
import signal
import subprocess

from .wait import wait_for


class Process:
    """argv runs at once. What it writes (both streams) goes to the file log, which is appended to."""

    def __init__(self, name, argv, log, stdin=subprocess.DEVNULL, stdout=None):
        self.name = name
        self.log = log
        self._start = os.path.getsize(log) if os.path.exists(log) else 0
        with open(log, "ab") as out:
            self._popen = subprocess.Popen([str(a) for a in argv], stdin=stdin, stdout=stdout or out, stderr=out,
                                           start_new_session=True)
        self.pid = self._popen.pid
        self.stdin = self._popen.stdin

    def running(self):
        return self._popen.poll() is None

    def output(self):
        """What this start of it has written so far."""
        with open(self.log, "rb") as f:
            f.seek(self._start)
            return f.read().decode(errors="replace")

    def wait_output(self, pattern, timeout=10):
        """The match of the regular expression in the output; fails at once when the process ends without it."""
        def seen():
            ended = not self.running()
            match = re.search(pattern, self.output(), re.M)
            if ended and not match:
                raise AssertionError(f"{self.name} ended with status {self._popen.returncode}:\n{self.output()}")
            return match
        return wait_for(lambda: f"{self.name} says /{pattern}/, not:\n{self.output()[-2000:]}\n", seen, timeout)

    def send(self, number):
        if self.running():
            self._popen.send_signal(number)

    def wait(self, timeout=10):
        """Its exit status; a negative one is the signal that ended it."""
        return self._popen.wait(timeout)

    def stop(self, number=signal.SIGTERM, timeout=5):
        """Asks, and after the timeout insists. Returns the exit status."""
        self.send(number)
        try:
            status = self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            status = self.wait()
        if self.stdin:
            self.stdin.close()
        return status

    def kill(self):
        """No time to tidy up: what a crash looks like to others."""
        return self.stop(signal.SIGKILL)
