"""Running a command to its end."""

import subprocess


class Failed(AssertionError):
    """A command that had to succeed did not; the text shows what it said."""


def run(*argv, text_in=None, check=True, timeout=60, env=None):
    """Runs argv; stdout and stderr come back as text. With check a status other than 0 raises Failed."""
    argv = [str(a) for a in argv]
    done = subprocess.run(argv, input=text_in, capture_output=True, text=True, errors="replace", timeout=timeout, env=env,
                          stdin=None if text_in is not None else subprocess.DEVNULL)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(argv)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done
