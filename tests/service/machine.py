"""A booted systemd with Umbel installed, in a container over a throw-away copy of this machine's file system.

The copy is an overlay on a tmpfs; the container is systemd-nspawn's. Both live in mount and process namespaces of their own
(unshare --kill-child): when this program ends, however it ends, the kernel takes away mounts and processes. What is left then,
empty control groups and an empty folder, is removed by the parent that waits.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

BOOT_TIME = 120  # seconds that a boot may take; 2 on an idle machine
DEADLINE = 60    # … and anything else that should take one


def why_not():
    """What this machine lacks to boot a systemd, or nothing."""
    if os.geteuid() != 0:
        return "only root can boot a container"
    for program in ("systemd-nspawn", "unshare", "nsenter", "systemctl"):
        if not shutil.which(program):
            return f"there is no {program} (scripts/deps test installs systemd-container)"
    unshared = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c",
                               "d=$(mktemp -d) && mount -t tmpfs none $d && mkdir $d/u $d/w $d/r && "
                               "mount -t overlay -o lowerdir=/,upperdir=$d/u,workdir=$d/w none $d/r; s=$?; "
                               "umount -l $d; rmdir $d; exit $s"],
                              capture_output=True, text=True, check=False)
    if unshared.returncode != 0:
        return f"namespaces or overlays are not allowed here: {unshared.stderr.strip()}"
    return None


def control_groups():
    """The folders of this process's control groups that systemd would work in."""
    mounts = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            mounts[""] = before.split()[4]
        elif kind == "cgroup" and "name=systemd" in options:
            mounts["name=systemd"] = before.split()[4]
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, name, path = line.split(":", 2)
        if name in mounts:
            yield pathlib.Path(mounts[name] + path)


def in_namespaces(arguments):
    """Runs this program again in namespaces and control groups of its own; returns its exit code."""
    own = []
    place = tempfile.mkdtemp(prefix="umbel-machine-")  # where it is mounted: only in there
    try:
        for folder in control_groups():  # the container makes two groups in ours: nobody else's shall be the same
            group = folder / f"umbel-test-{os.getpid()}"
            group.mkdir()
            own.append(group)
        def enter():
            for group in own:
                (group / "cgroup.procs").write_text("0")
        return subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
                               sys.argv[0], "--inside", *arguments], preexec_fn=enter, check=False,
                              env=dict(os.environ, UMBEL_MACHINE=place)).returncode
    finally:
        os.rmdir(place)
        for group in own:
            for folder, _, _ in os.walk(group, topdown=False):
                for _ in range(50):
                    try:
                        os.rmdir(folder)
                        break
                    except OSError:
                        time.sleep(0.1)


class Machine:
    def __init__(self, build):
        folder = pathlib.Path(os.environ["UMBEL_MACHINE"])
        subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
        for name in ("upper", "work", "root"):
            (folder / name).mkdir()
        self.root = folder / "root"
        subprocess.run(["mount", "-t", "overlay", "none", "-o",
                        f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work", self.root], check=True)
        subprocess.run(["scripts/install", "--prefix", "/usr", "--build", build], check=True, stdout=subprocess.DEVNULL,
                       env=dict(os.environ, DESTDIR=str(self.root)))
        shutil.copy(pathlib.Path(build) / "tests/plugins/trouble.so", self.root / "usr/lib/umbel/trouble.so")
        (self.root / "etc/machine-id").write_text("uninitialized\n")
        for unit in ("systemd-firstboot.service", "systemd-networkd-wait-online.service",
                     "NetworkManager-wait-online.service", "ifupdown-wait-online.service"):
            (self.root / "etc/systemd/system" / unit).unlink(missing_ok=True)
            (self.root / "etc/systemd/system" / unit).symlink_to("/dev/null")
        self.console = open(folder / "console", "w+", encoding="utf-8", errors="replace")
        self.container = subprocess.Popen(
            ["systemd-nspawn", f"--directory={self.root}", "--register=no", "--keep-unit", "--private-network",
             "--link-journal=no", "--console=pipe", "--quiet", "-b", "systemd.unit=basic.target"],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=subprocess.STDOUT)
        self.init = self._booted()

    def _booted(self):
        until = time.monotonic() + BOOT_TIME
        while time.monotonic() < until and self.container.poll() is None:
            children = pathlib.Path(f"/proc/{self.container.pid}/task/{self.container.pid}/children").read_text().split()
            if children:
                self.init = children[0]
                if self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"):
                    return self.init
            time.sleep(0.1)
        self.console.seek(0)
        raise RuntimeError(f"the container did not boot in {BOOT_TIME} s:\n{self.console.read()[-4000:]}")

    def run(self, *command, timeout=DEADLINE):
        """A command inside, to its end."""
        return subprocess.run(["nsenter", "--target", self.init, "--all", *map(str, command)], capture_output=True,
                              text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL)

    def start(self, *command):
        """A command inside, in the background."""
        return subprocess.Popen(["nsenter", "--target", self.init, "--all", *map(str, command)], text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def write(self, path, text):
        """A file, as the container sees it."""
        file = pathlib.Path(f"/proc/{self.init}/root{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def power_off(self):
        self.run("systemctl", "poweroff", "--force")
        try:
            self.container.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.container.kill()  # --kill-child does the rest
