#!/usr/bin/env python3
"""Specification of reloading: SIGHUP to a real umbeld that serves.

    test_reload.py --build=build/dev [CLASS | CLASS.test …]

Settings are applied all or not at all, plugins come, change and go, and whoever is not concerned notices nothing.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
import unittest

import test_daemon
from test_daemon import DEADLINE, DaemonTest, free_port, plugin_folder, program, run


class EchoLoad:
    """Connections that say something, and expect to hear it, without a pause. `broken` lists what went wrong."""

    def __init__(self, port, connections=4):
        self.broken = []
        self.rounds = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._talk, args=(port,), daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def _talk(self, port):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as peer:
                while not self._stop.is_set():
                    said = os.urandom(1024)
                    peer.sendall(said)
                    heard = b""
                    while len(heard) < len(said):
                        piece = peer.recv(65536)
                        if not piece:
                            raise OSError("the connection was closed")
                        heard += piece
                    if heard != said:
                        raise OSError("other bytes came back")
                    self.rounds += 1
        except OSError as error:
            self.broken.append(str(error))

    def end(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE)


def ask(port):
    """What the plugin `changing` answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as peer:
        return peer.recv(100).decode().strip()


class ReloadTest(DaemonTest):
    def setUp(self):
        super().setUp()
        self.changing = str(test_daemon.BUILD / "tests" / "plugins" / "changing.so")
        self.echo_port, self.word_port = free_port(), free_port()
        (self.folder / "conf.d").mkdir()

    def main_config(self, extra=""):
        return self.config(f"""
[executors]
count = 2
[daemon]
plugin_dir = {plugin_folder()}
{extra}
[plugin.echo]
listen = 127.0.0.1:{self.echo_port}
""")

    def drop_in(self, name, text):
        path = self.folder / "conf.d" / name
        temporary = self.folder / "new"
        temporary.write_text(text)
        temporary.rename(path)
        return path

    def word(self, word, name="word.conf", section="changing"):
        return self.drop_in(name, f"[plugin.{section}]\npath = {self.changing}\n"
                                  f"listen = 127.0.0.1:{self.word_port}\nword = {word}\n")

    def serve(self, *arguments):
        self.daemon = self.start(self.main_config(), *arguments)
        self.daemon.wait_for("ready")
        self.load = EchoLoad(self.echo_port)
        self.addCleanup(self.load.end)
        return self.daemon

    def reload(self, event="reloaded", also=None):
        """The record of `event`. also: an event that must come too, before or after it, in `self.also`: executors report what
        they do while the daemon still writes its own line."""
        begin = len(self.daemon.lines)
        self.daemon.signal(signal.SIGHUP)
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            found = {}
            for line in self.daemon.lines[begin:]:
                record = json.loads(line)
                found.setdefault(record["event"], record)
            if event in found and (also is None or also in found):
                self.also = found.get(also)
                return found[event]
            time.sleep(0.005)
        raise AssertionError(f"no {event} or no {also}; log: {self.daemon.lines[begin:]}; stderr: {self.daemon.errors}")

    def expect_echo_untouched(self):
        self.assertEqual(self.load.broken, [])
        before, until = self.load.rounds, time.monotonic() + DEADLINE
        while self.load.rounds < before + 10 and not self.load.broken and time.monotonic() < until:
            time.sleep(0.01)
        self.assertGreaterEqual(self.load.rounds, before + 10, "echo no longer answers")
        self.assertEqual(self.load.broken, [])

    def end(self):
        self.load.end()
        self.daemon.signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(), 0, self.daemon.errors)
        for line in self.daemon.lines:
            json.loads(line)


