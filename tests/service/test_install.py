#!/usr/bin/env python3
"""Specification of scripts/install and of the units as files.

    test_install.py BUILD [CLASS | CLASS.test …]
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = pathlib.Path()
DEADLINE = 120
MOST_EXPOSED = 15  # tenths: systemd-analyze security


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=DEADLINE,
                          stdin=subprocess.DEVNULL, check=False, **options)


def install(root, *arguments):
    return run("scripts/install", "--build", BUILD, *arguments, env=dict(os.environ, DESTDIR=str(root)))


class InstallTest(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="umbel-install-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.config = self.root / "etc/umbel/umbel.conf"

    def installed(self, prefix="/usr", *arguments):
        result = install(self.root, "--prefix", prefix, *arguments)
        self.assertEqual(result.returncode, 0, result)
        return result.stdout

    def files(self):
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if not path.is_dir())


class Install(InstallTest):
    def test_everything_is_in_its_place(self):
        for prefix in ("/usr", "/opt/umbel"):
            with self.subTest(prefix):
                self.installed(prefix)
                below = self.root / prefix[1:]
                for program in ("umbeld", "umbelctl"):
                    self.assertTrue(os.access(below / "bin" / program, os.X_OK), program)
                for plugin in ("http", "echo"):
                    self.assertEqual(len(list(below.glob(f"lib/**/umbel/{plugin}.so"))), 1, plugin)
                for file in ("lib/systemd/system/umbeld.service", "lib/systemd/system/umbeld.socket",
                             "include/umbel/abi.h", "share/umbel/umbel.conf", "share/doc/umbel/operator-guide.md"):
                    self.assertTrue((below / file).is_file(), file)
                unit = (below / "lib/systemd/system/umbeld.service").read_text()
                self.assertIn(f"ExecStart={prefix}/bin/umbeld --config /etc/umbel/umbel.conf\n", unit)
                plugins = next(below.glob("lib/**/umbel/http.so")).parent.relative_to(self.root)
                self.assertIn(f"ExecPaths=/{plugins}\n", unit)
                # What is not a system folder is nowhere but below the prefix.
                self.assertEqual("/usr/bin/umbel" in unit, prefix == "/usr")

    def test_the_config_is_the_operator_s(self):
        self.installed()
        self.assertRegex(self.config.read_text(), r"(?m)^root = /usr/share/doc/umbel$")
        example = self.config.read_text()
        self.config.write_text(example + "# mine\n")
        self.assertIn("kept your", self.installed())
        self.assertEqual(self.config.read_text(), example + "# mine\n")
        # Unchanged since the last install, it follows the version.
        old = example + "# of an older version\n"
        self.config.write_text(old)
        (self.root / "usr/share/umbel/umbel.conf").write_text(old)
        self.installed()
        self.assertEqual(self.config.read_text(), example)

    def test_uninstall_takes_away_what_install_brought(self):
        other = self.root / "usr/lib/other"
        other.mkdir(parents=True)
        (other / "file").write_text("not ours")
        self.installed()
        self.assertGreater(len(self.files()), 10)
        self.installed("/usr", "--uninstall")
        self.assertEqual(self.files(), ["usr/lib/other/file"])
        self.assertFalse((self.root / "usr/share/umbel").exists())
        self.assertEqual(install(self.root, "--prefix", "/usr", "--uninstall").returncode, 1)

    def test_uninstall_keeps_a_changed_config(self):
        self.installed()
        self.config.write_text("[log]\n")
        self.assertIn("you have changed it", self.installed("/usr", "--uninstall"))
        self.assertEqual(self.files(), ["etc/umbel/umbel.conf"])

    def test_what_an_older_version_had_goes(self):
        self.installed()
        stale = self.root / "usr/lib/umbel/stale.so"
        stale.parent.mkdir(exist_ok=True)
        stale.write_text("")
        manifest = self.root / "usr/share/umbel/manifest"
        manifest.write_text(manifest.read_text() + "/usr/lib/umbel/stale.so\n")
        before = self.files()
        self.installed()
        self.assertEqual(self.files(), [file for file in before if file != "usr/lib/umbel/stale.so"])

    def test_wrong_usage_is_said(self):
        for arguments in (["--prefix", "relative"], ["--prefix"], ["--what"]):
            self.assertEqual(install(self.root, *arguments).returncode, 64, arguments)


@unittest.skipUnless(shutil.which("systemd-analyze"), "there is no systemd-analyze here")
class Units(InstallTest):
    def test_they_are_hardened(self):
        result = run("systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager",
                     "systemd/umbeld.service")
        self.assertEqual(result.returncode, 0, result)
        exposure = re.search(r"Overall exposure level for umbeld.service: ([0-9.]+)", result.stdout)
        self.assertLessEqual(float(exposure[1]) * 10, MOST_EXPOSED)

    def test_verify_prints_nothing(self):
        """Its exit code does not tell: unknown keys are lines only."""
        self.installed("/opt/umbel")
        folder = self.root / "units"
        folder.mkdir()
        for unit in ("umbeld.service", "umbeld.socket"):  # /opt/umbel is not there: its programs are in the root
            text = (self.root / "opt/umbel/lib/systemd/system" / unit).read_text()
            (folder / unit).write_text(text.replace("/opt/umbel/", f"{self.root}/opt/umbel/"))
        result = run("systemd-analyze", "verify", *sorted(folder.iterdir()))
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    os.chdir(pathlib.Path(__file__).resolve().parents[2])
    unittest.main(verbosity=2)
