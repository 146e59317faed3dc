#!/usr/bin/env python3
"""scripts/bench without the building: runs benchmarks, prints a table each, writes all figures with --json.

Both sides of a comparison take turns in one run (A B, B A, …), each round with a fresh server on CPU 0 and the load
on CPU 1, and what is compared is the ratio inside each pair: see docs/benchmarks.md.

Exit code: 0 if everything ran and nothing was answered wrongly, whether targets were met or not; 1 if a benchmark
failed; 64 for a wrong command line; 69 if all that failed did so because something is missing.
"""

import argparse
import contextlib
import grp
import json
import os
import platform
import pwd
import re
import resource
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVER_CPU = 0
LOAD_CPU = 1
CONNECTIONS = 64
DISTURBED = 0.10  # CPUs used by others from which on the figures come with a warning.
READY_WITHIN = 15.0  # Seconds a server may take until it accepts connections.


class Failed(Exception):
    """A benchmark that could not be run, or that ran wrongly: one line for a person."""


class Missing(Failed):
    """Something that has to be built or installed first."""


# ------------------------------------------------------------------------------------------------ processes


def binary(name):
    path = ROOT / "build" / "release" / "bin" / name
    if not os.access(path, os.X_OK):
        raise Missing(f"{path.relative_to(ROOT)} is missing: `cmake --build build/release` makes it, "
                      "with UMBEL_BENCH=ON")
    return str(path)


