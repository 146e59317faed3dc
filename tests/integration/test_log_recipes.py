#!/usr/bin/env python3
"""The recipes in docs/log-events.md and share/lnav/umbel_log.json work on what umbeld writes.

Usage: test_log_recipes.py BUILD_DIR SOURCE_DIR
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = SOURCE = pathlib.Path()
DEADLINE = 60
FOLDER = tempfile.TemporaryDirectory(prefix="umbel-test-")
LOG = pathlib.Path(FOLDER.name) / "umbeld.log"


def setUpModule():
    """A life of a daemon, with a log of every level."""
    config = LOG.parent / "umbel.conf"
    config.write_text(f"[executors]\ncount = 1\n[daemon]\nplugin_dir = {BUILD / 'lib/umbel'}\n"
                      f"[log]\nlevel = trace\nsink = {LOG}\n[plugin.http]\nroot = {LOG.parent}\nlisten = 127.0.0.1:0\n")
    daemon = subprocess.Popen([BUILD / "bin/umbeld", "--config", config])
    until = time.monotonic() + DEADLINE
    while not (LOG.exists() and '"ready"' in LOG.read_text()):
        assert daemon.poll() is None and time.monotonic() < until, "umbeld is not ready"
        time.sleep(0.02)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(timeout=DEADLINE) == 0
    with LOG.open("a") as log:  # what a healthy life does not have
        for event in ("actor_failed", "actor_failed", "log_dropped"):
            log.write(json.dumps({"ts": "2026-11-22T08:16:14.123456Z", "level": "error", "event": event,
                                  "msg": 'a "reason"', "plugin": "http", "dropped": 7}) + "\n")


def tearDownModule():
    FOLDER.cleanup()


class Recipes(unittest.TestCase):
    def test_every_jq_recipe_works(self):
        page = (SOURCE / "docs/log-events.md").read_text()
        recipes = [line for block in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
                   for line in block.splitlines() if line.startswith("jq ")]
        self.assertGreaterEqual(len(recipes), 5)
        for recipe in recipes:
            with self.subTest(recipe=recipe):
                result = subprocess.run(recipe, shell=True, cwd=LOG.parent, capture_output=True, text=True,
                                        timeout=DEADLINE, check=False)
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                self.assertNotEqual(result.stdout.strip(), "", "it finds nothing in a log that has it")

    def test_lnav_knows_the_format(self):
        home = LOG.parent / "home"
        home.mkdir()
        env = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "TERM": "dumb"}

        def lnav(*arguments):
            result = subprocess.run(["lnav", *map(str, arguments)], env=env, capture_output=True, text=True,
                                    timeout=DEADLINE, check=False)
            self.assertEqual((result.returncode, "error" in result.stderr), (0, False), result.stderr)
            return result.stdout

        lnav("-i", SOURCE / "share/lnav/umbel_log.json")
        lnav("-C")
        lines = LOG.read_text().splitlines()
        counted = lnav("-n", "-c", ";select count(*) as lines from umbel_log", "-c", ":write-csv-to -", LOG)
        self.assertEqual(counted.split(), ["lines", str(len(lines))])
        rows = lnav("-n", "-c", ";select event, plugin, log_level from umbel_log where plugin is not null",
                    "-c", ":write-csv-to -", LOG)
        self.assertIn("plugin_ready,http,info", rows)
        self.assertRegex(lnav("-n", LOG), r"INFO +plugin_ready http listening on 127\.0\.0\.1:\d+")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    BUILD, SOURCE = (pathlib.Path(sys.argv.pop(1)).resolve() for _ in range(2))
    unittest.main()
