"""What the checks share: the files of the tree, their includes, and how a finding is said."""

import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADERS = (".h", ".hpp")
SOURCES = (".c", ".cpp", ".cc")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def root_from_arguments():
    """The tree to look at: the repository, or --root=DIR (the checks' own tests)."""
    for argument in sys.argv[1:]:
        if argument.startswith("--root="):
            return pathlib.Path(argument.removeprefix("--root=")).resolve()
    return ROOT


def files(root, folders=("",), suffixes=None):
    """All files below the folders with one of the suffixes, sorted; build trees and git's own are not the tree's."""
    for folder in folders:
        for path, names, leaves in os.walk(root / folder):
            top = pathlib.Path(path) == root
            names[:] = sorted(n for n in names if n not in (".git", "__pycache__") and not (top and n == "build"))
            for leaf in sorted(leaves):
                file = pathlib.Path(path) / leaf
                if (suffixes is None or file.suffix in suffixes) and file.is_file() and leaf != ".git":
                    yield file


def includes(file):
    """(line number, '<' or '"', what is included) of each include."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if match := INCLUDE.match(line):
            yield number, match[1], match[2]


def resolve(root, file, name):
    """The file of the tree that an include means, or None."""
    for candidate in (file.parent / name, root / name, root / "include" / name):
        if candidate.is_file() and candidate.resolve().is_relative_to(root):
            return candidate.resolve()
    return None


class Findings:
    def __init__(self, root):
        self.root = root
        self.count = 0

    def add(self, file, line, message):
        self.count += 1
        place = f"{file.relative_to(self.root)}:{line}" if line else f"{file.relative_to(self.root)}"
        print(f"{place}: {message}")

    def end(self):
        sys.exit(1 if self.count else 0)