class Settings(ReloadTest):
    # Spec.  What can be applied is applied and listed with old, new and place; what cannot is listed as needing a restart, at
    #        every reload until then. A drop-in wins over the file.
    def test_says_what_changed(self):
        daemon = self.serve()
        drop_in = self.drop_in("50-more.conf", "[log]\nlevel = debug\n[executors]\nspin = 20us\n[daemon]\ndrain_timeout = 3s\n")
        record = self.reload()
        self.assertEqual((record["changed"], record["needs_restart"]), (2, 1), record)
        self.assertIn(f"log.level: info → debug ({drop_in}:2)", record["msg"])
        self.assertIn(f"daemon.drain_timeout: 10s → 3s ({drop_in}:6)", record["msg"])
        self.assertIn(f"needs a restart: executors.spin: 0 → 20us ({drop_in}:4)", record["msg"])
        record = self.reload()
        self.assertEqual((record["changed"], record["needs_restart"]), (0, 1), record)
        drop_in.unlink()
        record = self.reload()
        self.assertEqual((record["changed"], record["needs_restart"]), (2, 0), record)
        self.expect_echo_untouched()
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait_for("draining")["drain_timeout_ms"], 10000)
        self.assertEqual(daemon.wait(), 0)

    # Spec.  log.level counts from the reload on, in both directions.
    def test_level_at_run_time(self):
        self.serve()
        self.drop_in("level.conf", "[log]\nlevel = error\n")
        self.daemon.signal(signal.SIGHUP)
        time.sleep(1)  # nothing of it is logged any more
        self.drop_in("level.conf", "[log]\nlevel = info\n")
        self.assertIn("log.level: error → info", self.reload()["msg"])
        self.end()

    # Spec.  Whatever is wrong anywhere, nothing is applied, and everything that is wrong is said with its place.
    def test_all_or_nothing(self):
        self.serve()
        good = self.word("hello")
        self.reload(also="plugin_ready")
        for wrong, said in ((f"[daemon]\ndrain_timeout = 1\n", "drain_timeout"),
                            ("[log]\nlevel = debug\nlevle = debug\n", "levle: there is no such setting"),
                            ("[log\n", "lacks its closing bracket"),
                            ("[log]\nlevel = debug\n[plugin.new]\n", "plugin.new.path"),
                            ("[log]\nsink = /nonexistent/x\n", "log.sink"),
                            (f"[plugin.changing]\nword = refused\n", "word: this one is refused"),
                            (f"[plugin.echo]\nlisten = nowhere\n", "plugin.echo.listen"),
                            (f"[plugin.changing]\nword = other\n[plugin.echo]\nlisten = nowhere\n", "plugin.echo.listen")):
            bad = self.drop_in("zz.conf", wrong)
            record = self.reload("reload_refused")
            self.assertIn(said, record["msg"])
            self.assertIn("/conf.d/", record["msg"])
            self.assertEqual(ask(self.word_port), "hello", wrong)
            bad.unlink()
        record = self.reload()
        self.assertEqual((record["changed"], record["needs_restart"]), (0, 0), record)
        self.assertTrue(good.exists())
        self.expect_echo_untouched()
        self.end()


class Control(ReloadTest):
    # Spec.  `umbelctl reload` waits for what comes of it: what changed, what needs a restart; or what is wrong, with exit code
    #        78, and then nothing has changed. What was written before it was asked for is read.
    def test_umbelctl_waits_for_the_outcome(self):
        admin = self.folder / "admin.sock"
        daemon = self.start(self.main_config(f"[admin]\nsocket = {admin}\n"))
        daemon.wait_for("ready")
        self.load = EchoLoad(self.echo_port)
        self.addCleanup(self.load.end)

        def reload(*options):
            return run(program("umbelctl"), "--socket", admin, *options, "reload")

        self.assertEqual((reload().returncode, reload().stdout), (0, "nothing has changed\n"))
        for seconds in (3, 4, 5):
            place = self.drop_in("50.conf", f"[daemon]\ndrain_timeout = {seconds}s\n[executors]\nspin = 20us\n")
            result = reload()
            self.assertEqual(result.returncode, 0, result)
            self.assertRegex(result.stdout, f"^reloaded:\n  daemon.drain_timeout: [0-9]+s → {seconds}s .{place}:2.\n"
                                            "needs a restart:\n  executors.spin: 0 → 20us")
        self.drop_in("50.conf", "[daemon]\ndrain_timeout = soon\n")
        refused = reload()
        self.assertEqual((refused.returncode, refused.stdout), (78, ""))
        self.assertIn(f"{place}:2: daemon.drain_timeout", refused.stderr)
        outcome = json.loads(reload("--json").stdout)
        self.assertEqual((outcome["done"], outcome["applied"], len(outcome["problems"])), (True, False, 1))
        settings = run(program("umbelctl"), "--socket", admin, "settings").stdout
        self.assertIn("daemon.drain_timeout = 5s", settings)
        self.expect_echo_untouched()
        self.daemon = daemon
        self.end()


