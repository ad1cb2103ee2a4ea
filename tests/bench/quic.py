#!/usr/bin/python3
"""UDP as QUIC servers send it: 40 datagrams of 1200 bytes in one system call (UDP_SEGMENT), joined again where they arrive (UDP_GRO).

quic.py receive ADDRESS PORT                  prints "ready"; after the last datagram, how many came
quic.py send ADDRESS PORT MBIT_S SECONDS      prints how many it sent, and Mbit/s
"""

import os
import socket
import sys
import time

DATAGRAM, TRAIN = 1200, 40
UDP_SEGMENT, UDP_GRO, SO_RCVBUFFORCE = 103, 104, 33
END = b"end"


def receive(address, port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    sock.bind((address, port))
    print("ready", flush=True)
    buffer, size = bytearray(65536), 0
    while True:
        n = sock.recv_into(buffer)
        size += n
        if n % DATAGRAM:  # the end, perhaps joined to the last of the others
            break
    print(size // DATAGRAM, flush=True)


def send(address, port, rate, seconds):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((address, port))
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, DATAGRAM)
    train = os.urandom(DATAGRAM * TRAIN)
    step = len(train) * 8e-6 / rate
    begin = due = time.monotonic()
    sent = 0
    while due < begin + seconds:
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        sock.send(train)
        sent += TRAIN
        due += step
    took = time.monotonic() - begin
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
    print(sent, sent * DATAGRAM * 8e-6 / took, flush=True)
    for _ in range(20):  # one of them will arrive
        time.sleep(0.05)
        try:
            sock.send(END)
        except ConnectionRefusedError:  # one did, and the receiver is gone
            break


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(sys.argv[2], int(sys.argv[3]))
    else:
        send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
