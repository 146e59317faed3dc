#!/usr/bin/env python3
"""Specification of the service on a booted systemd: what `systemctl`, a crash, a hung plugin and a socket unit do with it.

    test_booted.py BUILD [Service.test …]

Boots once, for all tests. Ends with 77, and says why, where that cannot be.
"""

import json
import os
import pathlib
import sys
import time
import unittest

import machine

BUILD = None
MACHINE = None

CONFIG = """
[executors]
{executors}
[plugin.http]
root = /srv/http
listen = {http}
[plugin.trouble]
listen = {trouble}
"""


def setUpModule():
    global MACHINE
    MACHINE = machine.Machine(BUILD)
    MACHINE.write("/srv/http/load", "x" * 50_000)
    MACHINE.write("/srv/load.py", (pathlib.Path(__file__).parent / "load.py").read_text())


def tearDownModule():
    MACHINE.power_off()


class Service(unittest.TestCase):
    def setUp(self):
        for unit in ("umbeld.socket", "umbeld.service"):
            MACHINE.run("systemctl", "stop", unit)
        MACHINE.run("rm", "-rf", "/etc/systemd/system/umbeld.service.d", "/etc/systemd/system/umbeld.socket.d")
        MACHINE.run("systemctl", "daemon-reload")
        MACHINE.run("systemctl", "reset-failed")
        self.cursor = json.loads(MACHINE.run("journalctl", "-n1", "-o", "json").stdout)["__CURSOR"]
        self.configure()

    def configure(self, http="127.0.0.1:8080", trouble="127.0.0.1:8081", executors="count = 2", more=""):
        MACHINE.write("/etc/umbel/umbel.conf", CONFIG.format(http=http, trouble=trouble, executors=executors) + more)

    def drop_in(self, unit, text):
        MACHINE.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
        MACHINE.run("systemctl", "daemon-reload")

    def systemctl(self, *arguments, code=0):
        result = MACHINE.run("systemctl", *arguments)
        self.assertEqual(result.returncode, code, (result, self.said()))

    def show(self, *properties):
        lines = MACHINE.run("systemctl", "show", "umbeld", "--property=" + ",".join(properties)).stdout.splitlines()
        values = dict(line.split("=", 1) for line in lines)
        return values[properties[0]] if len(properties) == 1 else [values[each] for each in properties]

    def journal(self):
        """What the service has written and what systemd has said of it since the test began."""
        return [json.loads(line) for line in MACHINE.run("journalctl", f"--after-cursor={self.cursor}", "--unit=umbeld",
                                                         "--output=json").stdout.splitlines()]

    def said(self):
        """Everything in it, as one text."""
        return "\n".join(entry["MESSAGE"] for entry in self.journal() if isinstance(entry["MESSAGE"], str))

    def events(self):
        """The daemon's own lines, which it writes into the journal natively."""
        return [entry for entry in self.journal() if "UMBEL_EVENT" in entry]

    def eventually(self, what, condition):
        until = time.monotonic() + machine.DEADLINE
        while not (value := condition()):
            self.assertLess(time.monotonic(), until, (f"never: {what}", self.said()))
            time.sleep(0.1)
        return value

    def get(self, path="/load", port=8080):
        return MACHINE.run("curl", "--silent", "--show-error", "--fail", "--max-time", "30",
                           f"http://127.0.0.1:{port}{path}")

    def assert_serves(self):
        result = self.get()
        self.assertEqual((result.returncode, len(result.stdout)), (0, 50_000), (result.stderr, self.said()))

    def tell(self, what):
        code = ("import socket, sys\nc = socket.create_connection(('127.0.0.1', 8081), 10)\nc.settimeout(1)\n"
                "c.sendall(sys.argv[1].encode())\ntry:\n    print(c.recv(4096).decode())\nexcept OSError:\n    pass")
        return MACHINE.run("python3", "-c", code, what).stdout

    def load(self, *arguments):
        return MACHINE.start("python3", "/srv/load.py", *arguments)

    def counted(self, load):
        out, err = load.communicate(timeout=machine.DEADLINE * 2)
        self.assertEqual((load.returncode, err), (0, ""))
        return json.loads(out)

    # ---- As it is installed.

    def test_the_guide_s_walk(self):
        """install, systemctl start, curl: with the config that was installed."""
        MACHINE.run("cp", "/usr/share/umbel/umbel.conf", "/etc/umbel/umbel.conf")
        self.systemctl("start", "umbeld")
        result = self.get("/operator-guide.md")
        self.assertIn("# Operator guide", result.stdout, result)
        self.assertIn("<html", self.get("/").stdout)

    def test_start_returns_when_every_plugin_runs(self):
        self.systemctl("start", "umbeld")
        self.assert_serves()  # at once
        state, status = self.show("ActiveState", "StatusText")
        self.assertEqual(state, "active")
        for address in ("127.0.0.1:8080", "127.0.0.1:8081"):
            self.assertIn(address, status)
        self.assertIn("ready", [event["UMBEL_EVENT"] for event in self.events()])

    def test_systemd_has_nothing_to_say_about_the_units(self):
        result = MACHINE.run("systemd-analyze", "verify", "umbeld.service", "umbeld.socket")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        self.systemctl("start", "umbeld")
        result = MACHINE.run("systemd-analyze", "security", "--threshold=15", "--no-pager", "umbeld.service")
        self.assertEqual(result.returncode, 0, result)

    def test_the_doctor_finds_nothing_wrong(self):
        result = MACHINE.run("umbelctl", "doctor")
        self.assertEqual(result.returncode, 0, result)

    # ---- Hardened, and still able to do its work.

    def test_it_pins_threads_and_writes_its_log(self):
        cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
        self.configure(executors=f"cpus = {cpus}", more="[log]\nsink = /var/log/umbel/umbeld.log\n")
        self.systemctl("start", "umbeld")
        pid = self.show("MainPID")
        allowed = MACHINE.run("sh", "-c", f"for t in /proc/{pid}/task/*; do grep -q umbel-exec $t/comm && "
                                          "grep Cpus_allowed_list $t/status; done; true").stdout.split()[1::2]
        self.assertEqual(sorted(allowed), sorted(cpus.split(",")))
        log = MACHINE.run("cat", "/var/log/umbel/umbeld.log").stdout.splitlines()
        self.assertIn("ready", [json.loads(line)["event"] for line in log])

    def test_only_what_is_allowed_is_loaded(self):
        self.systemctl("start", "umbeld")  # makes the service's folders
        for folder in ("/etc/umbel", "/var/lib/umbel", "/var/log/umbel", "/srv"):
            with self.subTest(folder):
                self.systemctl("stop", "umbeld")
                MACHINE.run("systemctl", "reset-failed")
                MACHINE.run("install", "-m", "755", "/usr/lib/umbel/trouble.so", f"{folder}/smuggled.so")
                self.configure(more=f"[plugin.smuggled]\npath = {folder}/smuggled.so\nlisten = 127.0.0.1:8082\n")
                self.systemctl("start", "umbeld", code=1)
                self.assertEqual(self.show("ExecMainStatus"), "78")
                self.assertIn("inside the unit's ExecPaths=", self.said())
                MACHINE.run("rm", f"{folder}/smuggled.so")

    # ---- Its life.

    def test_reload(self):
        self.systemctl("start", "umbeld")
        before = self.show("MainPID")
        self.configure(more="[log]\nlevel = debug\n")
        self.systemctl("reload", "umbeld")  # returns when it is done
        self.assertEqual(self.show("ActiveState", "MainPID"), ["active", before])
        self.assertIn("log.level = debug", MACHINE.run("umbelctl", "settings").stdout)
        self.eventually("it is told", lambda: "reloaded" in [event["UMBEL_EVENT"] for event in self.events()])
        self.assert_serves()

    def test_a_refused_reload_fails_and_the_daemon_goes_on(self):
        self.systemctl("start", "umbeld")
        before = self.show("MainPID")
        self.configure(more="[log]\nlevel = loud\n")
        self.systemctl("reload", "umbeld", code=1)
        self.assertEqual(self.show("ActiveState", "MainPID"), ["active", before])
        self.assertIn("log.level", self.said())
        self.assert_serves()

    # Spec.  In the journal a line is an entry with fields of its own (docs/log-events.md), also a plugin's structured events.
    def test_lines_are_read_back_from_the_journal_by_their_fields(self):
        MACHINE.write("/etc/umbel/conf.d/access.conf", "[plugin.http]\naccess_log = on\n")
        self.addCleanup(MACHINE.run, "rm", "-rf", "/etc/umbel/conf.d")
        self.systemctl("start", "umbeld")
        self.assert_serves()

        def found(*match):
            invocation = "_SYSTEMD_INVOCATION_ID=" + self.show("InvocationID")
            out = MACHINE.run("journalctl", "--output=json", invocation, *match).stdout
            return [json.loads(line) for line in out.splitlines()]

        self.eventually("the request is in the journal", lambda: found("UMBEL_EVENT=http.request", "UMBEL_STATUS=200"))
        request = found("UMBEL_EVENT=http.request", "UMBEL_STATUS=200")[0]
        self.assertEqual((request["UMBEL_PLUGIN"], request["UMBEL_METHOD"], request["UMBEL_TARGET"]), ("http", "GET", "/load"))
        self.assertGreater(int(request["UMBEL_BYTES"]), 50_000)
        self.assertEqual((request["_TRANSPORT"], request["SYSLOG_IDENTIFIER"], request["PRIORITY"]), ("journal", "umbeld", "6"))
        ready = found("UMBEL_EVENT=ready")[0]
        self.assertIn("127.0.0.1:8080", ready["UMBEL_PLUGIN_HTTP"])
        self.assertRegex(ready["UMBEL_TS"], r"^[0-9-]{10}T[0-9:.]{15}Z$")
        started = found("UMBEL_EVENT=executor_started")
        self.assertEqual({entry["UMBEL_EXECUTOR"] for entry in started}, {"0", "1"})

    def test_a_crash_is_told_and_the_daemon_restarted(self):
        self.systemctl("start", "umbeld")
        first = self.show("MainPID")
        self.tell("crash")
        self.eventually("it is restarted", lambda: self.show("NRestarts", "ActiveState") == ["1", "active"])
        self.assertNotEqual(self.show("MainPID"), first)
        self.assert_serves()
        said = self.said()
        self.assertIn("memory fault (signal 11)", said)
        self.assertIn("of type troublemaker of plugin trouble", said)

    def test_a_kill_is_followed_by_a_restart(self):
        self.systemctl("start", "umbeld")
        self.systemctl("kill", "--kill-who=main", "--signal=SEGV", "umbeld")
        self.eventually("it is restarted", lambda: self.show("NRestarts", "ActiveState") == ["1", "active"])
        self.assert_serves()

    def test_a_hung_executor_is_named_and_the_daemon_restarted(self):
        self.drop_in("umbeld.service", "[Service]\nWatchdogSec=3s\nTimeoutAbortSec=5s\n")
        self.systemctl("start", "umbeld")
        time.sleep(4)  # longer than the watchdog: idle executors answer
        self.assertEqual(self.show("NRestarts"), "0")
        self.tell("hang")
        self.eventually("it is restarted", lambda: self.show("NRestarts", "ActiveState") == ["1", "active"])
        self.assert_serves()
        hung = [event for event in self.events() if event["UMBEL_EVENT"] == "executor_hung"]
        self.assertEqual([(event["UMBEL_PLUGIN"], event["UMBEL_EXECUTOR"]) for event in hung], [("trouble", "0")])
        self.assertIn("troublemaker", hung[0]["MESSAGE"])
        self.assertIn("Watchdog timeout", self.said())

    def test_a_stop_under_load_cuts_no_answer(self):
        self.systemctl("start", "umbeld")
        load = self.load(8080, 16, 60)
        time.sleep(1)
        self.systemctl("stop", "umbeld")
        counts = self.counted(load)
        self.assertGreater(counts["whole"], 100)
        self.assertEqual(counts["cut"], 0, counts)
        self.assertEqual(self.show("Result", "ExecMainStatus"), ["success", "0"])
        self.assertEqual(self.events()[-1]["UMBEL_EVENT"], "stopped")

    def test_a_wrong_config_is_not_tried_again(self):
        MACHINE.write("/etc/umbel/umbel.conf", "[executors]\ncuont = 2\n")
        self.systemctl("start", "umbeld", code=1)
        time.sleep(2)  # RestartSec is one
        self.assertEqual(self.show("ActiveState", "NRestarts", "ExecMainStatus"), ["failed", "0", "78"])
        self.assertIn("executors.cuont", self.said())

    # ---- Sockets.

    def test_a_connection_starts_the_service(self):
        self.configure(http="systemd:http")
        self.systemctl("start", "umbeld.socket")
        self.assertEqual(self.show("ActiveState"), "inactive")
        self.assert_serves()
        self.assertEqual(self.show("ActiveState"), "active")
        self.assertIn("systemd:http (127.0.0.1:8080)", self.show("StatusText"))

    def test_restarts_refuse_no_connection(self):
        self.configure(http="systemd:http")
        self.systemctl("start", "umbeld.socket")
        load = self.load(8080, 8, 8, "--again")
        for _ in range(3):
            time.sleep(1)
            self.systemctl("restart", "umbeld")
        counts = self.counted(load)
        self.assertGreater(counts["whole"], 100)
        self.assertEqual((counts["cut"], counts["refused"], counts["unanswered"]), (0, 0, 0), counts)

    def test_a_name_that_was_not_passed_is_a_wrong_config(self):
        self.configure(http="systemd:web")
        self.systemctl("start", "umbeld.socket")
        self.systemctl("start", "umbeld", code=1)
        self.assertEqual(self.show("NRestarts", "ExecMainStatus"), ["0", "78"])
        self.assertIn('passed are "http"', self.said())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    os.chdir(pathlib.Path(__file__).resolve().parents[2])
    sys.argv[0] = str(pathlib.Path("tests/service/test_booted.py").resolve())
    if sys.argv[1] != "--inside":
        if reason := machine.why_not():
            print(f"skipped: {reason}")
            sys.exit(77)
        sys.exit(machine.in_namespaces([str(pathlib.Path(sys.argv[1]).resolve()), *sys.argv[2:]]))
    BUILD = sys.argv[2]
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