class Plugins(ReloadTest):
    # Spec.  A plugin is added, set anew, retired, and added once more, while another serves.
    def test_comes_changes_and_goes(self):
        self.serve()
        for _ in range(3):
            added = self.word("hello")
            self.assertIn("plugin.changing: added", self.reload(also="plugin_ready")["msg"])
            self.assertEqual(ask(self.word_port), "hello")
            self.word("good morning")
            self.assertIn("plugin.changing.word: hello → good morning", self.reload(also="plugin_log")["msg"])
            self.assertEqual(self.also["msg"], "the word is good morning")
            self.assertEqual(ask(self.word_port), "good morning")
            added.unlink()
            self.assertIn("plugin.changing: retired", self.reload(also="plugin_retired")["msg"])
            self.assertEqual(self.also["plugin"], "changing")
            with self.assertRaises(OSError):
                ask(self.word_port)
        self.expect_echo_untouched()
        self.end()

    # Spec.  What a retired plugin has in flight is waited for, then cancelled; then its actors are ended. Until then its name
    #        is taken. The daemon goes on.
    def test_drain_of_one_times_out(self):
        self.serve("--set", "daemon.drain_timeout=1s")
        added = self.word("stays")
        self.reload(also="plugin_ready")
        with socket.create_connection(("127.0.0.1", self.word_port), timeout=DEADLINE) as peer:
            self.assertEqual(peer.recv(100), b"stays\n")
            added.unlink()
            self.reload()
            self.word("stays")
            self.assertIn("has not ended yet", self.reload("reload_refused")["msg"])
            added.unlink()
            self.daemon.wait_for("plugin_drain_timed_out")
            self.daemon.wait_for("plugin_retired")
            self.assertEqual(peer.recv(100), b"", "its connection is closed")
        self.expect_echo_untouched()
        self.end()

    # Spec.  An added plugin that fails to start is said and taken out; mended, it comes.
    def test_fails_to_start(self):
        self.serve()
        self.word("fails")
        self.reload(also="plugin_failed")
        self.assertIn("this word makes it fail", self.also["msg"])
        self.daemon.wait_for("plugin_retired")
        self.word("hello")
        self.reload(also="plugin_ready")
        self.assertEqual(ask(self.word_port), "hello")
        self.expect_echo_untouched()
        self.end()

    # Spec.  A plugin that crashes when it is loaded does so in a child.
    def test_crash_is_refused(self):
        self.serve()
        aborts = test_daemon.BUILD / "tests" / "broken_plugins" / "aborts.so"
        bad = self.drop_in("bad.conf", f"[plugin.aborts]\npath = {aborts}\n")
        self.assertIn("SIGABRT", self.reload("reload_refused")["msg"])
        bad.unlink()
        self.reload()
        self.expect_echo_untouched()
        self.end()

    # Spec.  A plugin that cannot take new settings goes on with the old ones, and this is said.
    def test_without_reload(self):
        self.serve()
        self.drop_in("echo.conf", f"[plugin.echo]\nlisten = 127.0.0.1:{free_port()}\n")
        record = self.reload()
        self.assertEqual((record["changed"], record["needs_restart"]), (0, 1), record)
        self.assertIn("it cannot take new settings while it runs", record["msg"])
        self.expect_echo_untouched()
        self.end()

    # Spec.  Forty reloads under load, each adding or retiring a plugin that is used at the moment: not one answer of the other
    #        is broken. SIGTERM in the middle of one ends as ever.
    def test_many_under_load(self):
        self.serve()
        for i in range(20):
            added = self.word(f"word{i}")
            self.reload(also="plugin_ready")
            self.assertEqual(ask(self.word_port), f"word{i}")
            added.unlink()
            self.reload(also="plugin_retired")
            self.assertEqual(self.load.broken, [])
        self.expect_echo_untouched()
        self.load.end()
        self.word("hello")
        self.daemon.signal(signal.SIGHUP)
        self.daemon.signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(), 0, self.daemon.errors)


class DropIns(ReloadTest):
    # Spec.  --check-config and --dump-config see the drop-ins: in the order of their names, later ones win, twice in one file
    #        is a mistake. Other files of the folder are none.
    def test_order_and_places(self):
        config = self.main_config("drain_timeout = 1s")
        self.drop_in("10-a.conf", "[daemon]\ndrain_timeout = 2s\n")
        last = self.drop_in("20-b.conf", "[daemon]\ndrain_timeout = 3s\n")
        for ignored in (".hidden.conf", "30-c.conf~", "30-c.conf.dpkg-old", "README"):
            self.drop_in(ignored, "[daemon]\ndrain_timeout = 9s\n")
        dumped = run(program("umbeld"), "--config", config, "--dump-config")
        self.assertEqual(dumped.returncode, 0, dumped.stderr)
        self.assertIn(f"drain_timeout = 3s  # {last}:2", dumped.stdout)
        checked = run(program("umbeld"), "--config", config, "--check-config")
        self.assertEqual(checked.returncode, 0, checked.stderr)
        twice = self.drop_in("30-d.conf", "[daemon]\ndrain_timeout = 3s\ndrain_timeout = 4s\n")
        checked = run(program("umbeld"), "--config", config, "--check-config")
        self.assertEqual(checked.returncode, 78)
        self.assertIn(f"{twice}:3: \"drain_timeout\" was set before, at {twice}:2", checked.stderr)
        twice.unlink()
        (self.folder / "conf.d" / "40-e.conf").mkdir()
        checked = run(program("umbeld"), "--config", config, "--check-config")
        self.assertEqual(checked.returncode, 78)
        self.assertIn("40-e.conf: is a folder", checked.stderr)


if __name__ == "__main__":
    for argument in [a for a in sys.argv[1:] if a.startswith("--build=")]:
        import pathlib
        test_daemon.BUILD = pathlib.Path(argument.removeprefix("--build=")).resolve()
        sys.argv.remove(argument)
    unittest.main(verbosity=2)
