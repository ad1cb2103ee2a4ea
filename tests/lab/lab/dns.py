#!/usr/bin/python3
"""The lab's name server: A, AAAA and SRV from a table; whatever is not in it does not exist.

As a program: dns.py TABLE.json ADDRESS...
TABLE is {"name": {"A": [...], "AAAA": [...], "SRV": [[priority, weight, port, target]]}}.
"""

import json
import select
import socket
import struct
import sys

TYPES = {1: "A", 28: "AAAA", 33: "SRV"}


def _name(text):
    return b"".join(bytes([len(part)]) + part.encode() for part in text.rstrip(".").split(".")) + b"\0"


def _data(kind, value):
    if kind == "A":
        return socket.inet_aton(value)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    priority, weight, port, target = value
    return struct.pack(">HHH", priority, weight, port) + _name(target)


def answer(table, query):
    """The reply to one query datagram; None when it is none."""
    try:
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        kind, _ = struct.unpack_from(">HH", query, at + 1)
    except (IndexError, struct.error, UnicodeDecodeError):
        return None
    entry = table.get(".".join(labels))
    kind_name = TYPES.get(kind)
    values = (entry or {}).get(kind_name, [])
    records = b""
    for value in values:
        data = _data(kind_name, value)
        records += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
    flags = 0x8580 | (0 if entry is not None else 3)  # authoritative answer; 3: no such name
    return query[:2] + struct.pack(">HHHHH", flags, 1, len(values), 0, 0) + query[12:at + 5] + records


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        table = json.load(f)
    sockets = []
    for address in sys.argv[2:]:
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((address, 53))
        sockets.append(s)
    print("ready", flush=True)
    while True:
        for s in select.select(sockets, [], [])[0]:
            query, sender = s.recvfrom(4096)
            reply = answer(table, query)
            if reply:
                s.sendto(reply, sender)


if __name__ == "__main__":
    main()
