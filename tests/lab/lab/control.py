"""A client of tincan's control port, in the namespace where tincan runs: what the article's netcat line does."""

import json
import socket
import time

HEADER = b"\x02\x01"
SO_RCVBUFFORCE = 33


class Control:
    def __init__(self, namespace, port=5800, address="127.0.0.1"):
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._namespace, self._to = namespace, (address, port)
        self._socket = namespace.socket(self._family)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)  # a state is a datagram for each peer, at once
        self._socket.connect(self._to)
        self._id = 0

    def close(self):
        self._socket.close()

    def ask(self, request, timeout=0.5):
        """The answers to one request, until the state is complete or, for other methods, the first; None when there is no
        answer in time or nobody listens."""
        self._id += 1
        answers = []
        for datagram in self.exchange(HEADER + json.dumps({**request, "id": self._id}).encode(), timeout):
            answer = json.loads(datagram[2:])
            if answer.get("id") != self._id:
                continue
            answers.append(answer)
            local = answers[0]
            if local.get("type") != "local_state" or len(answers) == 1 + local["_peers"]:
                return answers
        return None

    def exchange(self, datagram, timeout=0.5):
        """Sends the bytes as they are and yields what comes back until the timeout."""
        end = time.monotonic() + timeout
        try:
            self._socket.send(datagram)
            while (left := end - time.monotonic()) > 0:
                self._socket.settimeout(left)
                yield self._socket.recv(65536)
        except (ConnectionRefusedError, TimeoutError):
            return
