"""UDP packets with any source address, as an attacker on the path sends them (IPv4)."""

import socket
import struct


class Injector:
    def __init__(self, namespace):
        self._socket = namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def send(self, source, source_port, destination, destination_port, payload):
        udp = struct.pack(">HHHH", source_port, destination_port, 8 + len(payload), 0) + payload
        # The kernel fills in length, identification and checksum.
        header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 17, 0, socket.inet_aton(source),
                             socket.inet_aton(destination))
        self._socket.sendto(header + udp, (destination, 0))

    def close(self):
        self._socket.close()
