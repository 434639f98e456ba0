"""The host's side of bulk data: each returns the seconds that it took."""

import time

from figures import expect


def receive_bulk(listener, length):
    """Seconds from the first bytes to the last."""
    connection, _ = listener.accept()
    with connection:
        buffer = bytearray(1 << 18)
        length -= connection.recv_into(buffer)
        began = time.monotonic()
        while got := connection.recv_into(buffer):
            length -= got
        expect(length, 0)
        return time.monotonic() - began


def send_bulk(listener, length):
    connection, _ = listener.accept()
    with connection:
        began = time.monotonic()
        connection.sendall(bytes(length))
        expect(connection.recv(1), b"\0")
        return time.monotonic() - began
