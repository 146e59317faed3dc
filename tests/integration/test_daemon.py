#!/usr/bin/env python3
"""Specification of umbeld and umbelctl as processes: what operators, plugin authors and systemd see of them.

    test_daemon.py --build=build/dev [CLASS | CLASS.test …]

Everything runs on loopback, on free ports, in temporary folders, with a deadline.
"""

import argparse
import fcntl
import http.client
import json
import os
import pathlib
import queue
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BUILD = pathlib.Path("build/dev")
DEADLINE = 60  # seconds for anything that should take one; sanitizers and a busy machine are slow
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def program(name):
    return str(BUILD / "bin" / name)


def plugin_folder():
    return str(BUILD / "lib" / "umbel")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(*command, **options):
    """Runs a program to its end."""
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=DEADLINE, **options)


class Daemon:
    """A running umbeld whose log lines are read as they come."""

    def __init__(self, config, *arguments, env=None, prefix=(), **options):
        self.process = subprocess.Popen(
            [*prefix, program("umbeld"), "--config", str(config), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env, **options)
        self.lines = []       # of stdout, as they are
        self.errors = []      # of stderr
        self._news = queue.Queue()
        self._readers = [threading.Thread(target=self._read, args=arguments_of_reader, daemon=True)
                         for arguments_of_reader in ((self.process.stdout, self.lines, True),
                                                     (self.process.stderr, self.errors, False))]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, lines, announced):
        for line in stream:
            lines.append(line.decode("utf-8"))  # a line that is not UTF-8 ends the reader: the test misses lines
            if announced:
                self._news.put(lines[-1])
        if announced:
            self._news.put(None)

    def wait_for(self, event):
        """The next line of that event, as a dictionary."""
        until = time.monotonic() + DEADLINE
        while True:
            try:
                line = self._news.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no event '{event}' came; log: {self.lines}; stderr: {self.errors}")
            record = json.loads(line)
            if record["event"] == event:
                return record

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Its exit code, once it has ended and everything it wrote was read."""
        code = self.process.wait(timeout=DEADLINE)
        for reader in self._readers:
            reader.join(timeout=DEADLINE)
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        self.process.stdout.close()
        self.process.stderr.close()


class DaemonTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="umbel-test-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def config(self, text, name="umbel.conf"):
        file = self.folder / name
        file.write_text(text)
        return file

    def serving_config(self, extra=""):
        """A config with both servers on free ports and a folder to serve; few actors' worth of everything."""
        self.http_port, self.echo_port = free_port(), free_port()
        self.root = self.folder / "root"
        self.root.mkdir(exist_ok=True)
        return self.config(f"""
[executors]
count = 2
[daemon]
plugin_dir = {plugin_folder()}
{extra}
[plugin.http]
root = {self.root}
listen = 127.0.0.1:{self.http_port}
[plugin.echo]
listen = 127.0.0.1:{self.echo_port}
""")

    def wait_until(self, condition):
        until = time.monotonic() + DEADLINE
        while not condition():
            self.assertLess(time.monotonic(), until)
            time.sleep(0.02)

    def start(self, config, *arguments, **options):
        daemon = Daemon(config, *arguments, **options)
        self.addCleanup(daemon.close)
        return daemon

    def assert_log_is_sound(self, lines):
        """Every line is a JSON object that begins with the four fixed keys, and has no key twice."""
        self.assertTrue(lines)
        for line in lines:
            pairs = json.loads(line, object_pairs_hook=list)
            keys = [key for key, _ in pairs]
            self.assertEqual(keys[:4], ["ts", "level", "event", "msg"], line)
            self.assertEqual(len(keys), len(set(keys)), line)
            record = dict(pairs)
            self.assertRegex(record["ts"], TIMESTAMP)
            self.assertIn(record["level"], ("trace", "debug", "info", "warning", "error"))

    def assert_ended_well(self, daemon):
        self.assertEqual(daemon.wait(), 0, (daemon.lines, daemon.errors))
        self.assert_log_is_sound(daemon.lines)
        self.assertEqual(json.loads(daemon.lines[-1])["event"], "stopped")
        self.assertEqual(json.loads(daemon.lines[-1])["exit_code"], 0)

    def echo(self, data):
        """What the echo server sends back."""
        with socket.create_connection(("127.0.0.1", self.echo_port), timeout=DEADLINE) as connection:
            sender = threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR)))
            sender.start()
            received = bytearray()
            while piece := connection.recv(65536):
                received += piece
            sender.join(timeout=DEADLINE)
            return bytes(received)

    def stalled_download(self):
        """A connection whose answer cannot be sent: it is far larger than all buffers, and nobody reads."""
        with open(self.root / "large", "wb") as file:
            file.truncate(256 << 20)
        connection = socket.create_connection(("127.0.0.1", self.http_port), timeout=DEADLINE)
        self.addCleanup(connection.close)
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
        self.assertTrue(connection.recv(1).startswith(b"H"))
        return connection


