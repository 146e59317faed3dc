#!/usr/bin/env python3
"""Submission case 3 on the real kernel, by umbel-bench flood: a full ring, a small one, a kernel that says EBUSY.

Usage: test_flood.py BUILD_DIR [unittest arguments]

umbel-bench keeps its own account of every operation and checks every result (bench/umbel_bench/flood.cpp); these tests
choose the circumstances and compare its figures with what must be so.
"""

import json
import os
import pathlib
import subprocess
import sys
import unittest

BUILD = pathlib.Path()
OPERATIONS = 60_000


def bench(*arguments):
    return subprocess.run([BUILD / "bin/umbel-bench", *map(str, arguments)], capture_output=True, text=True, timeout=100)


class Case(unittest.TestCase):
    def flood(self, *arguments, operations=OPERATIONS):
        """Runs a flood in which nothing may be lost; its figures."""
        done = bench("flood", "--json", "--operations", operations, *arguments)
        if "seccomp filter" in done.stderr:
            self.skipTest(done.stderr.strip())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        figures = json.loads(done.stdout)
        self.assertGreaterEqual(figures["operations"], operations)
        for none in ("lost", "duplicated", "wrong_results", "cq_overflows"):
            self.assertEqual(figures[none], 0, (none, done.stdout, done.stderr))
        return figures


class Flood(Case):
    def test_thousands_of_actors_share_eight_completions(self):
        # Spec.   With far more operations wanted than the ring takes, none is lost, none comes twice, the completion
        #         ring never overflows, and actors have been parked and resumed.
        # Method. 2,000 actors with 8 operations each on a ring of 4 and 8.
        self.assertGreater(self.flood()["high_priority_yields"], 1000)

    @unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "needs two CPUs")
    def test_two_executors(self):
        self.assertGreater(self.flood("--executors", 2)["high_priority_yields"], 1000)

    def test_ring_sizes(self):
        # Spec.   No size of ring makes operations wait for each other for ever.
        # Method. 8 completions: one waiting operation more and a chain would not fit. 16 for a ring of 16: the longest
        #         chain is longer than what there is.
        for ring, completions in ((4, 16), (8, 16), (16, 16), (16, 64), (64, 128)):
            with self.subTest(ring=ring, completions=completions):
                self.flood("--ring-entries", ring, "--completion-entries", completions, operations=20_000)

    def test_one_actor_is_enough_to_fill_it(self):
        self.flood("--actors", 1, "--window", 16, operations=2_000)


class Refused(Case):
    # A ring whose 4 entries are soon full, and credits that never run out: actors are parked if a flush is refused, and
    # only then.
    PLENTY = ("--completion-entries", 4096, "--actors", 100)

    def test_nobody_is_parked_while_the_kernel_takes_everything(self):
        self.assertEqual(self.flood(*self.PLENTY)["high_priority_yields"], 0)

    def test_a_refused_flush_parks_and_loses_nothing(self):
        # Spec.   EBUSY at submission: the actor yields, the executor reaps, the actor resumes first and goes on. The
        #         entries that were refused are submitted later, once.
        # Method. A seccomp filter answers every third submission with EBUSY.
        figures = self.flood(*self.PLENTY, "--refuse-every", 3)
        self.assertGreater(figures["refusals"], 100)
        self.assertGreater(figures["high_priority_yields"], 100)

    def test_refusals_and_a_small_ring_together(self):
        figures = self.flood("--refuse-every", 2, "--actors", 500, operations=20_000)
        self.assertGreater(figures["refusals"], 100)


class Messages(unittest.TestCase):
    def figures(self, name, *arguments):
        done = bench(name, "--json", "--messages", 20_000, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_each_benchmark_reports_what_it_measured(self):
        for name in ("ping_pong", "counting", "thread_ring", "spawn"):
            for executors in range(1, min(2, len(os.sched_getaffinity(0))) + 1):
                with self.subTest(name=name, executors=executors):
                    lines = self.figures(name, "--executors", executors)
                    self.assertEqual([line.get("style") for line in lines],
                                     ["handler", "stackful"] if name == "ping_pong" else [None])
                    for line in lines:
                        self.assertEqual((line["name"], line["executors"]), (name, executors))
                        self.assertGreaterEqual(line["messages"], 20_000)
                        self.assertAlmostEqual(line["ns_per_message"] * line["messages"] / 1e9, line["seconds"],
                                               delta=0.001 + line["seconds"] * 0.01)

    def test_a_wrong_command_line_is_refused(self):
        for wrong in ((), ("no_such",), ("flood", "--window", "3"), ("flood", "--window"), ("flood", "--operations", "1k"),
                      ("ping_pong", "--style", "other"), ("ping_pong", "--seconds", "nan"), ("ping_pong", "--depth", "1")):
            with self.subTest(wrong=wrong):
                done = bench(*wrong)
                self.assertEqual(done.returncode, 64)
                self.assertRegex(done.stderr, r"^umbel-bench: .+\n$")


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
