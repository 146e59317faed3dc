#!/usr/bin/env python3
"""umbeld is told to stop, or to reload, while clients do not let go of it.

Usage: test_load.py BUILD_DIR [unittest arguments]
UMBEL_TEST_STOPS=100 and UMBEL_TEST_RELOADS=20 say how often (few in everyday runs).

What a client may expect of a server that stops, as the client can see it:
  - an answer of which one byte has come, comes whole;
  - a request whose connection ends without a byte was never taken: its bytes were met by a reset (they came when the
    connection was over, or were never read). Then the client may ask again, elsewhere (RFC 9112, 9.3.1). A request that
    was read, and whose connection is then closed in good order, was taken and dropped: that is a failure;
  - a connection is refused or reset when the listener is gone.
"""

import collections
import contextlib
import errno
import os
import pathlib
import random
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import test_http  # the daemon, and free ports

HOST = test_http.HOST
SEED = test_http.SEED
STOPS = int(os.environ.get("UMBEL_TEST_STOPS", "3"))
RELOADS = int(os.environ.get("UMBEL_TEST_RELOADS", "5"))
FILES = {"1k.txt": 1 << 10, "100k.bin": 100 << 10, "1m.bin": 1 << 20, "5m.bin": 5 << 20}
PATIENCE = 40  # seconds without any news after which a client is stuck; the machine may be busy


class Client:
    """One client's connection, then its next one: asks, reads the whole answer, asks again."""

    def __init__(self, load, names, together=1, fresh=False, slow=False):
        self.load = load
        self.names = names        # of the files it asks for
        self.together = together  # requests sent in one piece
        self.fresh = fresh        # a new connection for each
        self.slow = slow          # reads a little at a time
        self.socket = None
        self.connect()

    def connect(self):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if self.slow:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        self.state = "connecting"
        self.asked = collections.deque()  # files whose answers are to come
        self.data = bytearray()
        self.left = None  # bytes of the body that are still to come; None: its head is
        self.taken = 0    # bytes of the answer to asked[0] that have come
        self.socket.connect_ex((HOST, self.load.port))
        self.load.selector.register(self.socket, selectors.EVENT_WRITE, self)

    def ask(self):
        request = b""
        for _ in range(self.together):
            name = self.load.dice.choice(self.names)
            self.asked.append(name)
            request += f"GET /{name} HTTP/1.1\r\nHost: test\r\n\r\n".encode()
        self.state = "waiting"
        try:
            sent = self.socket.send(request)
        except OSError:
            return self.over("reset")  # It ended while nobody asked anything of it.
        assert sent == len(request)
        return None

    def happened(self):
        if self.state == "connecting":
            error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                return self.over("refused" if error == errno.ECONNREFUSED else "reset")
            self.load.selector.modify(self.socket, selectors.EVENT_READ, self)
            return self.ask()
        try:
            piece = self.socket.recv(4 << 10 if self.slow else 256 << 10)
        except BlockingIOError:
            return None
        except OSError:
            return self.over("reset")
        if not piece:
            return self.over("reset" if self.was_reset() else "end")
        self.load.news = time.monotonic()
        self.data += piece
        self.digest()
        if self.asked or self.state == "gone":
            return None
        if self.load.stopping:
            return self.over("done")
        if self.fresh:
            self.drop()
            return self.connect()
        return self.ask()

    def was_reset(self):
        """The end of the stream has come: whether what we sent was met by a reset, a moment later at most."""
        with contextlib.suppress(OSError):
            for _ in range(3):
                if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    return True
                # A peer that has closed answers a byte with a reset; what it has read before, it has read.
                info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
                if info[0] == 7:  # TCP_CLOSE
                    return True
                time.sleep(0.002)
            return False
        return True

    def digest(self):
        while self.asked:
            name = self.asked[0]
            if self.left is None:
                end = self.data.find(b"\r\n\r\n")
                if end < 0:
                    self.taken = max(self.taken, len(self.data))
                    return
                head = bytes(self.data[:end]).decode("ascii")
                del self.data[:end + 4]
                self.taken = end + 4
                if not head.startswith("HTTP/1.1 200"):
                    return self.wrong(f"{name}: {head.splitlines()[0]}")
                length = next(int(line.split(":")[1]) for line in head.lower().split("\r\n")
                              if line.startswith("content-length:"))
                if length != FILES[name]:
                    return self.wrong(f"{name}: a length of {length}")
                self.left = length
                self.last = "connection: close" in head.lower()
            size = min(self.left, len(self.data))
            at = FILES[name] - self.left
            if self.data[:size] != self.load.contents[name][at:at + size]:
                return self.wrong(f"{name}: wrong bytes")
            del self.data[:size]
            self.left -= size
            self.taken += size
            if self.left:
                return
            self.load.answers += 1
            self.asked.popleft()
            self.left, self.taken = None, 0
            if self.last:
                # The server has said that it takes no more: what was sent behind it may be asked again elsewhere.
                self.load.said_close += 1
                self.asked.clear()
                return self.over("done")

    def wrong(self, what):
        self.load.failures.append(what)
        self.over("done")

    def over(self, how):
        """The connection has ended."""
        if self.state != "gone" and how in ("reset", "end", "refused"):
            self.load.ends[how] += 1
            waits = bool(self.asked) and self.state == "waiting"
            if waits and self.taken:
                self.load.failures.append(f"{how} in the middle of {self.asked[0]}: {self.taken} bytes had come")
            elif waits and how == "end":
                self.load.failures.append(f"the request for {self.asked[0]} was read and dropped")
            if not self.load.may_end:
                self.load.failures.append(f"{how} while nobody wanted the server to stop, {self.state}, {self.asked}")
        self.drop()
        self.state = "gone"
        if not self.load.stopping and not self.load.may_end and how == "done":
            self.connect()

    def drop(self):
        if self.socket is not None:
            self.load.selector.unregister(self.socket)
            self.socket.close()
            self.socket = None