class Serving(DaemonTest):
    """From a config file to actors doing I/O."""

    def test_both_servers_serve(self):
        config = self.serving_config()
        pattern = random.Random(1).randbytes(1 << 20)
        (self.root / "file.bin").write_bytes(pattern)
        (self.root / "empty").write_bytes(b"")
        daemon = self.start(config)
        ready = daemon.wait_for("ready")
        for plugin, port in (("http", self.http_port), ("echo", self.echo_port)):
            self.assertIn(f"127.0.0.1:{port}", ready["msg"])
            self.assertIn(f"127.0.0.1:{port}", ready[f"plugin.{plugin}"])

        for size in (1, 64, 4096, 1 << 20):
            self.assertEqual(self.echo(pattern[:size]), pattern[:size])

        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=DEADLINE)
        for path, body in (("/file.bin", pattern), ("/empty", b""), ("/file.bin", pattern)):  # one connection
            connection.request("GET", path)
            answer = connection.getresponse()
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.read(), body)
        connection.request("HEAD", "/file.bin")
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.getheader("Content-Length")), (200, str(len(pattern))))
        answer.read()
        connection.request("GET", "/missing")
        answer = connection.getresponse()
        self.assertEqual(answer.status, 404)
        answer.read()
        connection.close()

        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)
        self.assertEqual(daemon.errors, [])

    def test_many_connections_at_once(self):
        config = self.serving_config()
        daemon = self.start(config)
        daemon.wait_for("ready")
        connections = [socket.create_connection(("127.0.0.1", self.echo_port), timeout=DEADLINE) for _ in range(100)]
        for i, connection in enumerate(connections):
            connection.sendall(b"%04d" % i)
        for i, connection in enumerate(connections):
            self.assertEqual(connection.recv(4, socket.MSG_WAITALL), b"%04d" % i)
            connection.close()
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)

    def test_a_setting_on_the_command_line_wins(self):
        config = self.serving_config()
        other = free_port()
        daemon = self.start(config, "--set", f"plugin.echo.listen=127.0.0.1:{other}")
        daemon.wait_for("ready")
        self.echo_port = other
        self.assertEqual(self.echo(b"there"), b"there")
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)

    def test_the_shipped_config_serves(self):
        config = pathlib.Path(__file__).resolve().parents[2] / "config" / "umbel.conf"
        self.http_port, self.echo_port = free_port(), free_port()
        self.root = self.folder
        (self.root / "index.html").write_text("hello")
        daemon = self.start(config, "--set", f"daemon.plugin_dir={plugin_folder()}",
                            "--set", f"plugin.http.root={self.root}",
                            "--set", f"plugin.http.listen=127.0.0.1:{self.http_port}",
                            "--set", f"plugin.echo.listen=127.0.0.1:{self.echo_port}")
        daemon.wait_for("ready")
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=DEADLINE)
        connection.request("GET", "/")
        self.assertEqual(connection.getresponse().read(), b"hello")
        connection.close()
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)


class Ending(DaemonTest):
    """SIGTERM and SIGINT drain; the second one ends at once."""

    def test_either_signal_ends_it(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number.name):
                daemon = self.start(self.serving_config())
                daemon.wait_for("ready")
                daemon.signal(number)
                self.assertIn(number.name, daemon.wait_for("draining")["msg"])
                self.assert_ended_well(daemon)

    def test_idle_connections_do_not_hold_it_up(self):
        daemon = self.start(self.serving_config("drain_timeout = 50s"))
        daemon.wait_for("ready")
        idle = [socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
                for port in (self.echo_port, self.http_port) for _ in range(8)]
        self.assertEqual(self.echo(b"x"), b"x")
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)
        self.assertLess(time.monotonic() - began, 30)
        for connection in idle:
            connection.close()

    def test_what_is_in_flight_is_finished(self):
        daemon = self.start(self.serving_config("drain_timeout = 50s"))
        daemon.wait_for("ready")
        connection = self.stalled_download()
        daemon.signal(signal.SIGTERM)
        daemon.wait_for("draining")
        received = 1
        while piece := connection.recv(1 << 20):
            received += len(piece)
        self.assertGreater(received, 256 << 20)
        self.assert_ended_well(daemon)
        self.assertNotIn("drain_timed_out", "".join(daemon.lines))

    def test_what_takes_too_long_is_cancelled(self):
        daemon = self.start(self.serving_config("drain_timeout = 300ms"))
        daemon.wait_for("ready")
        self.stalled_download()
        daemon.signal(signal.SIGTERM)
        daemon.wait_for("drain_timed_out")
        self.assert_ended_well(daemon)

    def test_a_second_signal_ends_it_at_once(self):
        for second in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(second=second.name):
                daemon = self.start(self.serving_config("drain_timeout = 50s"))
                daemon.wait_for("ready")
                self.stalled_download()
                daemon.signal(signal.SIGTERM)
                daemon.wait_for("draining")
                began = time.monotonic()
                daemon.signal(second)
                self.assertGreater(daemon.wait(), 0)
                self.assertLess(time.monotonic() - began, 20)
                self.assertIn("second time", "".join(daemon.errors))

    def test_nothing_is_accepted_while_it_drains(self):
        daemon = self.start(self.serving_config("drain_timeout = 50s"))
        daemon.wait_for("ready")
        self.stalled_download()
        daemon.signal(signal.SIGTERM)
        daemon.wait_for("draining")
        until = time.monotonic() + DEADLINE
        while True:  # The listening sockets are closed soon after.
            try:
                with socket.create_connection(("127.0.0.1", self.echo_port), timeout=1) as late:
                    late.settimeout(1)
                    late.sendall(b"late")
                    self.assertEqual(late.recv(4), b"")
                    break
            except (ConnectionError, socket.timeout):
                break
            except AssertionError:
                if time.monotonic() > until:
                    raise
        daemon.signal(signal.SIGTERM)
        self.assertGreater(daemon.wait(), 0)

    def test_an_address_in_use_ends_it(self):
        config = self.serving_config()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", self.echo_port))
            taken.listen()
            daemon = self.start(config)
            self.assertEqual(daemon.wait(), 1)
        self.assert_log_is_sound(daemon.lines)
        failure = [json.loads(line) for line in daemon.lines if '"start_failed"' in line]
        self.assertEqual(len(failure), 1)
        self.assertIn("echo", failure[0]["msg"])
        self.assertIn(str(self.echo_port), failure[0]["msg"])
        self.assertEqual(json.loads(daemon.lines[-1])["event"], "stopped")
        self.assertEqual(json.loads(daemon.lines[-1])["exit_code"], 1)
        self.assertIn("echo", "".join(daemon.errors))

    def test_nobody_reads_its_log_any_more(self):
        daemon = Daemon(self.serving_config())
        self.addCleanup(daemon.close)
        daemon.wait_for("ready")
        # The reader thread holds the stream; its descriptor is replaced, so that the daemon's writes meet a closed pipe.
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, daemon.process.stdout.fileno())
        os.close(nothing)
        self.assertEqual(self.echo(b"still here"), b"still here")
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.process.wait(timeout=DEADLINE), 0)


