"""Asking a STUN server from a socket of one's own: which address does the world see? (RFC 8489)"""

import os
import socket
import struct

_COOKIE = 0x2112A442


def mapped(sock, server, timeout=1.0, tries=3, port=3478):
    """The (address, port) that the server sees for the socket; None when it does not answer."""
    sock.settimeout(timeout)
    for _ in range(tries):
        transaction = os.urandom(12)
        try:
            sock.sendto(struct.pack(">HHI", 1, 0, _COOKIE) + transaction, (server, port))
            while True:
                reply = sock.recv(2048)
                if len(reply) >= 20 and reply[8:20] == transaction:
                    return _xor_mapped(reply)
        except OSError:
            continue
    return None


def _xor_mapped(reply):
    at = 20
    while at + 4 <= len(reply):
        kind, size = struct.unpack_from(">HH", reply, at)
        value = reply[at + 4:at + 4 + size]
        if kind == 0x0020:
            family = socket.AF_INET if value[1] == 1 else socket.AF_INET6
            mask = reply[4:8] if family == socket.AF_INET else reply[4:20]
            address = bytes(a ^ b for a, b in zip(value[4:], mask))
            return socket.inet_ntop(family, address), struct.unpack(">H", value[2:4])[0] ^ (_COOKIE >> 16)
        at += 4 + (size + 3) // 4 * 4
    return None
