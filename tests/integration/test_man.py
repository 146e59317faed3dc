#!/usr/bin/env python3
"""Specification of the man pages: groff finds nothing to complain about, and they name everything the programs know.

    test_man.py BUILD
"""

import pathlib
import re
import subprocess
import sys
import unittest

BUILD = pathlib.Path(sys.argv[1]).resolve()
PAGES = ("umbeld.8", "umbelctl.1", "umbel.conf.5")


def formatted(page):
    """The page as text, and what groff says about it."""
    ended = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-Kutf8", "-P-cbou", str(BUILD / "docs" / "man" / page)],
                           capture_output=True, text=True, timeout=60, check=True)
    # One line, words at line ends put together again.
    return re.sub(r"\s+", " ", re.sub(r"[\u2010-]\n\s*", "-", ended.stdout)), ended.stderr


def help_of(program):
    return subprocess.run([BUILD / "bin" / program, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout


class ManPages(unittest.TestCase):
    def test_no_warnings(self):
        for page in PAGES:
            text, complaints = formatted(page)
            self.assertEqual(complaints, "", page)
            for heading in ("NAME", "SYNOPSIS", "SEE ALSO"):
                self.assertIn(heading, text, page)

    # Spec.  umbel.conf(5) has every setting of --help, with its default, in its section.
    def test_every_setting(self):
        text, _ = formatted("umbel.conf.5")
        settings = re.findall(r"^  (\w+)\.(\w+)\n(?:      .*\n)*?      .*; default: (.*); a change needs a (\w+)$",
                              help_of("umbeld"), re.MULTILINE)
        self.assertGreater(len(settings), 10)
        for section, name, default, needs in settings:
            begin = text.index(f"[{section.upper()}]") if f"[{section.upper()}]" in text else text.index(f"[{section}] ")
            entry = re.search(rf"\b{name} \(default: {re.escape(default)}\)(.*?)A change needs a (\w+)\.", text[begin:])
            self.assertIsNotNone(entry, f"{section}.{name}")
            self.assertEqual(entry.group(2), needs, f"{section}.{name}")

    # Spec.  umbeld(8) has every option of --help, umbelctl(1) every command.
    def test_every_option(self):
        text, _ = formatted("umbeld.8")
        for option in set(re.findall(r"^  (--[a-z-]+)", help_of("umbeld"), re.MULTILINE)):
            self.assertIn(option, text)
        text, _ = formatted("umbelctl.1")
        for command in re.findall(r"umbelctl ((?:[a-z]+ ?)+)", help_of("umbelctl")):
            self.assertIn(command.strip(), text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