class Logging(DaemonTest):
    def test_a_file_is_opened_anew_on_sighup(self):
        log = self.folder / "umbeld.log"
        daemon = self.start(self.serving_config(), "--set", f"log.sink={log}")
        self.wait_until(lambda: log.exists() and '"ready"' in log.read_text())
        moved = self.folder / "umbeld.log.1"
        log.rename(moved)
        daemon.signal(signal.SIGHUP)
        self.wait_until(lambda: log.exists() and '"log_reopened"' in log.read_text())
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), 0)
        self.assertEqual(daemon.lines, [])
        old, new = moved.read_text().splitlines(), log.read_text().splitlines()
        self.assert_log_is_sound(old)
        self.assert_log_is_sound(new)
        self.assertEqual(json.loads(new[-1])["event"], "stopped")

    def test_text_is_for_people(self):
        daemon = self.start(self.serving_config(), "--set", "log.format=text", "--set", "log.sink=stderr")
        self.wait_until(lambda: any(" ready " in line for line in daemon.errors))
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), 0)
        self.assertEqual(daemon.lines, [])
        for line in daemon.errors:
            self.assertRegex(line, rf"^{TIMESTAMP.pattern} (TRACE|DEBUG|INFO|WARNING|ERROR) +\w+ ")
        self.assertIn(" stopped ", daemon.errors[-1])

    def test_the_level_is_obeyed(self):
        daemon = self.start(self.serving_config(), "--set", "log.level=debug")
        daemon.wait_for("ready")
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)
        levels = {json.loads(line)["level"] for line in daemon.lines}
        self.assertIn("debug", levels)
        quiet = self.start(self.serving_config(), "--set", "log.level=error", "--set", "daemon.drain_timeout=0")
        self.wait_until(lambda: self.answers(self.echo_port))
        quiet.signal(signal.SIGTERM)
        self.assertEqual(quiet.wait(), 0)
        self.assertEqual(quiet.lines, [])

    def answers(self, port):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            return False


