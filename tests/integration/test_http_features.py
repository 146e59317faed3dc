#!/usr/bin/env python3
"""What `http` can do beyond sending whole files, from outside: ranges, codings, listings, limits, logs, reload.

Usage: test_http_features.py BUILD_DIR [unittest arguments]
"""

import contextlib
import email.utils
import html.parser
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import test_http
from test_http import HOST, Client, Daemon, HttpTest, free_port


def parts_of(response):
    """A multipart/byteranges body: [(content-range, bytes)]."""
    kind, mark = response.headers["content-type"].split("; boundary=")
    assert kind == "multipart/byteranges", kind
    pieces = response.body.split(b"\r\n--" + mark.encode())
    assert pieces[0] == b"" and pieces[-1] == b"--\r\n", (pieces[0], pieces[-1])
    parts = []
    for piece in pieces[1:-1]:
        head, body = piece.split(b"\r\n\r\n", 1)
        headers = dict(line.split(": ", 1) for line in head.decode().strip().split("\r\n"))
        parts.append((headers["Content-Range"], body))
    return parts


class Ranges(HttpTest):
    def test_single(self):
        """206 with exactly the bytes asked for, of files from the cache and from the disk."""
        with self.client() as client:
            for name in ("1k", "1m"):
                whole = (self.root / name).read_bytes()
                size = len(whole)
                for spec, begin, end in (("0-0", 0, 1), ("0-99", 0, 100), ("100-", 100, size), ("-1", size - 1, size),
                                         (f"{size - 1}-", size - 1, size), (f"0-{size * 2}", 0, size),
                                         (f"-{size * 2}", 0, size), ("5-20,10-30", 5, 31)):
                    answer = client.get("/" + name, f"Range: bytes={spec}\r\n")
                    self.assertEqual(answer.status, 206, spec)
                    self.assertEqual(answer.headers["content-range"], f"bytes {begin}-{end - 1}/{size}")
                    self.assertEqual(answer.body, whole[begin:end])
                    self.assertIn("etag", answer.headers)
                    self.assertIn("last-modified", answer.headers)
                self.assertEqual(client.get("/" + name).headers["accept-ranges"], "bytes")

    def test_several(self):
        with self.client() as client:
            for name in ("1k", "1m"):
                whole = (self.root / name).read_bytes()
                answer = client.get("/" + name, "Range: bytes=0-0, 500-599, -1\r\n")
                self.assertEqual(answer.status, 206)
                self.assertEqual(parts_of(answer), [(f"bytes 0-0/{len(whole)}", whole[:1]),
                                                    (f"bytes 500-599/{len(whole)}", whole[500:600]),
                                                    (f"bytes {len(whole) - 1}-{len(whole) - 1}/{len(whole)}", whole[-1:])])
                self.assertEqual(client.get("/" + name).body, whole)

    def test_random(self):
        """Any ranges, against a naive reading of them."""
        whole = (self.root / "1m").read_bytes()
        with self.client() as client:
            for _ in range(50):
                specs = []
                for _ in range(random.randrange(1, 6)):
                    begin = random.randrange(len(whole))
                    specs.append((begin, min(len(whole) - 1, begin + random.randrange(1 << random.randrange(20)))))
                field = ",".join(f"{begin}-{end}" for begin, end in specs)
                answer = client.get("/1m", f"Range: bytes={field}\r\n")
                self.assertEqual(answer.status, 206, field)
                parts = ([(answer.headers["content-range"], answer.body)] if "content-range" in answer.headers
                         else parts_of(answer))
                covered = set()
                for place, body in parts:
                    begin, end = map(int, place.removeprefix("bytes ").split("/")[0].split("-"))
                    self.assertEqual(body, whole[begin:end + 1], field)
                    covered.add((begin, end))
                for begin, end in specs:
                    self.assertTrue(any(b <= begin and end <= e for b, e in covered), field)

    def test_not_satisfied_and_ignored(self):
        with self.client() as client:
            answer = client.get("/1k", "Range: bytes=1024-\r\n")
            self.assertEqual((answer.status, answer.headers["content-range"]), (416, "bytes */1024"))
            for field in ("lines=1-2", "bytes=5-4", "bytes=x", "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 20000, 100))):
                self.assertEqual(client.get("/1k", f"Range: {field}\r\n").status, 200, field)
            self.assertEqual(client.get("/1k", "Range: bytes=0-1\r\n", method="HEAD").headers["content-length"], "1024")
            self.assertEqual(client.get("/1k", "Range: bytes=0-1\r\nRange: bytes=5-6\r\n").status, 200)

    def test_if_range(self):
        with self.client() as client:
            for name in ("1k", "1m"):
                first = client.get("/" + name)
                tag, modified = first.headers["etag"], first.headers["last-modified"]
                self.assertTrue(tag.startswith('"'), tag)
                for value, status in ((tag, 206), (modified, 206), ("W/" + tag, 200), ('"x"', 200),
                                      ("Thu, 01 Jan 1970 00:00:00 GMT", 200), ("", 200)):
                    answer = client.get("/" + name, f"Range: bytes=0-9\r\nIf-Range: {value}\r\n")
                    self.assertEqual(answer.status, status, value)
                # A condition that fails goes before the range.
                self.assertEqual(client.get("/" + name, f"Range: bytes=0-9\r\nIf-None-Match: {tag}\r\n").status, 304)
                self.assertEqual(client.get("/" + name, 'Range: bytes=0-9\r\nIf-Match: "x"\r\n').status, 412)

    def test_fresh_file_has_a_weak_tag(self):
        """A file that was changed just now could be changed again unseen: no parts of it are put together."""
        path = self.root / "fresh"
        path.write_bytes(b"fresh")
        with self.client() as client:
            answer = client.get("/fresh")
            self.assertTrue(answer.headers["etag"].startswith('W/"'), answer.headers["etag"])
            again = client.get("/fresh", f"Range: bytes=0-1\r\nIf-Range: {answer.headers['etag']}\r\n")
            self.assertEqual((again.status, again.body), (200, b"fresh"))

    @unittest.skipUnless(shutil.which("curl"), "curl")
    def test_curl_resumes(self):
        whole = (self.root / "1m").read_bytes()
        target = pathlib.Path(self.temporary.name) / "resumed"
        target.write_bytes(whole[:300_000])
        subprocess.run(["curl", "-sS", "--fail", "-C", "-", "-o", target, f"http://{HOST}:{self.port}/1m"], check=True)
        self.assertEqual(target.read_bytes(), whole)


class Conditions(HttpTest):
    def test_table(self):
        for name in ("1k", "1m"):
            with self.client() as client:
                first = client.get("/" + name)
                tag, modified = first.headers["etag"], first.headers["last-modified"]
                stamp = email.utils.parsedate_to_datetime(modified)
                asctime = time.strftime("%a %b %e %H:%M:%S %Y", stamp.timetuple())
                long_ago = "Thu, 01 Jan 1970 00:00:00 GMT"
                for headers, status in ((f"If-Match: {tag}\r\n", 200), ("If-Match: *\r\n", 200),
                                        (f"If-Match: W/{tag}\r\n", 412), ('If-Match: "x"\r\n', 412),
                                        (f"If-Unmodified-Since: {modified}\r\n", 200),
                                        (f"If-Unmodified-Since: {long_ago}\r\n", 412),
                                        (f"If-Match: {tag}\r\nIf-Unmodified-Since: {long_ago}\r\n", 200),
                                        (f"If-None-Match: W/{tag}\r\n", 304),
                                        (f"If-None-Match: \"x\"\r\nIf-None-Match: {tag}\r\n", 304),
                                        (f"If-Modified-Since: {asctime}\r\n", 304),
                                        (f"If-Match: \"x\"\r\nIf-None-Match: {tag}\r\n", 412)):
                    self.assertEqual(client.get("/" + name, headers).status, status, headers)
                self.assertEqual(client.get("/" + name).body, (self.root / name).read_bytes())


class Precompressed(HttpTest):
    settings = {"cache_valid": "200ms", "cache_file_limit": "1KiB"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.forms = {}
        old = time.time() - 3600
        for name, size in (("small.js", 600), ("large.js", 50_000)):
            forms = {"": b"p" * size, "br": b"b" * (size // 4), "gzip": b"g" * (size // 3)}
            cls.forms[name] = forms
            for coding, suffix in (("", ""), ("br", ".br"), ("gzip", ".gz")):
                (cls.root / (name + suffix)).write_bytes(forms[coding])
                os.utime(cls.root / (name + suffix), (old, old))

    def test_negotiation(self):
        table = (("", ""), ("gzip", "gzip"), ("gzip, deflate, br, zstd", "br"), ("zstd", ""), ("br;q=0, gzip", "gzip"),
                 ("gzip;q=1, br;q=0.5", "gzip"), ("*", "br"), ("identity", ""), ("identity;q=1, gzip;q=0.5", ""),
                 ("gzip;q=0", ""))
        for name, forms in self.forms.items():
            with self.client() as client:
                for accept, coding in table * 2:
                    answer = client.get("/" + name, f"Accept-Encoding: {accept}\r\n" if accept else "")
                    self.assertEqual(answer.headers.get("content-encoding", ""), coding, accept)
                    self.assertEqual(answer.body, forms[coding], accept)
                    self.assertEqual(answer.headers["vary"], "Accept-Encoding")
                    self.assertEqual(answer.headers["content-type"], "text/javascript; charset=utf-8")

    def test_each_form_has_its_tag(self):
        for name in self.forms:
            with self.client() as client:
                tags = {coding: client.get("/" + name, f"Accept-Encoding: {coding}\r\n").headers["etag"]
                        for coding in ("identity", "br", "gzip")}
                self.assertEqual(len(set(tags.values())), 3, tags)
                for coding, tag in tags.items():
                    self.assertEqual(client.get("/" + name, f"Accept-Encoding: {coding}\r\nIf-None-Match: {tag}\r\n").status, 304)
                answer = client.get("/" + name, f"Accept-Encoding: gzip\r\nIf-None-Match: {tags['br']}\r\n")
                self.assertEqual(answer.status, 200)

    def test_ranges_are_of_the_form(self):
        for name, forms in self.forms.items():
            with self.client() as client:
                answer = client.get("/" + name, "Accept-Encoding: br\r\nRange: bytes=0-9\r\n")
                self.assertEqual(answer.headers["content-range"], f"bytes 0-9/{len(forms['br'])}")
                self.assertEqual((answer.body, answer.headers["content-encoding"]), (b"b" * 10, "br"))

    def test_others(self):
        """Files without forms do not vary; a form by its own name is a file."""
        with self.client() as client:
            self.assertNotIn("vary", client.get("/1k", "Accept-Encoding: br\r\n").headers)
            answer = client.get("/small.js.gz", "Accept-Encoding: gzip\r\n")
            self.assertNotIn("content-encoding", answer.headers)
            self.assertEqual(answer.headers["content-type"], "application/gzip")

    def test_forms_come_and_go(self):
        path = self.root / "coming.css"
        path.write_bytes(b"plain")
        old = time.time() - 3600
        os.utime(path, (old, old))
        form = self.root / "coming.css.gz"
        with self.client() as client:
            for _ in range(2):
                self.assertEqual(client.get("/coming.css", "Accept-Encoding: gzip\r\n").body, b"plain")
                form.write_bytes(b"packed")
                os.utime(form, (old, old))
                time.sleep(0.5)
                self.assertEqual(client.get("/coming.css", "Accept-Encoding: gzip\r\n").body, b"packed")
                self.assertEqual(client.get("/coming.css").headers["vary"], "Accept-Encoding")
                form.unlink()
                time.sleep(0.5)


class Listing(HttpTest):
    settings = {"listing": "true"}

    def test_listing(self):
        odd = self.root / "list"
        odd.mkdir()
        names = ["b.txt", "a.txt", "<script>alert(1)<", "\"quote' &amp;", "javascript:x", "\xe4 \u2603", "%41"]
        for name in names:
            (odd / name).write_text(name)
        (odd / "sub").mkdir()
        (odd / ".hidden").write_text("x")
        (odd / "link").symlink_to("/etc/passwd")
        with self.client() as client:
            self.assertEqual(client.get("/list").status, 301)
            answer = client.get("/list/")
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.headers["content-type"], "text/html; charset=utf-8")
            page = answer.body.decode()
            self.assertNotIn("<script>", page)
            self.assertNotIn("hidden", page)
            links = []

            class Links(html.parser.HTMLParser):
                def handle_starttag(self, tag, attributes):
                    links.extend(value for key, value in attributes if (tag, key) == ("a", "href"))
            Links().feed(page)
            self.assertEqual(links[:2], ["../", "./sub/"])
            for link in links[2:]:
                self.assertTrue(link.startswith("./"), link)
                if link != "./link":
                    self.assertEqual(client.get("/list/" + link[2:]).status, 200, link)
            self.assertEqual(len(links), 2 + len(names) + 1)
            self.assertEqual(client.get("/list/", method="HEAD").body, b"")
            self.assertEqual(client.get("/").body, b"<h1>root</h1>")

    def test_many(self):
        many = self.root / "many"
        many.mkdir()
        for i in range(10_050):
            (many / f"{i:05}").touch()
        with self.client() as client:
            page = client.get("/many/").body
            self.assertEqual(page.count(b"<tr>"), 10_001)
            self.assertIn(b"There are more", page)


class Limits(HttpTest):
    settings = {"connections": "20", "connections_per_address": "12", "header_count": "10", "body_limit": "100KiB",
                "body_timeout": "1s", "send_timeout": "1s", "send_rate": "1MiB", "idle_timeout": "30s"}

    def tearDown(self):
        time.sleep(0.3)  # The connections of one test are over when the next begins.

    def test_connections(self):
        """Over the limit: 503, told so, closed, and logged once a second; whoever leaves makes room."""
        with contextlib.ExitStack() as stack:
            inside = [stack.enter_context(self.client()) for _ in range(12)]
            for client in inside:
                self.assertEqual(client.get("/1").status, 200)
            for _ in range(30):
                with self.client() as over:
                    answer = over.response()
                    self.assertEqual((answer.status, answer.headers["connection"]), (503, "close"))
                    self.assertTrue(over.closed())
            for client in inside:
                self.assertEqual(client.get("/1").status, 200)
        time.sleep(0.5)
        with self.client() as client:
            self.assertEqual(client.get("/1").status, 200)
        lines = [line for line in self.daemon.lines if "connections turned away" in line]
        self.assertTrue(lines)
        self.assertLess(len(lines), 20)
        self.assertIn("connections_per_address is reached: 12", lines[0])

    def test_fields_and_bodies(self):
        with self.client() as client:
            self.assertEqual(client.get("/1", "A: b\r\n" * 9).status, 200)
            self.assertEqual(client.get("/1", "A: b\r\n" * 10).status, 431)
        with self.client() as client:
            client.send(b"GET /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 102400\r\n\r\n" + bytes(102400))
            self.assertEqual(client.response().status, 200)
            client.send(b"GET /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 102401\r\n\r\n")
            self.assertEqual(client.response().status, 413)

    def test_slow_body(self):
        with self.client() as client:
            client.send(b"GET /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n")
            begin = time.monotonic()
            with contextlib.suppress(OSError):
                while time.monotonic() - begin < 5:
                    client.send(b"x")
                    client.socket.settimeout(0.1)
                    with contextlib.suppress(TimeoutError):
                        if not client.more():
                            break
                        break
            client.socket.settimeout(10)
            self.assertEqual(client.response().status, 408)
            self.assertLess(time.monotonic() - begin, 10)

    def test_slow_reader_has_an_end(self):
        """A client that takes a little all the time, but less than send_rate, is disconnected."""
        with self.client(receive_buffer=4096) as client:
            client.send(b"GET /100m HTTP/1.1\r\nHost: test\r\n\r\n")
            begin = time.monotonic()
            # 100 s would be allowed for it; so of 2 MiB, 3 s.
            client.send(b"")
        with self.client(receive_buffer=4096) as client:
            client.send(b"GET /100m HTTP/1.1\r\nHost: test\r\nRange: bytes=0-20000000\r\n\r\n")
            received = 0
            with contextlib.suppress(ConnectionResetError):
                while time.monotonic() - begin < 60:
                    piece = client.socket.recv(100_000)
                    if not piece:
                        break
                    received += len(piece)
                    time.sleep(0.05)
            self.assertLess(received, 20_000_000)

    def test_expect_continue(self):
        """A file's request is answered at once, without its body being asked for."""
        with self.client() as client:
            client.send(b"GET /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            answer = client.response()
            self.assertEqual((answer.status, answer.headers["connection"]), (200, "close"))


class AccessLogOn(HttpTest):
    settings = {"access_log": "on"}

    def test_events(self):
        """One event for each answer, whatever the client sent; no byte of it ends a line."""
        with self.client() as client:
            client.get("/1k")
            client.get("/nothing?a=b", method="HEAD")
            client.get('/"\\\xc3\xa4<', "User-Agent: x\r\n")
        with self.client() as client:
            client.send(b"nonsense\r\n\r\n")
            client.response()
        events = self.daemon.wait_for_event("http.request", 4)
        self.assertEqual([event["status"] for event in events], [200, 404, 400, 400])
        self.assertEqual([event.get("target") for event in events[:2]], ["/1k", "/nothing?a=b"])
        self.assertEqual([event.get("method") for event in events], ["GET", "HEAD", "GET", None])
        self.assertGreater(events[0]["bytes"], 1024)
        self.assertTrue(events[0]["peer"].startswith(HOST + ":"))
        self.assertGreaterEqual(events[0]["duration_us"], 0)
        self.assertNotIn("user_agent", events[2])
        with self.client() as client:
            for _ in range(300):
                junk = bytes(random.randrange(256) for _ in range(random.randrange(1, 60)))
                with contextlib.suppress(OSError, EOFError), self.client() as hostile:
                    hostile.send(b"GET /" + junk + b" HTTP/1.1\r\nHost: h\r\n\r\n")
                    hostile.response()
            self.assertEqual(client.get("/1").status, 200)
        time.sleep(0.5)
        self.daemon.events("http.request")  # Every line is one JSON object.


class AccessLogFull(HttpTest):
    settings = {"access_log": "full"}

    def test_events(self):
        with self.client() as client:
            client.get("/1", 'Referer: http://a/"b\r\nUser-Agent: tester/1\r\n')
            client.get("/1")
        events = self.daemon.wait_for_event("http.request", 2)
        self.assertEqual((events[0]["referer"], events[0]["user_agent"]), ('http://a/"b', "tester/1"))
        self.assertEqual((events[1]["referer"], events[1]["user_agent"]), ("", ""))


class Load:
    """Clients that ask for the same file again and again, each answer checked; a connection may only end between two."""

    def __init__(self, port, target, bodies, count=16):
        self.port, self.target, self.bodies = port, target, bodies
        self.failures, self.answers, self.ends = [], 0, False
        self.threads = [threading.Thread(target=self.visit) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def visit(self):
        while not self.ends:
            try:
                client = Client(self.port)
            except OSError:
                return  # Nobody listens any more.
            with client:
                asked, answered = False, False
                try:
                    while not self.ends:
                        asked = False
                        client.send(f"GET {self.target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                        asked = True
                        answer = client.response()
                        if answer.status != 200 or answer.body not in self.bodies:
                            self.failures.append((answer.status, len(answer.body)))
                        self.answers += 1
                        answered = True
                        if answer.headers.get("connection") == "close":
                            break
                except EOFError as failure:
                    if failure.args[0]:
                        self.failures.append("an answer that was cut")
                    elif asked:
                        self.failures.append("no answer")
                except ConnectionError as failure:
                    # A connection that waited in the listener's queue when that was closed had not been accepted.
                    if answered:
                        self.failures.append(failure)
                except OSError as failure:
                    self.failures.append(failure)

    def end(self):
        self.ends = True
        for thread in self.threads:
            thread.join()


class Reload(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        top = pathlib.Path(self.temporary.name)
        for name in ("one", "two"):
            (top / name).mkdir()
            (top / name / "file").write_bytes(name.encode() * 1000)
            (top / name / "large").write_bytes(name.encode() * 300_000)
            old = time.time() - 3600
            for file in ("file", "large"):
                os.utime(top / name / file, (old, old))
        self.top = top
        self.port = free_port()
        self.settings = {"listen": f"{HOST}:{self.port}", "root": top / "one", "index": "none"}
        self.daemon = Daemon("http", self.settings)

    def tearDown(self):
        self.daemon.kill()
        self.temporary.cleanup()

    def reload(self, **changed):
        self.settings.update(changed)
        before = len(self.daemon.events("reloaded"))
        self.daemon.configure({"http": self.settings})
        self.daemon.process.send_signal(signal.SIGHUP)
        self.assertTrue(self.daemon.wait_for_event("reloaded", before + 1)[before:])

    def wait_until(self, condition):
        deadline = time.monotonic() + 20
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertTrue(condition())

    def test_new_settings_hold_for_connections_that_are_there(self):
        with Client(self.port) as client:
            self.assertEqual(client.get("/file").body, b"one" * 1000)
            self.assertEqual(client.get("/").status, 403)
            self.reload(root=self.top / "two", index="file", header_count=3)
            self.wait_until(lambda: client.get("/file").body == b"two" * 1000)
            self.assertEqual(client.get("/").body, b"two" * 1000)
            self.assertEqual(client.get("/large").body, b"two" * 300_000)
            self.assertEqual(client.get("/", "A: b\r\n" * 3).status, 431)

    def test_an_answer_under_way_keeps_its_folder(self):
        with Client(self.port, receive_buffer=4096) as client:
            client.send(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
            time.sleep(0.2)
            for _ in range(3):
                self.reload(root=self.top / "two")
                self.reload(root=self.top / "one")
            self.assertEqual(client.response().body, b"one" * 300_000)
            self.assertEqual(client.get("/large").body, b"one" * 300_000)

    def test_twenty_reloads_under_load(self):
        loads = [Load(self.port, "/file", (b"one" * 1000, b"two" * 1000), 8),
                 Load(self.port, "/large", (b"one" * 300_000, b"two" * 300_000), 4)]
        for i in range(20):
            self.reload(root=self.top / ("two", "one")[i % 2], cache_valid=f"{i}ms")
        for load in loads:
            load.end()
            self.assertEqual(load.failures, [])
            self.assertGreater(load.answers, 20)

    def test_what_needs_a_restart_is_said(self):
        self.reload(listen=f"{HOST}:{free_port()}")
        self.wait_until(lambda: any("needs a restart" in line for line in self.daemon.lines))
        with Client(self.port) as client:
            self.assertEqual(client.get("/file").status, 200)

    def test_bad_settings_change_nothing(self):
        with Client(self.port) as client:
            self.settings["precompressed"] = "rot13"
            self.daemon.configure({"http": {**self.settings, "root": self.top / "two"}})
            self.daemon.process.send_signal(signal.SIGHUP)
            self.wait_until(lambda: any("rot13" in line for line in self.daemon.lines))
            self.assertEqual(client.get("/file").body, b"one" * 1000)


class DrainUnderLoad(unittest.TestCase):
    def test_every_accepted_request_is_answered(self):
        """SIGTERM while clients ask as fast as they can: exit 0, and not one answer is missing or cut."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "file").write_bytes(b"x" * 1024)
            (root / "large").write_bytes(b"y" * 300_000)
            for _ in range(3):
                port = free_port()
                daemon = Daemon("http", {"listen": f"{HOST}:{port}", "root": root})
                try:
                    loads = [Load(port, "/file", (b"x" * 1024,)), Load(port, "/large", (b"y" * 300_000,), 4)]
                    time.sleep(0.7)
                    daemon.terminate()
                    self.assertEqual(daemon.wait(), 0)
                    for load in loads:
                        load.end()
                        self.assertEqual(load.failures, [], "".join(daemon.lines))
                        self.assertGreater(load.answers, 20)
                finally:
                    daemon.kill()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    test_http.BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    print(f"seed: UMBEL_TEST_SEED={test_http.SEED}")
    random.seed(test_http.SEED)
    unittest.main()
