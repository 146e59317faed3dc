#!/usr/bin/env python3
"""docs/plugin-guide.md is followed to the letter: its code compiles, its plugins load and run, its commands work.

    test_guide.py SOURCE_DIR BUILD_DIR [CLASS | CLASS.test …]

Two things differ from what a reader does: BUILD_DIR is used in place of build/release, and ports are free ones.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path()
BUILD = pathlib.Path()
DEADLINE = 300  # seconds; a busy machine compiles slowly
COMPILERS = {"cpp": ["g++", "-std=c++23", "-x", "c++"], "c": ["gcc", "-std=c11", "-x", "c"]}


def run(*command, cwd=None, check=True, env=None):
    result = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=DEADLINE,
                            stdin=subprocess.DEVNULL, env=env)
    if check and result.returncode != 0:
        raise AssertionError(f"{command} in {cwd} ended with {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Guide(unittest.TestCase):
    def setUp(self):
        self.text = (SOURCE / "docs/plugin-guide.md").read_text()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="umbel-guide-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def blocks(self, language, section=None):
        """The code blocks of a language (a pattern), of the whole guide or of one section."""
        text = self.text
        if section is not None:
            text = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
        every = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        return [block for block in every if re.fullmatch(language, block[0])]

    def start(self, command, cwd):
        """Runs something that starts the daemon, in the foreground of a terminal of its own, until it is ready."""
        process = subprocess.Popen([str(part) for part in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, start_new_session=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(lambda: process.poll() is None and os.killpg(process.pid, signal.SIGKILL))
        log = []
        for line in process.stdout:
            log.append(line)
            if " ready " in line:
                return process
        self.fail(f"it never became ready: {log}")

    def ctrl_c(self, process):
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=DEADLINE)
        self.assertIn(" stopped ", rest)
        self.assertIn("exit_code=0", rest)

    def library(self, language, code, name):
        """Builds one block as a plugin."""
        source, library = self.folder / f"{name}.{language}", self.folder / f"{name}.so"
        source.write_text(code)
        run(*COMPILERS[language], "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-I", SOURCE / "include", source, "-o", library,
            f"-Wl,--version-script={SOURCE / 'include/package/plugin.map'}")
        return library

    def test_code_compiles(self):
        blocks = self.blocks("cpp|c")
        self.assertGreaterEqual(len(blocks), 5)
        for language, code in blocks:
            with self.subTest(code=code[:200]):
                file = self.folder / "block"
                file.write_text(code)
                result = run(*COMPILERS[language], "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
                             '-DUMBEL_PLUGIN_FILE="x.so"', "-D_GNU_SOURCE", "-I", SOURCE / "include", file, check=False)
                self.assertEqual(result.returncode, 0, result.stderr)

    def test_five_minutes(self):
        """Every command of the section, in its order, with the answer the section shows."""
        (_, commands), (_, talk) = self.blocks("sh", "Five minutes")
        (_, answer), = self.blocks("", "Five minutes")
        folder, port = self.folder / "hello", free_port()
        cwd, process, done = SOURCE, None, []
        for line in commands.splitlines():
            command = line.split(" #")[0].strip()
            done.append(command)
            if command == "scripts/build":
                continue  # that is BUILD
            if command == "cd ../hello":
                cwd = folder
                continue
            command = command.replace("../hello", str(folder))
            if "--target run" in command:
                process = self.start(["bash", "-c", f"exec {command}"], cwd)
                continue
            run("bash", "-c", command, cwd=cwd)
            if "new-plugin" in command:
                for file, old, new in (("CMakeUserPresets.json", str(SOURCE / "build/release"), str(BUILD)),
                                       ("hello.conf", "127.0.0.1:7777", f"127.0.0.1:{port}")):
                    text = (folder / file).read_text()
                    self.assertIn(old, text)
                    (folder / file).write_text(text.replace(old, new))
        self.assertIsNotNone(process, done)
        self.assertEqual(run("bash", "-c", talk.replace("7777", str(port))).stdout, answer)
        self.ctrl_c(process)

    def test_the_smaller_one_runs(self):
        (language, code), = self.blocks("cpp", "A smaller one")
        port = free_port()
        self.library(language, code.replace("127.0.0.1:7777", f"127.0.0.1:{port}"), "hello")
        (_, config), = self.blocks("ini", "Building")
        file = self.folder / "umbel.conf"
        self.assertIn("path = /srv/plugins/hello.so", config)
        file.write_text(f"[executors]\ncount = 1\n[log]\nformat = text\n[daemon]\nplugin_dir = {self.folder}\n"
                        + config.replace("/srv/plugins/", ""))
        run(BUILD / "bin/umbeld", "--config", file, "--check-config")
        process = self.start([BUILD / "bin/umbeld", "--config", file], self.folder)
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
            self.assertEqual(connection.recv(100), b"good morning\n")
        self.ctrl_c(process)

    def test_cmake_and_the_test_kit(self):
        """The guide's CMakeLists.txt builds, and its test passes on the plugin it is about."""
        (_, whole), = self.blocks("cmake", "Building")
        (_, code), = self.blocks("cpp", "Building") or self.blocks("cpp", "A smaller one")
        first = self.folder / "first"
        first.mkdir()
        (first / "CMakeLists.txt").write_text(whole)
        (first / "hello.cpp").write_text(code)
        second = self.folder / "second"
        second.mkdir()
        (_, piece), = self.blocks("cmake", "Testing")
        (_, test), = self.blocks("cpp", "Testing")
        shutil.copy(SOURCE / "plugins/examples/greeter/greeter.cpp", second)
        (second / "greeter_test.cpp").write_text(test)
        (second / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(x LANGUAGES CXX)\n" + piece)
        for project in (first, second):
            run("cmake", "-G", "Ninja", "-B", "build", f"-DCMAKE_PREFIX_PATH={BUILD}", cwd=project)
            run("cmake", "--build", "build", cwd=project)
        run(BUILD / "bin/umbelctl", "plugin", "check", first / "build/hello.so")
        tested = run("ctest", "--test-dir", "build", "--output-on-failure", cwd=second).stdout
        self.assertIn("100% tests passed, 0 tests failed out of 1", tested)
        unlucky = run(second / "build/greeter_test", env={**os.environ, "UMBEL_SEED": "x"}, check=False)
        self.assertIn("UMBEL_SEED is 'x'", unlucky.stdout)

    def test_names_of_the_kit(self):
        """What the table of the kit names is there."""
        header = (SOURCE / "include/umbel/testkit.h").read_text()
        table = re.search(r"^\| to \| there is \|\n(.*?)\n\n", self.text, re.MULTILINE | re.DOTALL)[1]
        names = set(re.findall(r"`(\w+)[(`]", table)) - {"so"}
        self.assertGreaterEqual(len(names), 20)
        for name in names:
            self.assertRegex(header, rf"\b{name}\b")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    SOURCE, BUILD = (pathlib.Path(sys.argv.pop(1)).resolve() for _ in range(2))
    unittest.main()