class LogReaders(DaemonTest):
    """A reader of stdout that is slow, or gone."""

    def stdout_of(self, *arguments):
        """An umbeld whose stdout is the pipe that is returned, and nobody reads."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        process = subprocess.Popen(
            [program("umbeld"), "--config", str(self.serving_config()), *arguments],
            stdout=writer, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        os.close(writer)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process, reader

    def fill(self):
        """Makes the daemon log more than a pipe holds: each level that is set is a line."""
        self.wait_until(lambda: self.echoes())
        for _ in range(50):
            subprocess.run([program("umbelctl"), "--socket", str(self.folder / "admin"), "log", "level", "all", "trace"],
                           capture_output=True, timeout=DEADLINE, check=True)

    def echoes(self):
        try:
            with socket.create_connection(("127.0.0.1", self.echo_port), timeout=DEADLINE) as peer:
                peer.sendall(b"x")
                return peer.recv(1) == b"x"
        except ConnectionRefusedError:
            return False

    def test_a_blocked_stdout_stops_neither_the_work_nor_the_end(self):
        process, reader = self.stdout_of("--set", f"admin.socket={self.folder / 'admin'}")
        # Nobody reads; and the pipe is small.
        fcntl.fcntl(reader, 1031, 4096)  # F_SETPIPE_SZ
        self.fill()
        self.assertTrue(self.echoes())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=DEADLINE), 0)
        read = b""
        while piece := os.read(reader, 65536):
            read += piece
        for line in read.split(b"\n")[:-1]:
            json.loads(line)

    def test_a_reader_that_has_gone_stops_neither(self):
        reader, writer = os.pipe()
        process = subprocess.Popen([program("umbeld"), "--config", str(self.serving_config())],
                                   stdout=writer, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        os.close(writer)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        os.close(reader)
        self.wait_until(lambda: self.echoes())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=DEADLINE), 0)


class AdminSocket(DaemonTest):
    def setUp(self):
        super().setUp()
        self.socket = self.folder / "admin"
        self.daemon = self.start(self.serving_config(), "--set", f"admin.socket={self.socket}")
        self.daemon.wait_for("ready")

    def ctl(self, *words):
        return run(program("umbelctl"), "--socket", self.socket, *words)

    def asked(self, *words):
        result = self.ctl("--json", *words)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return json.loads(result.stdout)

    def level_of(self, module):
        return {row["module"]: row["level"] for row in self.asked("log", "levels")}[module]

    def test_status_plugins_counters_settings(self):
        status = self.asked("status")
        self.assertEqual((status["state"], status["executors"], status["pid"]),
                         ("ready", 2, self.daemon.process.pid))
        self.assertEqual(status["you"], "control")
        self.assertEqual([one["name"] for one in self.asked("plugins")], ["http", "echo"])
        self.assertEqual(len(self.asked("counters")), 2)
        keys = {one["key"]: one for one in self.asked("settings")}
        self.assertEqual(keys["executors.count"]["value"], "2")
        for command in ("status", "plugins", "counters", "settings"):
            self.assertNotIn("{", self.ctl(command).stdout)

    def test_a_level_is_set_and_expires(self):
        self.assertEqual(self.level_of("http"), "info")
        self.asked("log", "level", "http", "debug", "--for", "1s")
        self.assertEqual(self.level_of("http"), "debug")
        self.assertEqual(self.level_of("echo"), "info")
        self.assertIn("http: debug for 1s", self.daemon.wait_for("log_level_changed")["msg"])
        self.wait_until(lambda: self.level_of("http") == "info")
        self.asked("log", "level", "daemon", "error")
        self.asked("log", "level", "all", "configured")
        self.assertEqual(self.level_of("daemon"), "info")

    def test_errors_are_clear(self):
        for words, said in ((("log", "level", "htpp", "debug"), "there are: all, daemon, runtime, http, echo"),
                            (("log", "level", "http", "loud"), "trace, debug, info, warning or error, or configured"),
                            (("nonsense",), "there is no such command"),
                            (("status", "now"), "takes no argument"),
                            (("log", "level", "http", "debug", "--for", "soon"), "soon")):
            with self.subTest(words=words):
                result = self.ctl(*words)
                self.assertEqual(result.returncode, 64)
                self.assertIn(said, result.stderr)
        nobody = run(program("umbelctl"), "--socket", self.folder / "nothing", "status")
        self.assertEqual(nobody.returncode, 71)
        self.assertIn("no daemon listens there", nobody.stderr)

    @unittest.skipIf(os.geteuid() != 0, "needs root, to be somebody else")
    def test_others_observe_and_do_not_control(self):
        self.assertEqual(self.socket.stat().st_mode & 0o777, 0o660)
        os.chmod(self.folder, 0o755)
        tool = self.folder / "umbelctl"
        shutil.copy(program("umbelctl"), tool)
        as_nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        refused = run(tool, "--socket", self.socket, "status", **as_nobody)
        self.assertEqual(refused.returncode, 71)
        self.assertIn("may not connect", refused.stderr)
        os.chown(self.socket, -1, 65534)
        self.assertIn("observe", run(tool, "--socket", self.socket, "status", **as_nobody).stdout)
        denied = run(tool, "--socket", self.socket, "stop", **as_nobody)
        self.assertEqual(denied.returncode, 1)
        self.assertIn("for root and the daemon's own user", denied.stderr)

    def test_hostile_clients_hold_nobody_up(self):
        clients = []
        for i in range(31):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.connect(str(self.socket))
            client.setblocking(False)
            clients.append(client)
            try:
                client.sendall((b"x" * 100_000, b'{"command":"counters"}\n' * 500, b"\xff\n" * 500, b'{"comm')[i % 4])
            except BlockingIOError:
                pass
        self.assertEqual(self.asked("status")["state"], "ready")
        self.assertTrue(self.socket.exists())

    def test_reload_and_stop(self):
        self.assertEqual(self.ctl("reload").stdout, "nothing has changed\n")
        self.assertEqual(self.daemon.wait_for("admin_command")["msg"], "reload")
        self.assertEqual(self.ctl("stop").stdout, "draining\n")
        self.assert_ended_well(self.daemon)
        self.assertFalse(self.socket.exists())


class Notifying(DaemonTest):
    """What systemd is told (sd_notify)."""

    def test_it_tells_systemd(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(self.folder / "notify"))
            listener.settimeout(DEADLINE)
            environment = dict(os.environ, NOTIFY_SOCKET=str(self.folder / "notify"))
            daemon = self.start(self.serving_config(), env=environment)
            while "READY=1" not in (states := listener.recv(4096).decode().split("\n")):
                pass
            self.assertTrue(any(state.startswith("STATUS=") and str(self.http_port) in state for state in states))
            self.assertEqual(self.echo(b"ready means ready"), b"ready means ready")
            daemon.signal(signal.SIGTERM)
            while "STOPPING=1" not in (states := listener.recv(4096).decode().split("\n")):
                pass
            extended = [int(state.split("=")[1]) for state in states if state.startswith("EXTEND_TIMEOUT_USEC=")]
            self.assertGreaterEqual(extended[0], 10_000_000)  # daemon.drain_timeout
            self.assert_ended_well(daemon)


class Watched(DaemonTest):
    """WATCHDOG=1 is a sign of life of every executor, not of the process."""

    def setUp(self):
        super().setUp()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.listener.close)
        self.listener.bind(str(self.folder / "notify"))
        self.listener.settimeout(DEADLINE)
        self.port = free_port()

    def start_watched(self, seconds, **environment):
        config = self.serving_config(f"[plugin.trouble]\npath = {(BUILD / 'tests/plugins/trouble.so').resolve()}\n"
                                     f"listen = 127.0.0.1:{self.port}\n")
        return self.start(config, env=dict(os.environ, NOTIFY_SOCKET=str(self.folder / "notify"),
                                           WATCHDOG_USEC=str(int(seconds * 1e6)), **environment))

    def states(self):
        return self.listener.recv(4096).decode().split("\n")

    def fed_within(self, seconds):
        """Whether a WATCHDOG=1 comes in that time."""
        until = time.monotonic() + seconds
        self.addCleanup(self.listener.settimeout, DEADLINE)
        while (left := until - time.monotonic()) > 0:
            self.listener.settimeout(left)
            try:
                if "WATCHDOG=1" in self.states():
                    return True
            except TimeoutError:
                pass
        return False

    def tell(self, what):
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
            connection.sendall(what.encode())
            connection.settimeout(0.2)
            try:
                return connection.recv(4096)
            except OSError:
                return b""

    def test_idle_executors_answer(self):
        daemon = self.start_watched(1)
        daemon.wait_for("ready")
        for _ in range(3):
            self.assertTrue(self.fed_within(DEADLINE))
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)

    def test_a_hung_executor_is_named_and_not_fed_for(self):
        daemon = self.start_watched(2)
        daemon.wait_for("ready")
        self.assertTrue(self.fed_within(DEADLINE))
        self.tell("hang")
        hung = daemon.wait_for("executor_hung")
        self.assertEqual((hung["executor"], hung["plugin"]), (0, "trouble"))
        self.assertIn("troublemaker", hung["msg"])
        self.assertGreaterEqual(hung["silent_ms"], 500)
        self.assertTrue(int(hung["actor"], 16))
        while self.fed_within(0.1):  # what had been sent before
            pass
        self.assertFalse(self.fed_within(4))

    def test_another_process_s_watchdog_is_not_fed(self):
        daemon = self.start_watched(1, WATCHDOG_PID="1")
        daemon.wait_for("ready")
        self.assertFalse(self.fed_within(2))
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)

    def test_a_reload_is_announced(self):
        daemon = self.start_watched(60)
        daemon.wait_for("ready")
        while "READY=1" not in self.states():
            pass
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        daemon.signal(signal.SIGHUP)
        while "RELOADING=1" not in (states := self.states()):
            pass
        times = [int(state.split("=")[1]) for state in states if state.startswith("MONOTONIC_USEC=")]
        self.assertGreaterEqual(times[0], before)
        while "READY=1" not in self.states():
            pass
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)


class Passed(DaemonTest):
    """Sockets that were open before the daemon began (LISTEN_FDS), taken by name."""

    # Passes the descriptors from 3 on, as systemd does, to the program it becomes.
    PASS = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execvp(sys.argv[1], sys.argv[1:])"

    def passed(self, *sockets, names):
        """Options for start(): a program that gets these sockets."""
        def move():
            for number, _ in enumerate(sockets):  # none of them may lie where another one goes
                os.dup2(high[number], 3 + number)
        high = []
        for each in sockets:
            descriptor = os.dup(each.fileno())
            while descriptor < 3 + len(sockets):
                descriptor = os.dup(each.fileno())
            high.append(descriptor)
            self.addCleanup(os.close, descriptor)
        environment = dict(os.environ, LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=":".join(names))
        return {"env": environment, "prefix": (sys.executable, "-c", self.PASS), "preexec_fn": move,
                "pass_fds": range(3, 3 + len(sockets))}

    def listening(self, family=socket.AF_INET, address=("127.0.0.1", 0), kind=socket.SOCK_STREAM):
        made = socket.socket(family, kind)
        self.addCleanup(made.close)
        made.bind(address)
        if kind == socket.SOCK_STREAM:
            made.listen(64)
        return made

    def configured(self, http="systemd:http", echo="systemd:echo"):
        (self.folder / "root").mkdir(exist_ok=True)
        (self.folder / "root" / "file").write_text("passed")
        return self.config(f"[executors]\ncount = 2\n[daemon]\nplugin_dir = {plugin_folder()}\n"
                           f"[plugin.http]\nroot = {self.folder}/root\nlisten = {http}\n"
                           f"[plugin.echo]\nlisten = {echo}\n")

    def get(self, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        connection.request("GET", "/file")
        body = connection.getresponse().read()
        connection.close()
        return body

    def test_plugins_take_them_by_name(self):
        served, echoed = self.listening(), self.listening(socket.AF_UNIX, str(self.folder / "echo"))
        daemon = self.start(self.configured(), **self.passed(served, echoed, names=("http", "echo")))
        ready = daemon.wait_for("ready")
        self.assertIn(f"systemd:http (127.0.0.1:{served.getsockname()[1]})", ready["plugin.http"])
        self.assertIn(f"systemd:echo (unix:{self.folder}/echo)", ready["plugin.echo"])
        for _ in range(20):  # on both executors
            self.assertEqual(self.get(served.getsockname()[1]), b"passed")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(str(self.folder / "echo"))
            connection.sendall(b"hello")
            self.assertEqual(connection.recv(100), b"hello")
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)

    def test_several_of_one_name_are_all_served(self):
        one, two, echoed = self.listening(), self.listening(), self.listening()
        two.setblocking(False)  # NonBlocking=yes
        daemon = self.start(self.configured(), **self.passed(one, echoed, two, names=("http", "echo", "http")))
        daemon.wait_for("ready")
        for listener in (one, two, one, two):
            self.assertEqual(self.get(listener.getsockname()[1]), b"passed")
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)

    def test_what_waits_in_the_backlog_is_the_successor_s(self):
        served, echoed = self.listening(), self.listening()
        config = self.configured()
        options = self.passed(served, echoed, names=("http", "echo"))
        waiting = []
        for _ in range(3):
            daemon = self.start(config, **options)
            daemon.wait_for("ready")
            for connection in waiting:
                self.assertTrue(connection.recv(4096).startswith(b"HTTP/1.1 200"))
            daemon.signal(signal.SIGTERM)
            self.assert_ended_well(daemon)
            waiting = []
            for _ in range(5):  # nobody runs: they wait
                connection = socket.create_connection(served.getsockname(), timeout=DEADLINE)
                self.addCleanup(connection.close)
                connection.sendall(b"GET /file HTTP/1.1\r\nHost: test\r\n\r\n")
                waiting.append(connection)

    def refused(self, config, code, *expected, **options):
        daemon = self.start(config, **options)
        self.assertEqual(daemon.wait(), code)
        for piece in expected:
            self.assertIn(piece, "".join(daemon.errors))

    def test_what_does_not_fit_is_said(self):
        one, two = self.listening(), self.listening()
        datagrams = self.listening(kind=socket.SOCK_DGRAM)
        self.refused(self.configured(), 78, "umbel.conf:7: plugin.http.listen: systemd:http: no socket was passed",
                     "umbeld.socket")
        self.refused(self.configured(), 78, 'passed are "web", "echo"', "FileDescriptorName=http",
                     **self.passed(one, two, names=("web", "echo")))
        self.refused(self.configured(), 78, "plugin.echo.listen: ", "not a listening stream socket",
                     **self.passed(one, datagrams, names=("http", "echo")))
        self.refused(self.configured(echo="systemd:http"), 78, "umbel.conf:9: plugin.echo.listen: systemd:http: plugin.http wants",
                     **self.passed(one, names=("http",)))
        self.refused(self.configured(http="systemd:a b"), 78, "umbel.conf:7: ", "FileDescriptorName=")

    def test_one_that_nobody_takes_is_said(self):
        one, two, three = self.listening(), self.listening(), self.listening()
        daemon = self.start(self.configured(), **self.passed(one, two, three, names=("http", "echo", "forgotten")))
        self.assertIn("forgotten", daemon.wait_for("listener_unused")["msg"])
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)


class ConfigErrors(DaemonTest):
    """Whatever is wrong with a config is said in a line of its own, with its place; exit 78."""

    TABLE = [
        # (what, config, what each line of stderr contains, in any order)
        ("a value over its bound", "[executors]\ncount = 300\n", ["umbel.conf:2: executors.count: 300 is over 255"]),
        ("a value of the wrong kind", "[executors]\n\ncount = many\n", ["umbel.conf:3: executors.count: "]),
        ("a size without a proper unit", "[actors]\nmemory_limit = 4MB\n", ["umbel.conf:2: actors.memory_limit: "]),
        ("a size that is no power of two", "[actors]\nmemory_limit = 3MiB\n", ["umbel.conf:2: actors.memory_limit: "]),
        ("a duration without a unit", "[daemon]\ndrain_timeout = 10\n", ["umbel.conf:2: daemon.drain_timeout: "]),
        ("a CPU that does not exist", "[executors]\ncpus = 8191\n", ["umbel.conf:2: executors.cpus: CPU 8191"]),
        ("a CPU list that is none", "[executors]\ncpus = 0-\n", ["umbel.conf:2: executors.cpus: "]),
        ("an unknown key", "[executors]\ncuont = 1\n", ["umbel.conf:2: executors.cuont: ", "executors.count?"]),
        ("an unknown section", "[executers]\ncount = 1\n", ["umbel.conf:1: ", "[executors]?"]),
        ("a key twice", "[log]\nlevel = info\nlevel = info\n", ["umbel.conf:3: ", "umbel.conf:2"]),
        ("a section twice", "[log]\n[executors]\n[log]\n", ["umbel.conf:3: ", "umbel.conf:1"]),
        ("no equals sign", "[log]\nlevel info\n", ["umbel.conf:2: "]),
        ("no section", "level = info\n", ["umbel.conf:1: "]),
        ("an unclosed section", "[log\nlevel = info\n", ["umbel.conf:1: "]),
        ("a choice that is none", "[log]\nformat = xml\n", ["umbel.conf:2: log.format: ", "json or text"]),
        ("a sink that cannot be opened", "[log]\nsink = /nonexistent/log\n", ["umbel.conf:2: log.sink: "]),
        ("a folder that is none", "[daemon]\nplugin_dir = /nonexistent\n", ["umbel.conf:2: daemon.plugin_dir: "]),
        ("a completion ring too small", "[executors]\nring_entries = 64\ncompletion_entries = 32\n",
         ["umbel.conf:3: executors.completion_entries: "]),
        ("control characters", "[log]\nlevel = \x1b[1m\n", ["umbel.conf:2: "]),
        ("a plugin that is not there", "[plugin.nowhere]\n", ["umbel.conf:1: ", "nowhere.so"]),
        ("a plugin's unknown key", "[plugin.echo]\nlisten = 127.0.0.1:1\nlisen = 1\n", ["umbel.conf:3: ", "lisen"]),
        ("a plugin's bad value", "[plugin.echo]\nlisten = nowhere\n", ["umbel.conf:2: ", "listen"]),
        ("a plugin's folder that is none", "[plugin.http]\nroot = /nonexistent\nlisten = 127.0.0.1:1\n",
         ["umbel.conf:2: ", "root"]),
    ]

    def test_each_error_has_its_place(self):
        for what, text, expected in self.TABLE:
            for mode in ([], ["--check-config"]):
                with self.subTest(what, mode=mode):
                    config = self.config(text)
                    arguments = [] if "plugin_dir" in text else ["--set", f"daemon.plugin_dir={plugin_folder()}"]
                    result = run(program("umbeld"), "--config", config, *arguments, *mode)
                    self.assertEqual(result.returncode, 78, result)
                    self.assertEqual(result.stdout, "")
                    lines = result.stderr.splitlines()
                    self.assertEqual(len(lines), 1, result.stderr)
                    for piece in expected:
                        self.assertIn(piece, lines[0])

    def test_all_errors_are_said_at_once(self):
        config = self.config("[executors]\ncount = 300\nspin = long\n[log]\nlevel = loud\n")
        result = run(program("umbeld"), "--config", config, "--set", "actors.max=none")
        self.assertEqual(result.returncode, 78)
        self.assertEqual(len(result.stderr.splitlines()), 4, result.stderr)
        for place in ("umbel.conf:2: ", "umbel.conf:3: ", "umbel.conf:5: ", "command line: actors.max: "):
            self.assertIn(place, result.stderr)

    def test_a_file_that_is_not_there(self):
        result = run(program("umbeld"), "--config", self.folder / "nothing.conf")
        self.assertEqual(result.returncode, 78)
        self.assertIn("nothing.conf: cannot be opened", result.stderr)

    def test_a_good_config_passes(self):
        result = run(program("umbeld"), "--config", self.serving_config(), "--check-config")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("umbel.conf: ok", result.stdout)
        self.assertIn("plugin.http: ", result.stdout)
        self.assertIn("plugin.echo: ", result.stdout)

    def test_a_check_leaves_no_log_file(self):
        log = self.folder / "umbeld.log"
        result = run(program("umbeld"), "--config", self.serving_config(), "--set", f"log.sink={log}", "--check-config")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertFalse(log.exists())


class CommandLine(DaemonTest):
    def test_wrong_usage(self):
        for arguments in (["--nonsense"], ["file.conf"], ["--set", "novalue"], ["--config"], ["--help", "--version"]):
            with self.subTest(arguments):
                result = run(program("umbeld"), *arguments)
                self.assertEqual(result.returncode, 64)
                self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)

    def test_help_explains_every_setting(self):
        result = run(program("umbeld"), "--help")
        self.assertEqual(result.returncode, 0)
        for key in ("executors.count", "executors.cpus", "actors.memory_limit", "daemon.drain_timeout", "log.sink"):
            self.assertIn(key, result.stdout)

    def test_version(self):
        result = run(program("umbeld"), "--version")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"^umbeld \d+\.\d+\.\d+\n")
        for part in ("plugin ABI 1", "compiler ", "liburing 2.", "kernel Linux ", "io_uring: "):
            self.assertIn(part, result.stdout)

    def test_a_dump_is_a_config_with_origins(self):
        config = self.serving_config("drain_timeout = 3s")
        first = run(program("umbeld"), "--config", config, "--set", "log.level=debug", "--dump-config")
        self.assertEqual(first.returncode, 0, first.stderr)
        self.assertRegex(first.stdout, r"(?m)^drain_timeout = 3s  # .*umbel\.conf:6$")
        self.assertRegex(first.stdout, r"(?m)^level = debug  # command line$")
        self.assertRegex(first.stdout, r"(?m)^time_slice = 1ms  # default$")
        second = run(program("umbeld"), "--config", self.config(first.stdout, "dump.conf"), "--dump-config")
        self.assertEqual(second.returncode, 0, second.stderr)
        values = [line.split("  # ")[0] for line in first.stdout.splitlines()]
        self.assertEqual(values, [line.split("  # ")[0] for line in second.stdout.splitlines()])


class BrokenPlugins(DaemonTest):
    """A plugin that is wrong is refused in a clear line, with exit 78, and takes nothing with it."""

    BUILT = [
        # (file, what the line names)
        ("no_descriptor", "umbel_plugin_descriptor"),
        ("wrong_magic", "magic"),
        ("wrong_abi_version", "99"),
        ("wrong_size", "message_size"),
        ("aborts", "SIGABRT"),
        ("exits", "ended the process"),
        ("refuses", "there is no tea"),
    ]

    def broken(self, name):
        return BUILD / "tests" / "broken_plugins" / f"{name}.so"

    def assert_refused(self, path, named):
        config = self.config(f"[plugin.bad]\npath = {path}\n")
        for mode in ([], ["--check-config"]):
            with self.subTest(path.name, mode=mode):
                result = run(program("umbeld"), "--config", config, *mode)
                self.assertEqual(result.returncode, 78, result)
                self.assertIn("umbel.conf:", result.stderr)
                self.assertIn("bad", result.stderr)
                self.assertIn(named, result.stderr)
                self.assertNotIn('"ready"', result.stdout)
        result = run(program("umbelctl"), "plugin", "check", path)
        self.assertEqual(result.returncode, 78, result)
        self.assertIn(named, result.stderr)

    def test_each_way_to_be_broken(self):
        for name, named in self.BUILT:
            self.assert_refused(self.broken(name).resolve(), named)

    def test_files_that_are_no_plugins(self):
        whole = (BUILD / "lib" / "umbel" / "echo.so").read_bytes()
        for name, content in (("text.so", b"not ELF"), ("empty.so", b""), ("truncated.so", whole[:len(whole) // 2]),
                              ("header.so", whole[:100]), ("noise.so", whole[:4] + random.Random(2).randbytes(4096))):
            file = self.folder / name
            file.write_bytes(content)
            self.assert_refused(file, name)
        self.assert_refused(self.folder / "missing.so", "missing.so")

    def test_one_that_hangs(self):
        result = run(program("umbelctl"), "plugin", "check", self.broken("hangs"))
        self.assertEqual(result.returncode, 78)
        self.assertIn("did not finish loading in 10000 ms", result.stderr)

    def test_all_plugins_are_checked(self):
        config = self.config(f"[plugin.a]\npath = {self.broken('wrong_magic').resolve()}\n"
                             f"[plugin.b]\npath = {self.broken('aborts').resolve()}\n")
        result = run(program("umbeld"), "--config", config, "--check-config")
        self.assertEqual(result.returncode, 78)
        self.assertEqual(len(result.stderr.splitlines()), 2, result.stderr)


class Refusals(DaemonTest):
    """A system without io_uring is an operator's problem: exit 71, the cause and the remedy."""

    def injected(self, error):
        # LeakSanitizer cannot work under a tracer.
        environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0:" + os.environ.get("ASAN_OPTIONS", ""))
        return self.start(self.serving_config(), env=environment, prefix=(
            "strace", "-f", "-qq", "-o", str(self.folder / "trace"), "-e", "trace=io_uring_setup",
            "-e", f"inject=io_uring_setup:error={error}"))

    def setUp(self):
        super().setUp()
        if run("strace", "-f", "-qq", "-o", self.folder / "probe", "true").returncode != 0:
            self.skipTest("this machine does not allow tracing (ptrace)")

    def test_a_refused_ring(self):
        for error, remedies in (("EPERM", ("io_uring_disabled", "seccomp")), ("ENOSYS", ("kernel",)),
                                ("ENOMEM", ("RLIMIT_MEMLOCK",))):
            with self.subTest(error):
                daemon = self.injected(error)
                self.assertEqual(daemon.wait(), 71, (daemon.lines, daemon.errors))
                said = "".join(daemon.errors)
                self.assertIn("io_uring", said)
                self.assertIn(error, said)
                self.assertTrue(any(remedy in said for remedy in remedies), said)
                self.assert_log_is_sound(daemon.lines)
                events = [json.loads(line)["event"] for line in daemon.lines]
                self.assertIn("start_failed", events)
                self.assertEqual(events[-1], "stopped")
                self.assertNotIn("ready", events)


