#!/usr/bin/env python3
"""Requests that other plugins' actors answer behind `http`, from outside: what goes right, and each way that goes wrong.

Usage: test_http_routes.py BUILD_DIR [unittest arguments]
"""

import pathlib
import random
import shutil
import subprocess
import sys
import threading
import time
import unittest

import test_http
from test_http import HOST, Daemon, HttpTest


class Routes(HttpTest):
    settings = {"route_timeout": "2s", "access_log": "on"}

    @classmethod
    def setUpClass(cls):
        cls.more = {"routes": {"path": test_http.BUILD / "tests/route_plugins/routes.so"}}
        super().setUpClass()

    def send_body(self, client, target, body, chunked=False):
        if chunked:
            client.send(f"POST {target} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            for i in range(0, len(body), 10_000):
                piece = body[i:i + 10_000]
                client.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            client.send(b"0\r\n\r\n")
        else:
            client.send(f"POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        return client.response()

    def test_what_the_handler_sees(self):
        with self.client() as client:
            answer = client.get("/api/a%20b/./c?x=1&y=2", "X-One: 1\r\nX-Two:  two \r\n", method="PATCH")
            text = answer.body.decode().split("\n")
            self.assertEqual(text[0], "PATCH /api/a b/c ?x=1&y=2")
            self.assertIn("X-Two=two", text)
            self.assertTrue(any(line.startswith(f"peer {HOST}:") for line in text))
            self.assertIn("date", answer.headers)

    def test_paths(self):
        """The longest path wins; a path without a slash at its end stands for itself alone; the rest are files."""
        with self.client() as client:
            self.assertEqual(client.get("/one/two").body, b"the longest wins")
            self.assertTrue(client.get("/one").body.startswith(b"GET /one "))
            self.assertTrue(client.get("/one/").body.startswith(b"GET /one/ "))
            self.assertTrue(client.get("/one/two/three").body.startswith(b"GET /one/two/three "))
            self.assertTrue(client.get("/%6fne/").body.startswith(b"GET /one/ "))
            self.assertEqual(client.get("/onerous").status, 404)
            self.assertEqual(client.get("/1k").body, (self.root / "1k").read_bytes())

    def test_bodies(self):
        """Bodies of any length come and go whole, chunked ones too."""
        with self.client() as client:
            for size in (0, 1, 1000, 16_000, 16_384, 100_000, 1_000_000):
                body = random.randbytes(size)
                for chunked in (False, True):
                    answer = self.send_body(client, "/api/echo", body, chunked)
                    self.assertEqual((answer.status, answer.headers["x-size"]), (200, str(size)))
                    self.assertEqual(answer.body, body)

    def test_many_at_once(self):
        failures = []

        def visit(seed):
            numbers = random.Random(seed)
            try:
                with self.client() as client:
                    for _ in range(30):
                        body = numbers.randbytes(numbers.choice([0, 10, 20_000, 60_000]))
                        if self.send_body(client, "/api/echo", body).body != body:
                            failures.append("other bytes")
            except (OSError, EOFError, KeyError) as failure:
                failures.append(failure)

        visitors = [threading.Thread(target=visit, args=(i,)) for i in range(16)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
        self.assertEqual(failures, [])

    def test_answers(self):
        with self.client() as client:
            self.assertEqual(client.get("/api/big?size=3000000").body, b"b" * 3_000_000)
            self.assertEqual(client.get("/api/none").status, 204)
            head = client.get("/api/big?size=100", method="HEAD")
            self.assertEqual((head.status, head.headers["content-length"]), (200, "100"))
            refused = client.get("/api/get_only", method="DELETE")
            self.assertEqual((refused.status, refused.headers["allow"]), (405, "GET"))
            self.assertEqual(client.get("/api/x", method="OPTIONS").status, 200)  # The handler's choice.

    def test_streamed(self):
        with self.client() as client:
            answer = client.get("/api/stream")
            self.assertEqual(answer.headers["transfer-encoding"], "chunked")
            self.assertEqual(answer.body, b"s" * 1_000_000)
            self.assertEqual(client.get("/api/stream", method="HEAD").body, b"")
            client.send(b"GET /api/stream HTTP/1.0\r\n\r\n")
            while client.more():
                pass
            head, body = client.data.split(b"\r\n\r\n", 1)
            self.assertIn(b"Connection: close", head)
            self.assertNotIn(b"chunked", head)
            self.assertEqual(body, b"s" * 1_000_000)

    def test_injection(self):
        with self.client() as client:
            self.assertEqual(client.get("/api/inject?name=fine").headers["x-name"], "fine")
            for name in ("a%0d%0aX-Evil:%201", "a%0aX-Evil:%201", "a%0dX", "%00", "a%0d%0a%0d%0abody"):
                answer = client.get("/api/inject?name=" + name)
                self.assertEqual(answer.status, 500, name)
                self.assertNotIn("x-evil", answer.headers)
            self.assertEqual(client.get("/api/reserved").status, 500)
            self.assertEqual(client.get("/lies").status, 502)

    def test_exceptions(self):
        with self.client() as client:
            self.assertEqual(client.get("/api/throw").status, 500)
            self.assertEqual(client.get("/api/echo").status, 200)
            client.send(b"GET /api/throw_late HTTP/1.1\r\nHost: h\r\n\r\n")
            with self.assertRaises((EOFError, ConnectionResetError)):
                client.response()

    def test_death(self):
        """The request that kills its actor gets 502, and so do those that come after it."""
        with self.client() as client:
            begin = time.monotonic()
            self.assertEqual(client.get("/dies").status, 502)
            self.assertEqual(client.get("/dies").status, 502)
            self.assertLess(time.monotonic() - begin, 10)
            self.assertEqual(client.get("/1").status, 200)

    def test_slow_handler(self):
        with self.client() as client:
            self.assertEqual(client.get("/api/slow?ms=300").status, 200)
            self.assertEqual(client.get("/api/slow?ms=4000").status, 504)
            time.sleep(2.5)
            self.assertEqual(client.get("/api/slow?ms=1").body, b"slept\n")

    def test_client_that_goes_away(self):
        """What nobody waits for any more is not handed to the handler, and a stream is told that nobody reads it."""
        with self.client() as client:
            client.send(b"GET /api/slow?ms=1000 HTTP/1.1\r\nHost: h\r\n\r\n")
            time.sleep(0.2)
            for _ in range(50):
                with self.client() as gone:
                    gone.send(b"GET /api/slow?ms=1000 HTTP/1.1\r\nHost: h\r\n\r\n")
            self.assertEqual(client.response().status, 200)
            begin = time.monotonic()
            self.assertEqual(client.get("/api/slow?ms=1").status, 200)
            self.assertLess(time.monotonic() - begin, 20)
        with self.client(receive_buffer=4096) as client:
            client.send(b"GET /api/stream HTTP/1.1\r\nHost: h\r\n\r\n")
            time.sleep(0.2)
        with self.client() as client:
            self.assertEqual(client.get("/api/echo").status, 200)

    def test_slow_reader_holds_up_nobody(self):
        with self.client(receive_buffer=4096) as slow, self.client() as client:
            slow.send(b"GET /api/big?size=8000000 HTTP/1.1\r\nHost: h\r\n\r\n")
            time.sleep(0.3)
            begin = time.monotonic()
            for _ in range(20):
                self.assertEqual(client.get("/api/echo").status, 200)
            self.assertLess(time.monotonic() - begin, 10)
            self.assertEqual(len(slow.response().body), 8_000_000)

    def test_expect_continue(self):
        with self.client() as client:
            client.send(b"POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            self.assertEqual(client.response().status, 100)
            client.send(b"hello")
            self.assertEqual(client.response().body, b"hello")

    def test_pipelined(self):
        with self.client() as client:
            client.send(b"".join(f"GET /api/big?size={i} HTTP/1.1\r\nHost: h\r\n\r\n".encode() for i in range(300)))
            for i in range(300):
                self.assertEqual(client.response().body, b"b" * i)


class Example(HttpTest):
    more = {"http_api": {}}

    def curl(self, *arguments):
        return subprocess.run(["curl", "-sS", *arguments], check=True, capture_output=True).stdout.decode()

    @unittest.skipUnless(shutil.which("curl"), "curl")
    def test_as_its_page_says(self):
        url = f"http://{HOST}:{self.port}/hello"
        self.assertEqual(self.curl(url + "?name=Ann"), "Hello, Ann!\n")
        self.assertEqual(self.curl(url), "Hello, world!\n")
        refused = self.curl("-i", "-X", "POST", url)
        self.assertTrue(refused.startswith("HTTP/1.1 405 Method Not Allowed\r\n"), refused)
        self.assertIn("\r\nAllow: GET, HEAD\r\n", refused)


class NoHttp(unittest.TestCase):
    def test_says_what_is_missing(self):
        """A plugin with routes and no http to serve them: the daemon says so, and does not start."""
        with self.assertRaisesRegex(AssertionError, r"is there a section \[plugin.http\] in the config file"):
            Daemon("http_api", {}).kill()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    test_http.BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    print(f"seed: UMBEL_TEST_SEED={test_http.SEED}")
    random.seed(test_http.SEED)
    unittest.main()