def installed(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise Missing(f"{name} is not installed: `scripts/deps bench` does it")
    return path


def on_cpu(cpu, command):
    return [installed("taskset"), "-c", str(cpu), *command]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def descendants(pid):
    """The process and those it started, directly or not."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(pids):
    """CPU time of whole processes, ended threads included, in nanosecond steps: clock_getcpuclockid(3)."""
    total = 0
    for pid in pids:
        try:
            total += time.clock_gettime_ns((~pid << 3) | 2)
        except OSError as error:
            raise Failed(f"the server (process {pid}) is gone") from error
    return total / 1e9


def busy_seconds():
    """How long the two CPUs were not idle since the machine started, whoever used them (or withheld them)."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name in (f"cpu{SERVER_CPU}", f"cpu{LOAD_CPU}"):
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            total += user + nice + system + irq + softirq + steal
    return total / os.sysconf("SC_CLK_TCK")


def ended_children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def tail(path, lines=15):
    text = Path(path).read_text(errors="replace").splitlines()[-lines:]
    return "\n".join("    " + line for line in text) or "    (it printed nothing)"


@contextlib.contextmanager
def serving(command, port, log):
    """Runs a server on its CPU until the block ends; yields its process ids once it accepts connections."""
    with open(log, "wb") as output:
        process = subprocess.Popen(on_cpu(SERVER_CPU, command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT)
    pids = [process.pid]
    try:
        deadline = time.monotonic() + READY_WITHIN
        while True:
            if process.poll() is not None:
                raise Failed(f"the server ended with {process.returncode} before it listened on port {port}: "
                             f"{shlex.join(command)}\n{tail(log)}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise Failed(f"nothing listens on port {port} after {READY_WITHIN:.0f} s: "
                                 f"{shlex.join(command)}\n{tail(log)}") from None
                time.sleep(0.02)
        time.sleep(0.1)  # What it does after it listens (workers, plugins) shall not be measured.
        pids = descendants(process.pid)
        yield pids
    finally:
        pids = sorted(set(pids) | set(descendants(process.pid))) if process.poll() is None else pids
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            for pid in pids:  # What it started and did not end itself.
                if pid != process.pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def output_of(command, seconds, accept=(0,)):
    """Runs a program to its end; its standard output. Its own complaints become the failure's text."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Failed(f"still running after {seconds:.0f} s: {shlex.join(command)}") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode not in accept:
        raise Failed(f"ended with {process.returncode}: {shlex.join(command)}\n{(out + err).strip()}")
    return out


def json_lines(command, seconds):
    out = output_of(command, seconds)
    try:
        objects = [json.loads(line) for line in out.splitlines() if line.strip()]
    except ValueError as error:
        raise Failed(f"not JSON lines ({error}): {shlex.join(command)}\n{out.strip()}") from error
    if not objects or not all(isinstance(one, dict) for one in objects):
        raise Failed(f"printed no JSON object: {shlex.join(command)}")
    return objects


# ------------------------------------------------------------------------------------------------ the sides


def umbeld(**settings):
    def command(port, folder, root):
        ports = {"http": free_port(), "echo": free_port()}
        ports[settings["listens"]] = port
        pairs = {
            "executors.count": 1,
            "executors.cpus": SERVER_CPU,
            "plugin.http.listen": f"127.0.0.1:{ports['http']}",
            "plugin.http.root": root,
            "plugin.echo.listen": f"127.0.0.1:{ports['echo']}",
            "log.level": "warning",
        }
        words = [binary("umbeld"), "--config", str(ROOT / "config" / "umbel.conf")]
        for key, value in pairs.items():
            words += ["--set", f"{key}={value}"]
        return words
    return command


def program(name):
    return lambda port, folder, root: [binary(name), str(port)]


def nginx_with(sending):
    return lambda port, folder, root: nginx(port, folder, root, sending)


def nginx(port, folder, root, sending):
    """One worker in the foreground, as this user, with files of its own: nothing of the system's nginx is touched."""
    # As root, nginx gives its workers to another user, who could not read the folder.
    user = f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(0).gr_name};" if os.geteuid() == 0 else ""
    config = Path(folder) / "nginx.conf"
    config.write_text(f"""{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log error;
worker_processes 1;
worker_cpu_affinity {1 << SERVER_CPU:b};
worker_rlimit_nofile 20000;
events {{
    use epoll;
    worker_connections 16384;
    multi_accept on;
}}
http {{
    default_type text/plain;
    access_log off;
    {sending}
    tcp_nodelay on;
    keepalive_timeout 65;
    keepalive_requests 1000000000;
    open_file_cache max=1024 inactive=60s;
    open_file_cache_valid 60s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {root};
    }}
}}
""")
    return [installed("nginx"), "-p", str(folder), "-e", f"{folder}/nginx-error.log", "-c", str(config)]


SIDES = {
    "echo": {"umbeld": umbeld(listens="echo"), "uring": program("peer_echo_uring"),
             "epoll": program("peer_echo_epoll")},
    "http": {"umbeld": umbeld(listens="http"),
             # For 1 KiB, reading the file and one writev beat sendfile and its corks: docs/benchmarks.md.
             "nginx": nginx_with("sendfile off;"),
             "nginx-sendfile": nginx_with("sendfile on; tcp_nopush on;")},
}


def side(bench, name):
    """A server's command by its name, or a command of the caller's with {port} and {root}."""
    if name in SIDES[bench]:
        return SIDES[bench][name]
    if "{port}" in name:
        return lambda port, folder, root: [word.format(port=port, root=root) for word in shlex.split(name)]
    raise Missing(f"no server '{name}' for {bench}: {', '.join(SIDES[bench])}, or a command with {{port}}")


# Size of the file, the peer that is best at it (docs/benchmarks.md), and what is wanted of the ratio.
HTTP_SIZES = ((1 << 10, "nginx", 1.3), (100 << 10, "nginx-sendfile", 1.0), (1 << 20, "nginx-sendfile", 1.0))


def shown_size(size):
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


# ------------------------------------------------------------------------------------------------ the loads


def echo_load(size):
    def load(port, seconds):
        command = on_cpu(LOAD_CPU, [binary("load_echo"), str(port), "--connections", str(CONNECTIONS),
                                    "--size", str(size), "--seconds", str(seconds)])
        got = json_lines(command, seconds + 20)[0]
        if got["errors"] or not got["requests"]:
            raise Failed(f"{got['errors']} errors in {got['requests']} requests")
        return {"requests": got["requests"], "requests_per_s": got["requests_per_s"], "p50_us": got["p50_us"],
                "p99_us": got["p99_us"]}
    return load


MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


def wrk_figures(text):
    """What wrk --latency printed, as numbers."""
    def find(pattern):
        found = re.search(pattern, text, re.MULTILINE)
        if not found:
            raise Failed(f"cannot read what wrk printed:\n{text}")
        return found

    def percentile(which):
        found = find(rf"^\s*{which}%\s+([\d.]+)(us|ms|s|m)\s*$")
        return float(found[1]) * MICROSECONDS[found[2]]

    for trouble in (r"Non-2xx or 3xx responses: (\d+)", r"Socket errors: (.*)"):
        found = re.search(trouble, text)
        if found and re.search(r"[1-9]", found[1]):
            raise Failed(found[0])
    return {"requests": int(find(r"^\s*(\d+) requests in ")[1]),
            "requests_per_s": float(find(r"^Requests/sec:\s+([\d.]+)")[1]),
            "p50_us": percentile(50), "p99_us": percentile(99)}


def http_load(path):
    def load(port, seconds):
        command = on_cpu(LOAD_CPU, [installed("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s",
                                    "--latency", f"http://127.0.0.1:{port}{path}"])
        return wrk_figures(output_of(command, seconds + 20))
    return load


def check_body(port, path, expected):
    """A server that answers fast but wrongly is not measured."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or body != expected:
        raise Failed(f"GET {path} was answered wrongly: {head.splitlines()[:1]}, {len(body)} bytes of body, "
                     f"not {len(expected)}")


# ------------------------------------------------------------------------------------------------ figures


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values}


def verdict(met):
    return "met" if met else "MISSED"


def show(values, form="{:,.0f}"):
    return f"{form.format(values['median'])} ({form.format(values['min'])} … {form.format(values['max'])})"


def table(head, rows):
    widths = [max(len(str(row[column])) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  " + "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(flush=True)


FIGURES = ("requests_per_s", "requests_per_cpu_s", "p50_us", "p99_us", "server_cpu")


def one_round(command_of, load, seconds, warm_up, folder, root, check):
    port = free_port()
    command = command_of(port, folder, root)
    with serving(command, port, Path(folder) / "server.log") as pids:
        if check:
            check(port)
        load(port, warm_up)
        before, loaded, busy, began = cpu_seconds(pids), ended_children_seconds(), busy_seconds(), time.monotonic()
        figures = load(port, seconds)
        used, lasted = cpu_seconds(pids) - before, time.monotonic() - began
        others = busy_seconds() - busy - used - (ended_children_seconds() - loaded)
    figures["requests_per_cpu_s"] = figures["requests"] / used
    figures["server_cpu"] = used / lasted
    figures["others_cpu"] = max(0.0, others / lasted)
    return figures


def compare(title, names, commands, load, target, options, folder, root, check=None, latency_target=None):
    """Alternates two servers under one load; prints the table; the figures. latency_target: for the ratio of p99s."""
    rounds = {0: [], 1: []}
    for number in range(options.rounds):
        for which in ((0, 1), (1, 0))[number % 2]:
            note(f"{title}: round {number + 1} of {options.rounds}, {names[which]}")
            rounds[which].append(one_round(commands[which], load, options.seconds, options.warm_up, folder, root, check))
    note("")
    sides = [{figure: spread([one[figure] for one in rounds[which]]) for figure in FIGURES} for which in (0, 1)]
    others = spread([one["others_cpu"] for which in (0, 1) for one in rounds[which]])
    ratios = {figure: spread([ours[figure] / theirs[figure] for ours, theirs in zip(rounds[0], rounds[1])])
              for figure in FIGURES}
    labels = {"requests_per_s": "requests / s", "requests_per_cpu_s": "requests / s of server CPU",
              "p50_us": "p50, µs", "p99_us": "p99, µs", "server_cpu": "server CPU busy"}
    print(f"{title}   median (min … max) of {options.rounds} rounds of {options.seconds:g} s")
    rows = []
    for figure in FIGURES:
        form = "{:.2f}" if figure == "server_cpu" else "{:,.0f}"
        judged = ""
        if figure in ("requests_per_s", "requests_per_cpu_s"):
            judged = f"≥ {target:.2f} {verdict(ratios[figure]['median'] >= target)}"
        if figure == "p99_us" and latency_target is not None:
            judged = f"≤ {latency_target:.2f} {verdict(ratios[figure]['median'] <= latency_target)}"
        rows.append([labels[figure], show(sides[0][figure], form), show(sides[1][figure], form),
                     show(ratios[figure], "{:.3f}"), judged])
    table(["", names[0], names[1], "ratio of pairs", "target"], rows)
    if others["median"] > DISTURBED:
        print(f"  disturbed: other programs took {others['median']:.2f} (at most {others['max']:.2f}) of the two CPUs: "
              "do not trust the absolute figures, nor a ratio with a wide spread\n", flush=True)
    met = {figure: ratios[figure]["median"] >= target for figure in ("requests_per_s", "requests_per_cpu_s")}
    if latency_target is not None:
        met["p99_us"] = ratios["p99_us"]["median"] <= latency_target
    return {"title": title, "ours": {"name": names[0], **sides[0]}, "peer": {"name": names[1], **sides[1]},
            "ratio": ratios, "target": target, "latency_target": latency_target, "others_cpu": others, "met": met}


def note(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------------------------ benchmarks


def names_of(bench, options, ours, peer):
    return options.ours.get(bench, ours), options.peer.get(bench, peer)


def bench_echo(options, folder):
    names = names_of("echo", options, "umbeld", "uring")
    commands = [side("echo", name) for name in names]
    root = Path(folder) / "root"
    root.mkdir(exist_ok=True)
    return [compare(f"echo {size} B × {CONNECTIONS}", names, commands, echo_load(size), 0.95, options, folder, root)
            for size in (64, 1024)]


def bench_http(options, folder):
    root = Path(folder) / "root"
    root.mkdir(exist_ok=True)
    os.chmod(root, 0o755)
    results = []
    for size, peer, target in HTTP_SIZES:
        names = names_of("http", options, "umbeld", peer)
        commands = [side("http", name) for name in names]
        path = f"/{size >> 10}k.txt"
        content = bytes(33 + index % 94 for index in range(94)) * (size // 94 + 1)
        content = content[:size]
        (root / path[1:]).write_bytes(content)
        os.utime(root / path[1:], (1_000_000_000, 1_000_000_000))  # A file that has just been changed is not kept.
        results.append(compare(f"http {shown_size(size)} file × {CONNECTIONS}", names, commands, http_load(path), target,
                               options, folder, root,
                               lambda port, path=path, content=content: check_body(port, path, content),
                               latency_target=1.0))
    return results


def bench_io_heap(options, folder):
    command = on_cpu(SERVER_CPU, [binary("io_heap_bench")])
    by_live = {}
    for number in range(options.rounds):
        note(f"io_heap: round {number + 1} of {options.rounds}")
        for line in json_lines(command, 300):
            by_live.setdefault(line["live"], []).append(line)
    note("")
    print(f"io_heap   ns per allocate + free, mixed classes; median (min … max) of {options.rounds} runs")
    rows, results = [], []
    for live, lines in sorted(by_live.items()):
        figures = {key: spread([line[key] for line in lines]) for key in ("ns_per_pair", "malloc_ns", "mimalloc_ns")}
        ratio = spread([line["ns_per_pair"] / line["malloc_ns"] for line in lines])
        met = {"ratio_malloc": ratio["median"] <= 2}
        judged = f"≤ 2 × malloc {verdict(met['ratio_malloc'])}"
        if live == 10_000:
            met["ns_per_pair"] = figures["ns_per_pair"]["median"] <= 40
            judged += f", ≤ 40 ns {verdict(met['ns_per_pair'])}"
        rows.append([f"{live:,} live", *(show(figures[key], "{:.1f}") for key in figures), show(ratio, "{:.2f}"),
                     judged])
        results.append({"title": f"io_heap {live}", "live": live, **figures, "ratio_malloc": ratio, "met": met})
    table(["", "I/O heap", "malloc", "mimalloc", "I/O heap / malloc", "target"], rows)
    return results


def bench_message(options, folder):
    by_title = {}
    for number in range(options.rounds):
        for name in ("ping_pong", "counting", "thread_ring", "spawn"):
            note(f"message: {name}, round {number + 1} of {options.rounds}")
            command = [binary("umbel-bench"), name, "--executors", "1", "--json"]
            for line in json_lines(command, 120):
                title = " ".join([name, *([line["style"]] if "style" in line else [])])
                by_title.setdefault(title, []).append(line["ns_per_message"])
    note("")
    rows, results = [], []
    for title, values in by_title.items():
        figures = spread(values)
        # The target is for a message between two actors; the other programs measure something else besides.
        result = {"title": f"message {title}", "ns_per_message": figures, "met": {}}
        judged = ""
        if title.startswith(("ping_pong", "counting")):
            result["met"]["ns_per_message"] = figures["median"] <= 60
            judged = f"≤ 60 {verdict(figures['median'] <= 60)}"
        rows.append([title, show(figures, "{:.1f}"), judged])
        results.append(result)
    print(f"message   ns a message, actors on one executor; median (min … max) of {options.rounds} runs")
    table(["", "ns", "target"], rows)
    return results


def bench_flood(options, folder):
    note("flood")
    got = json_lines([binary("umbel-bench"), "flood", "--json"], 600)[-1]
    note("")
    zero = {key: got[key] for key in ("lost", "duplicated", "wrong_results", "cq_overflows")}
    enough = got["operations"] >= 1_000_000
    print("flood   more operations wanted than the ring has room for; one run")
    table(["", "count", "target"],
          [["operations", f"{got['operations']:,}", f"≥ 1,000,000 {verdict(enough)}"],
           *([key, f"{value:,}", f"0 {verdict(value == 0)}"] for key, value in zero.items()),
           *([key, f"{value:,}" if isinstance(value, int) else value, ""] for key, value in got.items()
             if key not in (*zero, "operations", "name"))])
    result = {"title": "flood", **got, "met": {"operations": enough, **{key: zero[key] == 0 for key in zero}}}
    if any(zero.values()):
        raise Failed("operations were lost, duplicated, wrong or overflowed: " + json.dumps(got))
    return [result]


IDLE = 10_000
SLOW = 2_000
SLOW_P99 = 1.25  # The others' p99 with slow clients, over without: what is left is noise.


def memory_kib(pids):
    """Resident memory and page tables of whole processes."""
    total = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        total += sum(int(re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)[1]) for key in ("VmRSS", "VmPTE"))
    return total


def clients(port, *words):
    return on_cpu(LOAD_CPU, [binary("load_http"), str(port), "--path", "/1k.txt", *map(str, words)])


@contextlib.contextmanager
def holding(port, *words):
    """Clients that are there, and do next to nothing, until the block ends."""
    process = subprocess.Popen(clients(port, *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if not line or json.loads(line)["errors"]:
            raise Failed(f"not all of them were served: {shlex.join(map(str, words))}: {line.strip()}")
        yield
        process.stdin.close()
        if process.wait(timeout=30) != 0:
            raise Failed(f"some were dropped: {shlex.join(map(str, words))}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


def busy_window(port, pids, busy, seconds):
    process = subprocess.Popen(clients(port, "--busy", busy, "--seconds", seconds), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()  # All of them are connected: what that took is not measured.
        before = cpu_seconds(pids)
        got = json.loads(process.stdout.readline() or "{}")
        process.wait(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
    if not got or got["errors"] or not got["requests"]:
        raise Failed(f"{busy} busy connections: {got or 'the load generator failed'}")
    return {"requests_per_s": got["requests_per_s"], "p50_us": got["p50_us"], "p99_us": got["p99_us"],
            "requests_per_cpu_s": got["requests"] / (cpu_seconds(pids) - before)}


def connections_round(command_of, options, folder, root):
    """Busy ones alone, beside idle ones, beside slow ones, and all busy: one server, one window each."""
    port = free_port()
    with serving(command_of(port, folder, root), port, Path(folder) / "server.log") as pids:
        busy_window(port, pids, CONNECTIONS, options.warm_up)
        before = memory_kib(pids)
        figures = {"alone": busy_window(port, pids, CONNECTIONS, options.seconds)}
        with holding(port, "--idle", IDLE):
            figures["idle_bytes"] = (memory_kib(pids) - before) * 1024 / IDLE
            figures["idle"] = busy_window(port, pids, CONNECTIONS, options.seconds)
        time.sleep(0.5)  # Ten thousand connections end.
        with holding(port, "--slow", SLOW):
            time.sleep(1.2)  # Each has said something.
            figures["slow"] = busy_window(port, pids, CONNECTIONS, options.seconds)
        figures["all"] = busy_window(port, pids, IDLE, 3 * options.seconds)  # A round of all of them takes a while.
    return figures


def bench_connections(options, folder):
    names = names_of("http", options, "umbeld", "nginx")
    commands = [side("http", name) for name in names]
    root = Path(folder) / "root"
    root.mkdir(exist_ok=True)
    os.chmod(root, 0o755)
    (root / "1k.txt").write_bytes(bytes(33 + index % 94 for index in range(1024)))
    os.utime(root / "1k.txt", (1_000_000_000, 1_000_000_000))
    rounds = {0: [], 1: []}
    for number in range(options.rounds):
        for which in ((0, 1), (1, 0))[number % 2]:
            note(f"connections: round {number + 1} of {options.rounds}, {names[which]}")
            rounds[which].append(connections_round(commands[which], options, folder, root))
    note("")

    def row(title, value, form, target=None):
        sides = [spread([value(one) for one in rounds[which]]) for which in (0, 1)]
        met = target is None or sides[0]["median"] <= target
        judged = "" if target is None else f"≤ {target:.2f} {verdict(met)}"
        return [title, *(show(one, form) for one in sides), judged], {"title": title, "ours": sides[0],
                                                                     "peer": sides[1], "met": met}

    whole = "{:,.0f}"
    rows = [row(f"memory of an idle connection, bytes ({IDLE:,})", lambda one: one["idle_bytes"], whole)]
    for key, title in (("alone", f"{CONNECTIONS} busy"), ("idle", f"{CONNECTIONS} busy, {IDLE:,} idle"),
                       ("slow", f"{CONNECTIONS} busy, {SLOW:,} slow"), ("all", f"{IDLE:,} busy")):
        for figure, label in (("requests_per_s", "requests / s"), ("requests_per_cpu_s", "… of server CPU"),
                              ("p99_us", "p99, µs")):
            rows.append(row(f"{title}: {label}", lambda one, key=key, figure=figure: one[key][figure], whole))
    for key, target in (("idle", None), ("slow", SLOW_P99)):
        rows.append(row(f"p99 beside {key} ones ÷ alone", lambda one, key=key: one[key]["p99_us"] / one["alone"]["p99_us"],
                        "{:.2f}", target))
    print(f"connections   1 KiB file; median (min … max) of {options.rounds} rounds, windows of {options.seconds:g} s")
    table(["", *names, "target"], [shown for shown, _ in rows])
    return [{"title": "connections", "rows": [figures for _, figures in rows],
             "met": {"slow_p99": rows[-1][1]["met"]}}]


BENCHMARKS = {"connections": bench_connections, "echo": bench_echo, "io_heap": bench_io_heap, "http": bench_http, "message": bench_message,
              "flood": bench_flood}


# ------------------------------------------------------------------------------------------------ command line


def machine():
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release(), "load_average": os.getloadavg()[0]}


def chosen(pairs, parser):
    result = {}
    for pair in pairs:
        bench, separator, name = pair.partition("=")
        if not separator or bench not in SIDES or not name:
            parser.error(f"'{pair}': say echo=SERVER or http=SERVER")
        result[bench] = name
    return result


def command_line():
    parser = argparse.ArgumentParser(
        prog="scripts/bench", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures Umbel beside its peers. Names: " + ", ".join(BENCHMARKS) + "; none means all.",
        epilog="SERVER: " + "; ".join(f"{bench}: {', '.join(SIDES[bench])}" for bench in SIDES) +
        ";\nor a command that contains {port} (and for http {root}). docs/benchmarks.md explains the figures.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of windows, or runs (default 5)")
    parser.add_argument("--seconds", type=float, default=2, help="length of a window (default 2)")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds of load before each window (default 0.5)")
    parser.add_argument("--json", metavar="FILE", help="write all the figures there")
    parser.add_argument("--ours", action="append", default=[], metavar="BENCH=SERVER",
                        help="measure this server in umbeld's place")
    parser.add_argument("--peer", action="append", default=[], metavar="BENCH=SERVER", help="compare with this server")

    def error(message):
        parser.print_usage(sys.stderr)
        print(f"scripts/bench: {message}", file=sys.stderr)
        sys.exit(64)

    parser.error = error
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark '{name}'; there are {', '.join(BENCHMARKS)}")
    if options.rounds < 1 or not 0 < options.seconds <= 600 or not 0 < options.warm_up <= 600:
        parser.error("--rounds must be at least 1, --seconds and --warm-up between 0 and 600")
    options.ours = chosen(options.ours, parser)
    options.peer = chosen(options.peer, parser)
    return options


def main():
    options = command_line()
    # Ended from outside: unwind, so that every server started here is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if os.cpu_count() < 2 or not {SERVER_CPU, LOAD_CPU} <= os.sched_getaffinity(0):
        print(f"scripts/bench: needs CPUs {SERVER_CPU} and {LOAD_CPU}: one for the server, one for the load",
              file=sys.stderr)
        return 69
    about = machine()
    print(f"{about['cpu']}, {about['cpus']} CPUs, Linux {about['kernel']}, load average {about['load_average']:.2f}\n",
          flush=True)
    report = {"machine": about, "rounds": options.rounds, "seconds": options.seconds, "results": [], "failures": []}
    code = 0
    for name in options.names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="umbel-bench-") as folder:
            try:
                report["results"] += [{"bench": name, **result} for result in BENCHMARKS[name](options, folder)]
            except Failed as failure:
                note("")
                print(f"scripts/bench: {name}: {failure}\n", file=sys.stderr, flush=True)
                report["failures"].append({"bench": name, "reason": str(failure)})
                code = 69 if isinstance(failure, Missing) and code != 1 else 1
            except (KeyError, TypeError) as error:
                note("")
                print(f"scripts/bench: {name}: its output lacks a figure: {error!r}\n", file=sys.stderr, flush=True)
                report["failures"].append({"bench": name, "reason": repr(error)})
                code = 1
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
