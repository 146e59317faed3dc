"""Requests without end, from several connections at once, until nobody listens any more; for the tests inside the machine.

    load.py PORT CONNECTIONS SECONDS [--again]

Prints a JSON object: how many answers were whole, how many were cut, how many connections were refused. --again: a connection
that ends between two answers, or before the first byte of one, is made again until SECONDS are over.
"""

import json
import socket
import sys
import threading
import time

PORT, CONNECTIONS, SECONDS = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
AGAIN = "--again" in sys.argv
UNTIL = time.monotonic() + SECONDS
REQUEST = b"GET /load HTTP/1.1\r\nHost: test\r\n\r\n"
counts = {"whole": 0, "cut": 0, "refused": 0, "unanswered": 0}
lock = threading.Lock()


def count(what):
    with lock:
        counts[what] += 1


def answer(connection):
    """One request: whole, cut, or none when the connection ended before the answer began."""
    data = b""
    try:
        connection.sendall(REQUEST)
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return "cut" if data else None, False
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        while len(body) < length:
            piece = connection.recv(65536)
            if not piece:
                return "cut", False
            body += piece
        return "whole", b"connection: close" not in head.lower()
    except (ConnectionError, TimeoutError):
        return "cut" if data else None, False


def client():
    while time.monotonic() < UNTIL:
        try:
            connection = socket.create_connection(("127.0.0.1", PORT), timeout=30)
        except ConnectionRefusedError:
            count("refused")
            if not AGAIN:
                return
            time.sleep(0.01)
            continue
        with connection:
            goes_on = True
            answers = 0
            while goes_on and time.monotonic() < UNTIL:
                what, goes_on = answer(connection)
                if what is not None:
                    count(what)
                    answers += 1
            if answers == 0 and what is None:
                count("unanswered")  # accepted, or in the backlog, and never answered


threads = [threading.Thread(target=client) for _ in range(CONNECTIONS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(counts))
