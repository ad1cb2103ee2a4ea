"""coturn: STUN and TURN for one user, on the addresses of its host."""

import os
import socket

from . import stun
from .wait import wait_for


class Coturn:
    """secret: instead of that user, those whose password is made of it and of the name, which says until when."""

    USER, PASSWORD, PORT = "lab", "turn-secret", 3478
    SECRET, SECRET_PORT = "turn-rest-secret", 3488

    def __init__(self, host, directory, realm, secret=None):
        os.makedirs(directory)
        self._port = self.SECRET_PORT if secret else self.PORT
        users = ["--use-auth-secret", f"--static-auth-secret={secret}"] if secret else [f"--user={self.USER}:{self.PASSWORD}"]
        argv = ["turnserver", "-n", "--log-file=stdout", "--simple-log", "--no-cli", "--no-tls", "--no-dtls", "--fingerprint",
                "--lt-cred-mech", f"--realm={realm}", *users,
                f"--userdb={directory}/turndb", f"--pidfile={directory}/turn.pid", f"--listening-port={self._port}"]
        for address in host.addresses:
            argv += [f"--listening-ip={address}", f"--relay-ip={address}"]
        self._host, self._argv, self._log = host, argv, f"{directory}/turnserver.log"
        self.process = None
        self.start()

    def start(self):
        self.process = self._host.ns.start("turnserver", self._argv, self._log)
        for address in self._host.addresses:
            wait_for(lambda: f"coturn answers:\n{self.process.output()}", lambda: self._answers(address))

    def _answers(self, address):
        with self._host.ns.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            return stun.mapped(probe, address, timeout=0.1, tries=1, port=self._port)

    def stop(self):
        self.process.stop()
