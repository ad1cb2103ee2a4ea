"""A system clock of a node's own, which can be set: what time() and its like say. Clocks that only run on are the machine's."""

import glob
import os


class Clock:
    """Give it to a Node. It shows the machine's time until it is set."""

    MOUNTS = ("mount -t tmpfs none /dev/shm",)  # where a program that is killed leaves two files of this library's

    def __init__(self, world):
        self._file = f"{world.folder('clock')}/offset"
        self.set(0)

    def set(self, days):
        """So many days from the right time, at once."""
        with open(f"{self._file}.new", "w", encoding="ascii") as f:
            f.write(f"{days:+d}d\n")
        os.rename(f"{self._file}.new", self._file)  # a program that finds half a line ends

    def wrap(self, command):
        """The command line that runs it by this clock."""
        library, = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        return ["env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={self._file}", "FAKETIME_NO_CACHE=1",
                "DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1", *command]