class Tool(DaemonTest):
    """umbelctl."""

    def test_the_doctor_finds_this_machine_fit(self):
        result = run(program("umbelctl"), "doctor")
        self.assertEqual(result.returncode, 0, result.stdout)  # The other tests of this file run a daemon here.
        for part in ("kernel: Linux", "io_uring: ", "locked memory: ", "descriptors: "):
            self.assertIn(part, result.stdout)

    def test_a_good_plugin_describes_itself(self):
        result = run(program("umbelctl"), "plugin", "check", BUILD / "lib" / "umbel" / "echo.so",
                     "listen=127.0.0.1:7007")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("echo ", result.stdout)
        self.assertIn("listen", result.stdout)

    def test_wrong_usage(self):
        for arguments in ([], ["nonsense"], ["plugin", "check"], ["doctor", "x"],
                          ["plugin", "check", "x.so", "novalue"]):
            with self.subTest(arguments):
                self.assertEqual(run(program("umbelctl"), *arguments).returncode, 64)

    def test_help_and_version(self):
        self.assertIn("umbelctl doctor", run(program("umbelctl"), "--help").stdout)
        self.assertRegex(run(program("umbelctl"), "--version").stdout, r"^umbelctl \d+\.\d+\.\d+\n")


def main():
    global BUILD
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=BUILD)
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    BUILD = options.build.resolve()
    loader = unittest.defaultTestLoader
    module = sys.modules[__name__]
    suite = loader.loadTestsFromNames(options.tests, module) if options.tests else loader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    if not result.wasSuccessful():
        return 1
    return 77 if result.skipped and len(result.skipped) == result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
