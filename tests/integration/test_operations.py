#!/usr/bin/env python3
"""Specification of operations as plugins meet them, in C and in C++: the examples watch and pass_c in a running umbeld.

    test_operations.py --build=build/dev [CLASS | CLASS.test …]
"""

import argparse
import os
import pathlib
import signal
import sys
import unittest

import test_daemon


def open_descriptors(process):
    """What each descriptor of a process is, the rings' own included."""
    folder = pathlib.Path(f"/proc/{process}/fd")
    return sorted(os.readlink(entry) for entry in folder.iterdir())


class Operations(test_daemon.DaemonTest):
    def running(self, plugin, setting):
        config = self.config(f"""
[executors]
count = 2
[daemon]
plugin_dir = {test_daemon.plugin_folder()}
[log]
format = json
[plugin.{plugin}]
path = {plugin}.so
{setting}
""")
        daemon = self.start(config)
        self.ready = daemon.wait_for("plugin_ready")["msg"]
        daemon.wait_for("ready")
        return daemon

    def said(self, daemon):
        """The next line the plugin logs."""
        return daemon.wait_for("plugin_log")["msg"]

    def test_a_descriptor_is_passed(self):
        file = self.folder / "file"
        file.write_text("x" * 1000)
        daemon = self.running("pass_c", f"file = {file}")
        self.assertIn(f"passed {file}: 1000 bytes, 984 of them in a buffer", self.ready)
        kept = [what for what in open_descriptors(daemon.process.pid) if what == str(file) or "umbel-pass" in what]
        self.assertEqual(kept, [], "the actors have ended, and so have their descriptors")
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)

    def test_a_folder_is_watched(self):
        watched = self.folder / "watched"
        watched.mkdir()
        daemon = self.running("watch", f"folder = {watched}")
        (watched / "new").write_text("")
        self.assertIn("created new", self.said(daemon))
        self.assertIn("written new", self.said(daemon))
        (watched / "new").rename(watched / "old")
        self.assertIn("moved from new", self.said(daemon))
        self.assertIn("moved to old", self.said(daemon))
        (watched / "old").unlink()
        self.assertIn("deleted old", self.said(daemon))
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)

    def test_a_signal_reaches_its_actor(self):
        daemon = self.running("watch", f"folder = {self.folder}")
        for _ in range(3):
            daemon.signal(signal.SIGUSR1)
            self.assertIn(f"changes so far, for process {os.getpid()}", self.said(daemon))
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)

    def test_a_signal_nobody_has_claimed_does_nothing(self):
        daemon = self.running("watch", f"folder = {self.folder}")
        for number in (signal.SIGUSR2, signal.SIGWINCH, signal.SIGCHLD, signal.SIGRTMIN + 1, signal.SIGRTMAX):
            daemon.signal(number)
        daemon.signal(signal.SIGUSR1)
        self.assertIn("0 changes so far", self.said(daemon))
        daemon.signal(signal.SIGTERM)
        self.assert_ended_well(daemon)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=test_daemon.BUILD)
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    test_daemon.BUILD = options.build.resolve()
    loader = unittest.defaultTestLoader
    module = sys.modules[__name__]
    suite = loader.loadTestsFromNames(options.tests, module) if options.tests else loader.loadTestsFromModule(module)
    return 0 if unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
