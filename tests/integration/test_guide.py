#!/usr/bin/env python3
"""The code in docs/plugin-guide.md compiles as it stands.

Usage: test_guide.py SOURCE_DIR
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path()
COMPILERS = {"cpp": ["g++", "-std=c++23", "-x", "c++"], "c": ["gcc", "-std=c11", "-x", "c"]}


class Guide(unittest.TestCase):
    def test_code_compiles(self):
        guide = (SOURCE / "docs/plugin-guide.md").read_text()
        blocks = re.findall(r"^```(cpp|c)\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
        self.assertGreaterEqual(len(blocks), 5)
        for language, code in blocks:
            with self.subTest(code=code[:200]), tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder) / "block"
                file.write_text(code)
                result = subprocess.run(
                    [*COMPILERS[language], "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
                     "-D_GNU_SOURCE", "-I", SOURCE / "include", file], capture_output=True, text=True, check=False)
                self.assertEqual(result.returncode, 0, result.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SOURCE = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