class Load(threading.Thread):
    """All clients, in a thread of their own."""

    def __init__(self, port, contents, seed):
        super().__init__()
        self.port = port
        self.contents = contents
        self.dice = random.Random(seed)
        self.selector = selectors.DefaultSelector()
        self.stopping = False  # no further requests
        self.may_end = False   # the server has been told to stop
        self.failures = []
        self.ends = collections.Counter()
        self.answers = 0
        self.said_close = 0
        self.news = time.monotonic()

    def run(self):
        small, large = ["1k.txt"], ["100k.bin", "1m.bin", "5m.bin"]
        self.clients = [Client(self, small) for _ in range(24)]
        self.clients += [Client(self, small + large) for _ in range(12)]
        self.clients += [Client(self, small, together=3) for _ in range(8)]
        self.clients += [Client(self, small, fresh=True) for _ in range(12)]
        self.clients += [Client(self, ["1m.bin", "5m.bin"], slow=True) for _ in range(4)]
        while any(client.state != "gone" for client in self.clients):
            for key, _ in self.selector.select(0.2):
                if key.data.socket is not None and key.fileobj is key.data.socket:
                    try:
                        key.data.happened()
                    except Exception as error:  # pylint: disable=broad-except
                        key.data.wrong(repr(error))
            if time.monotonic() - self.news > PATIENCE:
                for client in self.clients:
                    if client.state != "gone":
                        self.failures.append(f"stuck: {client.state}, {list(client.asked)}, {client.taken} bytes")
                        client.over("done")
                self.stopping = True
        self.selector.close()

    def stop(self):
        self.stopping = True
        self.join()


class LoadTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.contents = {}
        dice = random.Random(SEED)
        for name, size in FILES.items():
            cls.contents[name] = dice.randbytes(size)
            path = pathlib.Path(cls.folder.name) / name
            path.write_bytes(cls.contents[name])
            os.utime(path, (1_000_000_000, 1_000_000_000))  # old enough to be kept

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def serve(self):
        port = test_http.free_port()
        daemon = test_http.Daemon("http", {"listen": f"{HOST}:{port}", "root": self.folder.name})
        self.addCleanup(daemon.kill)
        return port, daemon

    def wait_for_answers(self, load, count):
        until = time.monotonic() + PATIENCE
        while load.answers < count and time.monotonic() < until and not load.failures:
            time.sleep(0.005)

    def check(self, load, daemon):
        self.assertEqual(load.failures, [], f"{len(load.failures)} failures; {dict(load.ends)}\n" +
                         "".join(daemon.lines[-20:]))
        self.assertGreater(load.answers, 0)


class Stop(LoadTest):
    def test_sigterm_under_load(self):
        """SIGTERM at any time: exit 0, and every request that was taken is answered whole."""
        dice = random.Random(SEED)
        ends = collections.Counter()
        answers = said_close = 0
        for number in range(STOPS):
            with self.subTest(number=number):
                port, daemon = self.serve()
                load = Load(port, self.contents, SEED + number)
                load.start()
                self.wait_for_answers(load, 20)
                time.sleep(dice.random() * 0.3)
                load.may_end = True
                daemon.terminate()
                code = daemon.wait()
                load.stop()
                self.check(load, daemon)
                self.assertEqual(code, 0, "".join(daemon.lines[-20:]))
                self.assertFalse([line for line in daemon.lines if '"drain_timed_out"' in line])
                ends += load.ends
                answers += load.answers
                said_close += load.said_close
                daemon.kill()
        print(f"\n{STOPS} stops: {answers} answers, all whole; {said_close} of them said that it was the last; "
              f"connections that ended without one: {dict(ends)}")


class Reload(LoadTest):
    def test_sighup_under_load(self):
        """SIGHUP, again and again: not one request is broken, not one connection ends."""
        port, daemon = self.serve()
        load = Load(port, self.contents, SEED)
        load.start()
        for number in range(1, RELOADS + 1):
            self.wait_for_answers(load, 50 * number)
            daemon.process.send_signal(signal.SIGHUP)
        self.wait_for_answers(load, load.answers + 100)
        load.stop()
        self.check(load, daemon)
        self.assertEqual(dict(load.ends), {})
        self.assertEqual(load.said_close, 0)
        daemon.terminate()
        self.assertEqual(daemon.wait(), 0)
        print(f"\n{RELOADS} reloads: {load.answers} answers, all whole")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    test_http.BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    print(f"seed: UMBEL_TEST_SEED={SEED}")
    unittest.main()
