#!/usr/bin/env python3
"""The plugin http, seen from outside: umbeld is started from a build folder and asked over real sockets.

Usage: test_http.py BUILD_DIR [unittest arguments]
UMBEL_TEST_LARGE=1 adds a file of 1 GiB (1 GiB of disk space with random pages in it, seconds to a minute).
"""

import contextlib
import email.utils
import hashlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BUILD = pathlib.Path()
HOST = "127.0.0.1"
SEED = int(os.environ.get("UMBEL_TEST_SEED", str(random.randrange(1 << 32))))


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


class Daemon:
    """umbeld with one plugin (and those of `more`, {name: settings}), from its `ready` to its end."""

    def __init__(self, plugin, settings, executors=2, more=None):
        self.folder = tempfile.TemporaryDirectory()
        self.config = pathlib.Path(self.folder.name) / "umbel.conf"
        self.executors = executors
        self.configure({plugin: settings, **(more or {})})
        self.lines = []
        self.is_ready = False
        self.decided = threading.Event()  # it is ready, or it has ended
        self.process = subprocess.Popen(
            [BUILD / "bin/umbeld", "--config", self.config, "--set", f"daemon.plugin_dir={BUILD / 'lib/umbel'}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        self.decided.wait(20)
        if not self.is_ready:
            self.kill()
            raise AssertionError("not ready:\n" + "".join(self.lines))

    def configure(self, plugins):
        lines = ["[executors]", f"count = {self.executors}", "[log]", "format = json"]
        for name, settings in plugins.items():
            lines += [f"[plugin.{name}]"] + [f"{key} = {value}" for key, value in {"path": f"{name}.so", **settings}.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def events(self, name):
        """The log's events of this name so far; whatever is no JSON object fails the test."""
        found = [json.loads(line) for line in list(self.lines)]
        return [event for event in found if event["event"] == name]

    def wait_for_event(self, name, count=1):
        deadline = time.monotonic() + 20
        while len(self.events(name)) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.events(name)

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            with contextlib.suppress(ValueError):
                if json.loads(line).get("event") == "ready":
                    self.is_ready = True
                    self.decided.set()
        self.decided.set()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        code = self.process.wait(30)
        self.reader.join()
        return code

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        self.folder.cleanup()


class Response:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body


class Client:
    """One connection; reads answers strictly, and nothing beyond them."""

    def __init__(self, port, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.data = b""
        try:
            self.socket.connect((HOST, port))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def get(self, target, headers="", method="GET"):
        self.send(f"{method} {target} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode())
        return self.response(head=method == "HEAD")

    def more(self):
        piece = self.socket.recv(1 << 16)
        self.data += piece
        return bool(piece)

    def response(self, head=False):
        while b"\r\n\r\n" not in self.data:
            if not self.more():
                raise EOFError(self.data)
        text, self.data = self.data.split(b"\r\n\r\n", 1)
        first, *lines = text.decode("ascii").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        headers = {}
        for line in lines:
            name, value = line.split(": ", 1)
            assert name.lower() not in headers, line
            headers[name.lower()] = value
        status = int(status)
        if headers.get("transfer-encoding") == "chunked" and not head:
            return Response(status, headers, self.chunked())
        length = 0 if head or status in (100, 204, 304) else int(headers["content-length"])
        pieces, have = [self.data], len(self.data)
        while have < length:
            piece = self.socket.recv(1 << 20)
            if not piece:
                raise EOFError(f"{have} of {length} bytes")
            pieces.append(piece)
            have += len(piece)
        body = b"".join(pieces)
        self.data = body[length:]
        return Response(status, headers, body[:length])

    def chunked(self):
        body = b""
        while True:
            while b"\r\n" not in self.data:
                if not self.more():
                    raise EOFError(body)
            size, self.data = self.data.split(b"\r\n", 1)
            size = int(size, 16)
            while len(self.data) < size + 2:
                if not self.more():
                    raise EOFError(body)
            assert self.data[size:size + 2] == b"\r\n", self.data[size:size + 2]
            body, self.data = body + self.data[:size], self.data[size + 2:]
            if size == 0:
                return body

    def closed(self):
        """The server ends the connection, and sends nothing before."""
        try:
            return self.data == b"" and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


class HttpTest(unittest.TestCase):
    settings = {}
    more = {}  # further plugins, with their settings

    @classmethod
    def setUpClass(cls):
        random.seed(SEED)
        cls.temporary = tempfile.TemporaryDirectory()
        top = pathlib.Path(cls.temporary.name)
        (top / "secret.txt").write_text("nobody may read this")
        cls.root = top / "root"
        cls.root.mkdir()
        cls.sizes = {"0": 0, "1": 1, "1k": 1024, "64k-1": 65535, "64k": 65536, "64k+1": 65537, "1m": 1 << 20,
                     "100m": 100 << 20}
        for name, size in cls.sizes.items():
            (cls.root / name).write_bytes(random.randbytes(size))
        (cls.root / "index.html").write_text("<h1>root</h1>")
        (cls.root / "page.html").write_text("page")
        (cls.root / "style.css").write_text("a {}")
        (cls.root / "with blank & \u00e4.txt").write_text("odd name")
        (cls.root / "folder").mkdir()
        (cls.root / "folder/index.htm").write_text("folder")
        (cls.root / "empty").mkdir()
        (cls.root / "inside").symlink_to("page.html")
        (cls.root / "outside").symlink_to("../secret.txt")
        (cls.root / "outside_absolute").symlink_to(top / "secret.txt")
        (cls.root / "outside_folder").symlink_to("..")
        (cls.root / "loop").symlink_to("loop")
        (cls.root / "forbidden").write_text("x")
        (cls.root / "forbidden").chmod(0)
        old = time.time() - 3600
        for path in cls.root.rglob("*"):
            with contextlib.suppress(OSError):
                os.utime(path, (old, old), follow_symlinks=False)
        cls.port = free_port()
        cls.daemon = Daemon("http", {"listen": f"{HOST}:{cls.port}", "root": cls.root, **cls.settings},
                            more=cls.more)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.terminate()
        try:
            code = cls.daemon.wait()
        finally:
            cls.daemon.kill()
            cls.temporary.cleanup()
        assert code == 0, f"umbeld ended with {code}:\n" + "".join(cls.daemon.lines)

    def client(self, **options):
        return Client(self.port, **options)


class Files(HttpTest):
    settings = {"cache_valid": "200ms"}

    def test_every_byte(self):
        """Files of every size are sent byte by byte, twice on one connection: from the disk and from the cache."""
        with self.client() as client:
            for name in list(self.sizes) * 2:
                response = client.get("/" + name)
                self.assertEqual(response.status, 200, name)
                wanted = hashlib.sha256((self.root / name).read_bytes()).hexdigest()
                self.assertEqual(hashlib.sha256(response.body).hexdigest(), wanted, name)
                self.assertNotIn("connection", response.headers)

    def test_headers(self):
        with self.client() as client:
            response = client.get("/page.html")
        self.assertEqual(response.headers["content-type"], "text/html; charset=utf-8")
        self.assertEqual(response.headers["content-length"], "4")
        self.assertEqual(response.headers["server"], "umbel")
        now = email.utils.parsedate_to_datetime(response.headers["date"]).timestamp()
        self.assertLess(abs(time.time() - now), 5)
        modified = email.utils.parsedate_to_datetime(response.headers["last-modified"]).timestamp()
        self.assertEqual(modified, int((self.root / "page.html").stat().st_mtime))

    def test_head(self):
        """HEAD has the headers of GET and no body, for small and large files and for errors."""
        with self.client() as client:
            for target in ("/1k", "/1m", "/page.html", "/nothing", "/folder", "/empty/"):
                got = client.get(target)
                head = client.get(target, method="HEAD")
                self.assertEqual(head.status, got.status)
                for name in ("content-length", "content-type"):
                    self.assertEqual(head.headers[name], got.headers[name])
            self.assertEqual(client.get("/1k").status, 200)

    def test_folders(self):
        with self.client() as client:
            self.assertEqual(client.get("/").body, b"<h1>root</h1>")
            self.assertEqual(client.get("/folder/").body, b"folder")
            moved = client.get("/folder?a=b")
            self.assertEqual((moved.status, moved.headers["location"]), (301, "/folder/?a=b"))
            moved = client.get("//folder")
            self.assertEqual((moved.status, moved.headers["location"]), (301, "/folder/"))
            self.assertEqual(client.get("/empty/").status, 403)
            self.assertEqual(client.get("/page.html/").status, 404)

    def test_names(self):
        with self.client() as client:
            self.assertEqual(client.get("/with%20blank%20&%20%C3%A4.txt").body, b"odd name")
            self.assertEqual(client.get("/./page%2ehtml?x#y").body, b"page")
            self.assertEqual(client.get(f"http://{HOST}/page.html").body, b"page")
            self.assertEqual(client.get("/" + "x" * 300).status, 404)
            self.assertEqual(client.get("/nothing").status, 404)

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_forbidden(self):
        with self.client() as client:
            self.assertEqual(client.get("/forbidden").status, 403)

    def test_nothing_outside_the_root(self):
        """Neither names nor symbolic links lead out; links that stay inside are followed."""
        with self.client() as client:
            for target in ("/../secret.txt", "/%2e%2e/secret.txt", "/folder/../../secret.txt", "/..%2fsecret.txt",
                           "/%2e%2e%2fsecret.txt", "/folder/..%2f..%2fsecret.txt", "/..\\secret.txt",
                           "/..%5csecret.txt", "/page.html%00.txt", "/%252e%252e/secret.txt", "/outside",
                           "/outside_absolute", "/outside_folder/secret.txt", "/outside_folder/", "/loop",
                           "/proc/self/environ", "//../secret.txt", "/.../secret.txt", "/folder/%2e%2e/page.html"):
                response = client.get(target)
                self.assertIn(response.status, (400, 403, 404), target)
                self.assertNotIn(b"nobody", response.body, target)
            self.assertEqual(client.get("/inside").body, b"page")

    def test_conditions(self):
        for name in ("1k", "1m"):
            with self.client() as client:
                first = client.get("/" + name)
                tag, modified = first.headers["etag"], first.headers["last-modified"]
                for headers, status in ((f"If-None-Match: {tag}\r\n", 304),
                                        (f'If-None-Match: "x", {tag}\r\n', 304),
                                        ("If-None-Match: *\r\n", 304),
                                        ('If-None-Match: "x"\r\n', 200),
                                        (f'If-None-Match: "x"\r\nIf-Modified-Since: {modified}\r\n', 200),
                                        (f"If-Modified-Since: {modified}\r\n", 304),
                                        ("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 200),
                                        ("If-Modified-Since: yesterday\r\n", 200)):
                    response = client.get("/" + name, headers)
                    self.assertEqual(response.status, status, headers)
                    self.assertEqual(response.headers["etag"], tag)

    def test_changed_file(self):
        """A change is seen after cache_valid (200 ms here) at the latest twice, on a connection that is kept too."""
        path = self.root / "changing"
        with self.client() as client:
            for round_, text in enumerate((b"one", b"two", b"2nd", b"longer")):
                path.write_bytes(text)
                os.utime(path, (1e9 + round_, 1e9 + round_))
                time.sleep(0.5)
                self.assertEqual(client.get("/changing").body, text)
                self.assertEqual(client.get("/changing").body, text)
            path.unlink()
            time.sleep(0.5)
            self.assertEqual(client.get("/changing").status, 404)

    def test_shrinking_file(self):
        """A large file that shrinks while it is sent: the connection ends, no answer is mistaken for whole."""
        path = self.root / "shrinking"
        path.write_bytes(bytes(32 << 20))
        with self.client(receive_buffer=4096) as client:
            client.send(b"GET /shrinking HTTP/1.1\r\nHost: test\r\n\r\n")
            time.sleep(0.3)
            os.truncate(path, 1 << 20)
            with self.assertRaises((EOFError, ConnectionResetError)):
                client.response()

    def test_many_connections(self):
        wanted = (self.root / "1k").read_bytes()
        failures = []

        def visit():
            try:
                with self.client() as client:
                    for _ in range(20):
                        if client.get("/1k").body != wanted:
                            failures.append("other bytes")
            except OSError as failure:
                failures.append(failure)

        visitors = [threading.Thread(target=visit) for _ in range(32)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
        self.assertEqual(failures, [])


class Protocol(HttpTest):
    settings = {"header_timeout": "1s", "idle_timeout": "2s", "header_limit": "16KiB", "send_timeout": "1s"}

    def ask(self, request):
        with self.client() as client:
            client.send(request)
            response = client.response()
            return response.status, client.closed() if response.headers.get("connection") == "close" else False

    def test_table(self):
        """Malformed and odd requests, each with its answer, and whether the connection ends."""
        host = b"Host: test\r\n"
        table = [
            (b"GET / HTTP/1.1\r\n" + host + b"\r\n", 200, False),
            (b"\r\n\r\nGET / HTTP/1.1\r\n" + host + b"\r\n", 200, False),
            (b"GET / HTTP/1.1\n" + host.replace(b"\r", b"") + b"\n", 200, False),
            (b"GET / HTTP/1.0\r\n\r\n", 200, True),
            (b"GET / HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n", 200, True),
            (b"GET / HTTP/1.1\r\n" + host + b"Content-Length: 3\r\n\r\nabc", 200, False),
            (b"GET / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, False),
            (b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 3\r\n\r\nabc", 405, False),
            (b"DELETE / HTTP/1.1\r\n" + host + b"\r\n", 405, False),
            (b"OPTIONS * HTTP/1.1\r\n" + host + b"\r\n", 204, False),
            (b"OPTIONS /1 HTTP/1.1\r\n" + host + b"\r\n", 204, False),
            (b"TRACE /1 HTTP/1.1\r\n" + host + b"\r\n", 405, False),
            (b"CONNECT a:1 HTTP/1.1\r\n" + host + b"\r\n", 405, True),
            (b"BREW / HTTP/1.1\r\n" + host + b"\r\n", 501, False),
            (b"get / HTTP/1.1\r\n" + host + b"\r\n", 501, False),
            (b"nonsense\r\n\r\n", 400, True),
            (b"\x16\x03\x01\x02\x00\x01\x00", 400, True),
            (b"GET /\r\n\r\n", 400, True),
            (b"GET / HTTP/1.1\r\n\r\n", 400, True),
            (b"GET / HTTP/1.1\r\n" + host + host + b"\r\n", 400, True),
            (b"GET / HTTP/1.1\r\n" + host + b"A b: c\r\n\r\n", 400, True),
            (b"GET / HTTP/1.1\r\n" + host + b"A : c\r\n\r\n", 400, True),
            (b"GET / HTTP/1.1\r\n" + host + b"A: \x00\r\n\r\n", 400, True),
            (b"GET * HTTP/1.1\r\n" + host + b"\r\n", 400, False),
            (b"GET page.html HTTP/1.1\r\n" + host + b"\r\n", 400, False),
            (b"GET / HTTP/2.0\r\n" + host + b"\r\n", 505, True),
            (b"GET / HTTP/1.1\r\n" + host + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, True),
            (b"GET / HTTP/1.1\r\n" + host + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400, True),
            (b"GET / HTTP/1.1\r\n" + host + b"Content-Length: x\r\n\r\n", 400, True),
            (b"GET / HTTP/1.1\r\n" + host + b"Content-Length: 100000000\r\n\r\n", 413, True),
            (b"GET / HTTP/1.1\r\n" + host + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n", 200, True),
            (b"GET / HTTP/1.1\r\n" + host + b"Content-Length: 3\r\nExpect: tea\r\n\r\n", 417, True),
            (b"GET / HTTP/1.1\r\n" + host + b"Transfer-Encoding: gzip\r\n\r\n", 400, True),
            (b"GET / HTTP/1.1\r\n" + host + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, True),
            (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + host + b"\r\n", 414, True),
            (b"GET / HTTP/1.1\r\n" + host + b"A: " + b"x" * 20000 + b"\r\n\r\n", 431, True),
            (b"GET / HTTP/1.1\r\n" + host + b"A: b\r\n" * 4000 + b"\r\n", 431, True),
        ]
        for request, status, ends in table:
            with self.subTest(request=request[:120]):
                self.assertEqual(self.ask(request), (status, ends))

    def test_allow(self):
        with self.client() as client:
            self.assertEqual(client.get("/", method="PUT").headers["allow"], "GET, HEAD, OPTIONS")

    def test_keep_alive(self):
        with self.client() as client:
            for _ in range(50):
                self.assertEqual(client.get("/page.html").body, b"page")
        with self.client() as client:
            for _ in range(3):
                client.send(b"GET /page.html HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                response = client.response()
                self.assertEqual((response.body, response.headers["connection"]), (b"page", "keep-alive"))

    def test_pipelined(self):
        """Requests sent at once are answered in order, whatever the files' sizes, and after a slow one too."""
        names = [random.choice(["0", "1", "1k", "64k", "64k+1", "1m", "nothing"]) for _ in range(200)]
        requests = b"".join(f"GET /{name} HTTP/1.1\r\nHost: test\r\n\r\n".encode() for name in names)
        with self.client() as client:
            sender = threading.Thread(target=client.send, args=(requests,))
            sender.start()
            for name in names:
                response = client.response()
                if name == "nothing":
                    self.assertEqual(response.status, 404)
                else:
                    self.assertEqual(response.body, (self.root / name).read_bytes(), name)
            sender.join()

    def test_cut_anywhere(self):
        """A request may come in any two pieces, and byte by byte."""
        request = b"GET /page.html HTTP/1.1\r\nHost: test\r\nIf-None-Match: \"x\"\r\nContent-Length: 2\r\n\r\nab"
        with self.client() as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for cut in range(1, len(request), 5):
                client.send(request[:cut])
                time.sleep(0.002)
                client.send(request[cut:])
                self.assertEqual(client.response().body, b"page")
            for byte in request:
                client.send(bytes([byte]))
            self.assertEqual(client.response().body, b"page")

    def test_slow_sender(self):
        """A request that takes longer than header_timeout is refused, however busily its bytes trickle."""
        with self.client() as client:
            begin = time.monotonic()
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n")
            with contextlib.suppress(OSError):
                while time.monotonic() - begin < 5 and not client.data:
                    client.send(b"A: b\r\n")
                    client.socket.settimeout(0.1)
                    with contextlib.suppress(TimeoutError):
                        if not client.more():
                            break
            self.assertLess(time.monotonic() - begin, 4)
            client.socket.settimeout(10)
            self.assertEqual(client.response().status, 408)

    def test_idle(self):
        """An idle connection is closed without a word after idle_timeout; use puts that off."""
        with self.client() as client:
            begin = time.monotonic()
            time.sleep(1.2)
            client.get("/1")
            time.sleep(1.2)
            client.get("/1")
            self.assertTrue(client.closed())
            self.assertGreater(time.monotonic() - begin, 4)

    def test_slow_reader(self):
        """A client that takes nothing for send_timeout loses its connection."""
        with self.client(receive_buffer=4096) as client:
            client.send(b"GET /100m HTTP/1.1\r\nHost: test\r\n\r\n")
            time.sleep(2.5)
            with self.assertRaises((EOFError, ConnectionResetError)):
                client.response()

    def test_client_that_stops_sending(self):
        """Half a connection is enough for an answer."""
        with self.client() as client:
            client.send(b"GET /1m HTTP/1.1\r\nHost: test\r\n\r\n")
            client.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(client.response().body, (self.root / "1m").read_bytes())
            self.assertTrue(client.closed())

    def test_clients_that_vanish(self):
        for request in (b"", b"GET", b"GET /100m HTTP/1.1\r\nHost: test\r\n\r\n"):
            for _ in range(5):
                with self.client() as client:
                    client.send(request)
        with self.client() as client:
            self.assertEqual(client.get("/1").status, 200)


class Patience(HttpTest):
    settings = {"idle_timeout": "1s", "send_timeout": "20s", "cache_file_limit": "1MiB"}

    def test_taking_an_answer_is_not_idleness(self):
        """A client that is slow to take its answers loses none of them when idle_timeout is over."""
        wanted = (self.root / "1m").read_bytes()
        with contextlib.ExitStack() as stack:
            # How much a socket takes at once is the system's secret: in one of these, it is the last answer that waits.
            clients = [stack.enter_context(self.client(receive_buffer=4096)) for _ in range(8)]
            for count, client in enumerate(clients):
                client.send(b"GET /1m HTTP/1.1\r\nHost: test\r\n\r\n" * count)
            time.sleep(2.5)
            for count, client in enumerate(clients):
                for _ in range(count):
                    self.assertEqual(client.response().body, wanted)
                self.assertTrue(client.closed())


@unittest.skipUnless(os.environ.get("UMBEL_TEST_LARGE") == "1", "takes up to a minute: UMBEL_TEST_LARGE=1 runs it")
class Large(HttpTest):
    def test_gigabyte(self):
        """A file of 1 GiB + 1 B, to two clients at once, while others are served."""
        size = (1 << 30) + 1
        path = self.root / "1g"
        with path.open("wb") as file:
            file.truncate(size)  # With holes, and a random page in each of 4096 places.
            for place in [0, size - 4096] + [random.randrange(size - 4096) for _ in range(4094)]:
                file.seek(place)
                file.write(random.randbytes(4096))
        failures = []

        def fetch():
            try:
                with self.client() as client, path.open("rb") as file:
                    client.send(b"GET /1g HTTP/1.1\r\nHost: test\r\n\r\n")
                    while b"\r\n\r\n" not in client.data:
                        client.more()
                    head, client.data = client.data.split(b"\r\n\r\n", 1)
                    assert f"\r\nContent-Length: {size}\r\n".encode() in head, head
                    have = 0
                    while have < size:
                        piece = client.data or client.socket.recv(1 << 20)
                        client.data = b""
                        assert piece and piece == file.read(len(piece)), f"other bytes behind {have}"
                        have += len(piece)
                    assert have == size, have
                    assert client.get("/1").status == 200
            except Exception as failure:  # Of a thread: nobody else would see it.
                failures.append(failure)

        fetchers = [threading.Thread(target=fetch) for _ in range(2)]
        for fetcher in fetchers:
            fetcher.start()
        with self.client() as client:
            while any(fetcher.is_alive() for fetcher in fetchers):
                self.assertEqual(client.get("/1k").status, 200)
                time.sleep(0.05)
        for fetcher in fetchers:
            fetcher.join()
        self.assertEqual(failures, [])


class Uncached(Files):
    """The same with each answer from the disk."""
    settings = {"cache_valid": "0s"}


class TinyCache(Files):
    """The same with a cache that holds one file or none."""
    settings = {"cache_valid": "200ms", "cache_size": "4KiB"}


class Drain(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.temporary.name)
        (self.root / "large").write_bytes(random.randbytes(24 << 20))
        (self.root / "small").write_bytes(b"small")
        self.port = free_port()
        self.daemon = Daemon("http", {"listen": f"{HOST}:{self.port}", "root": self.root})

    def tearDown(self):
        self.daemon.kill()
        self.temporary.cleanup()

    def test_what_is_in_flight_is_answered(self):
        """After SIGTERM: an answer being sent is sent whole, a request being received is answered, idle connections end,
        nobody new is let in; umbeld exits with 0."""
        with (Client(self.port, receive_buffer=4096) as loading, Client(self.port) as asking, Client(self.port) as idle):
            loading.send(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
            while len(loading.data) < 1000:
                loading.more()
            asking.send(b"GET /small HTTP/1.1\r\nHo")
            self.assertEqual(idle.get("/small").body, b"small")
            time.sleep(0.3)
            self.daemon.terminate()
            self.assertTrue(idle.closed())
            time.sleep(0.3)
            with self.assertRaises(OSError):
                Client(self.port)
            asking.send(b"st: test\r\n\r\n")
            answer = asking.response()
            self.assertEqual((answer.body, answer.headers["connection"]), (b"small", "close"))
            self.assertTrue(asking.closed())
            self.assertEqual(loading.response().body, (self.root / "large").read_bytes())
            self.assertTrue(loading.closed())
        self.assertEqual(self.daemon.wait(), 0)

    def test_address_in_use(self):
        """A second daemon on the same address says who is in its way, and ends."""
        with self.assertRaisesRegex(AssertionError, f"cannot listen on {HOST}:{self.port}: address already in use"):
            Daemon("http", {"listen": f"{HOST}:{self.port}", "root": self.root}).kill()


class Echo(unittest.TestCase):
    def test_every_byte_comes_back(self):
        """Whatever is sent comes back, in order; half a connection is enough."""
        port = free_port()
        daemon = Daemon("echo", {"listen": f"{HOST}:{port}"})
        try:
            data = random.randbytes(8 << 20)
            with Client(port) as client:
                sender = threading.Thread(target=lambda: (client.send(data), client.socket.shutdown(socket.SHUT_WR)))
                sender.start()
                while client.more():
                    pass
                sender.join()
                self.assertEqual(hashlib.sha256(client.data).digest(), hashlib.sha256(data).digest())
            with Client(port) as idle:
                idle.send(b"x")
                self.assertEqual(idle.socket.recv(1), b"x")
                daemon.terminate()
                self.assertTrue(idle.closed())
            self.assertEqual(daemon.wait(), 0)
        finally:
            daemon.kill()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    print(f"seed: UMBEL_TEST_SEED={SEED}")
    random.seed(SEED)
    unittest.main()
