#!/usr/bin/env python3
"""The SDK as an author of plugins meets it: installed, or as a build tree, and always from outside the repository.

    test_sdk.py SOURCE_DIR BUILD_DIR [CLASS | CLASS.test …]

A plugin is scaffolded, built, tested by the test kit, and run in the real umbeld, in C++ and in C.
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


def run(*command, cwd=None, env=None, check=True):
    """Runs a program to its end; what it said is in the failure if it fails."""
    result = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True,
                            timeout=DEADLINE, stdin=subprocess.DEVNULL)
    if check and result.returncode != 0:
        raise AssertionError(f"{command} in {cwd} ended with {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def exported(library):
    return [line.split()[-1] for line in run("nm", "-D", "--defined-only", library).stdout.splitlines()]


class SdkTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = pathlib.Path(tempfile.mkdtemp(prefix="umbel-sdk-"))
        cls.addClassCleanup(shutil.rmtree, cls.temporary)

    @classmethod
    def install(cls):
        """The installation in a prefix of its own, moved once: it must not know where it was made."""
        made = cls.temporary / "made"
        run("cmake", "--install", BUILD, "--prefix", made)
        prefix = cls.temporary / "an sdk"  # a space in its path
        made.rename(prefix)
        return prefix

    def greet(self, umbeld, folder, name):
        """Runs the plugin by its own config file, as the README says, and talks to it."""
        port = free_port()
        config = folder / f"{name}.conf"
        config.write_text(config.read_text().replace("127.0.0.1:7777", f"127.0.0.1:{port}"))
        daemon = subprocess.Popen([str(umbeld), "--config", config.name], cwd=folder, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
        self.addCleanup(daemon.stdout.close)
        self.addCleanup(lambda: daemon.poll() is None and daemon.kill())
        log = []
        for line in daemon.stdout:
            log.append(line)
            if " ready " in line:
                break
        else:
            self.fail(f"it never became ready: {log}")
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
            connection.sendall(b"world\nmoon\n\n")
            answer = b""
            while piece := connection.recv(1000):
                answer += piece
        daemon.send_signal(signal.SIGTERM)
        rest, _ = daemon.communicate(timeout=DEADLINE)
        self.assertEqual(daemon.returncode, 0, log + [rest])
        return answer.decode()

    ANSWERS = {"cpp": "hello, world! You are number 1.\nhello, moon! You are number 2.\n",
               "c": "hello, world!\nhello, moon!\n"}


class Installed(SdkTest):
    """Everything from the installation; the repository is not looked at."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.prefix = cls.install()

    def scaffold_build_test_run(self, *options, language):
        folder = self.temporary / f"my_{language}"
        said = run(self.prefix / "bin/umbel-new-plugin", *options, f"my_{language}", cwd=self.temporary).stdout
        self.assertTrue((folder / f"my_{language}.{language}").is_file())
        self.assertNotIn("scripts/build", said)
        for file in folder.iterdir():
            self.assertNotIn("greeter", file.read_text() + file.name)
        run("cmake", "--preset", "dev", cwd=folder)
        run("cmake", "--build", "--preset", "dev", cwd=folder)
        self.assertEqual(exported(folder / f"build/my_{language}.so"), ["umbel_plugin_descriptor"])
        tested = run("ctest", "--preset", "dev", cwd=folder).stdout
        self.assertRegex(tested, r"100% tests passed, 0 tests failed out of [5-9]")
        self.assertEqual(self.greet(self.prefix / "bin/umbeld", folder, f"my_{language}"), self.ANSWERS[language])
        # And installed beside umbeld, which then finds it by its name alone.
        run("cmake", "--install", "build", "--prefix", self.prefix, cwd=folder)
        config = self.temporary / "umbel.conf"
        config.write_text(f"[plugin.my_{language}]\n")
        run(self.prefix / "bin/umbeld", "--config", config, "--check-config")

    def test_cpp(self):
        self.scaffold_build_test_run(language="cpp")

    def test_c(self):
        self.scaffold_build_test_run("--c", language="c")

    def test_pkg_config(self):
        """Without CMake: a compiler and pkg-config."""
        # pkg-config and a shell would split a path with a space in it; people's prefixes have none.
        prefix = self.temporary / "plain"
        prefix.symlink_to(self.prefix)
        env = {**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")}
        if not (prefix / "lib/pkgconfig").is_dir():
            env["PKG_CONFIG_PATH"] = str(next(prefix.glob("lib/*/pkgconfig")))
        flags = lambda *packages: run("pkg-config", *packages, env=env).stdout.split()
        for sample, compiler, suffix in (("greeter", ["g++", "-std=c++23"], "cpp"), ("greeter_c", ["gcc", "-std=gnu11"], "c")):
            with self.subTest(sample=sample):
                source = prefix / "share/umbel/samples" / sample
                folder = self.temporary / sample
                (folder / "build").mkdir(parents=True)
                library = folder / "build" / f"{sample}.so"
                run(*compiler, "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", *flags("--cflags", "umbel"),
                    source / f"{sample}.{suffix}", "-o", library, *flags("--libs", "umbel"))
                self.assertEqual(exported(library), ["umbel_plugin_descriptor"])
                test = folder / "test"
                run("g++", "-std=c++23", f'-DUMBEL_PLUGIN_FILE="{library}"', *flags("--cflags", "umbel-testkit", "gtest_main"),
                    source / f"{sample}_test.cpp", "-o", test, *flags("--libs", "umbel-testkit", "gtest_main"))
                run(test)
                shutil.copy(source / f"{sample}.conf", folder)
                self.assertEqual(self.greet(prefix / "bin/umbeld", folder, sample), self.ANSWERS[suffix])
        folder, = flags("--variable=plugindir", "umbel")
        self.assertTrue((pathlib.Path(folder) / "echo.so").is_file(), folder)

    def test_c_alone(self):
        """A project in C need not know of C++."""
        folder = self.temporary / "c_alone"
        folder.mkdir()
        shutil.copy(self.prefix / "share/umbel/samples/greeter_c/greeter_c.c", folder / "only.c")
        (folder / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(only LANGUAGES C)\n"
                                               "find_package(Umbel REQUIRED)\numbel_add_plugin(only only.c)\n")
        run("cmake", "-G", "Ninja", "-B", "build", f"-DCMAKE_PREFIX_PATH={self.prefix}", cwd=folder)
        run("cmake", "--build", "build", cwd=folder)
        self.assertEqual(exported(folder / "build/only.so"), ["umbel_plugin_descriptor"])
        (folder / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(only LANGUAGES C)\n"
                                               "find_package(Umbel REQUIRED COMPONENTS testkit)\n")
        refused = run("cmake", "-B", "build", cwd=folder, check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("needs the language CXX", refused.stderr)

    def test_headers_and_guides_are_there(self):
        for header in (SOURCE / "include/umbel").glob("*.h"):
            self.assertEqual((self.prefix / "include/umbel" / header.name).read_bytes(), header.read_bytes())
        for page in ("plugin-guide.md", "operator-guide.md", "examples/greeter/README.md"):
            self.assertTrue((self.prefix / "share/doc/umbel" / page).is_file(), page)


class BuildTree(SdkTest):
    """Against a build tree that was never installed."""

    def test_both_languages(self):
        for options, language in (((), "cpp"), (("--c",), "c")):
            with self.subTest(language=language):
                name = f"tree_{language}"
                folder = self.temporary / "deep/er" / name
                said = run(SOURCE / "scripts/new-plugin", *options, name, folder).stdout
                self.assertIn(f"--config {name}.conf", said)
                run("cmake", "-G", "Ninja", "-B", "build", f"-DCMAKE_PREFIX_PATH={BUILD}", cwd=folder)
                run("cmake", "--build", "build", cwd=folder)
                run("ctest", "--test-dir", "build", "--output-on-failure", cwd=folder)
                self.assertEqual(self.greet(BUILD / "bin/umbeld", folder, name), self.ANSWERS[language])

    def test_a_bug_in_a_plugin_is_found_by_its_test(self):
        """The scaffold's test is one that can fail: it names the seed, which fails again."""
        folder = self.temporary / "buggy"
        run(SOURCE / "scripts/new-plugin", "buggy", folder)
        source = folder / "buggy.cpp"
        right = "unread += received->text();"
        self.assertIn(right, source.read_text())
        source.write_text(source.read_text().replace(right, "unread = received->text();"))  # forgets the pieces before
        run("cmake", "-G", "Ninja", "-B", "build", f"-DCMAKE_PREFIX_PATH={BUILD}", cwd=folder)
        run("cmake", "--build", "build", cwd=folder)
        test = [folder / "build/buggy_test", "--gtest_filter=*bad_day"]
        failed = run(*test, check=False)
        self.assertNotEqual(failed.returncode, 0, failed.stdout)
        seed = re.search(r"again: UMBEL_SEED=(\d+)", failed.stdout)[1]
        self.assertNotEqual(run(*test, env={**os.environ, "UMBEL_SEED": seed}, check=False).returncode, 0)


class Scaffold(SdkTest):
    """scripts/new-plugin: what it refuses, and that it leaves everything else alone."""

    def refused(self, *arguments):
        before = sorted(self.temporary.rglob("*"))
        result = run(SOURCE / "scripts/new-plugin", *arguments, cwd=self.temporary, check=False)
        self.assertNotEqual(result.returncode, 0, arguments)
        self.assertEqual(result.stdout, "")
        self.assertEqual(sorted(self.temporary.rglob("*")), before, arguments)
        return result.stderr

    def test_bad_names(self):
        for name in ("Hello", "9lives", "my-plugin", "_x", "a b", "../up", "ü", "x;y", "a/b", "", "x" * 41):
            with self.subTest(name=name):
                said = self.refused(name)
                self.assertIn(f"'{name}'", said)
                self.assertIn("use ", said)
        for name in ("test", "all", "run", "http", "hello_test"):
            with self.subTest(name=name):
                self.assertIn(f"'{name}' cannot be a plugin's name", self.refused(name))

    def test_usage(self):
        self.assertIn("usage: new-plugin NAME [FOLDER]", self.refused())
        self.assertIn("usage:", self.refused("a", "b", "c"))
        self.assertIn("no option '--rust'", self.refused("--rust", "hello"))
        self.assertIn("NAME [FOLDER]", run(SOURCE / "scripts/new-plugin", "--help").stdout)

    def test_nothing_is_overwritten(self):
        for what in ("folder", "file", "link"):
            place = self.temporary / f"there_{what}"
            if what == "folder":
                place.mkdir()
            elif what == "file":
                place.write_text("precious")
            else:
                place.symlink_to("nowhere")
            with self.subTest(what=what):
                self.assertIn("exists already, and nothing is overwritten", self.refused("hello", place))
                self.assertIn("exists already", self.refused(place.name))
        self.assertEqual((self.temporary / "there_file").read_text(), "precious")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    SOURCE, BUILD = (pathlib.Path(sys.argv.pop(1)).resolve() for _ in range(2))
    unittest.main()
