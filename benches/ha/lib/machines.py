"""Machines: network namespaces on one bridge, which is in a namespace of its own. Nothing outside of them is touched."""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

PREFIX = "taskwright-ha-"
NAMED = Path("/run/netns")
CLONE_NEWNET = 0x40000000
NETWORK = "10.232.0"


class Network:
    """The bridge and its machines. This process moves to where the bridge is, so that it reaches all of them."""

    def __init__(self):
        self._own = f"{PREFIX}{os.getpid()}"
        self.hub = f"{self._own}-hub"
        self.machines = {}
        ip("netns", "add", self.hub)
        try:
            ip("-n", self.hub, "link", "set", "lo", "up")
            ip("-n", self.hub, "link", "add", "bridge", "type", "bridge")
            ip("-n", self.hub, "address", "add", f"{NETWORK}.1/24", "dev", "bridge")
            ip("-n", self.hub, "link", "set", "bridge", "up")
            self._enter_hub()
        except BaseException:
            self.close()
            raise

    def _enter_hub(self):
        # os.setns came with Python 3.12. It moves this thread, and every thread and process that it starts from now on.
        libc = ctypes.CDLL(None, use_errno=True)
        with open(NAMED / self.hub, "rb") as hub:
            if libc.setns(hub.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "cannot enter the network namespace of the bridge")

    def add(self, name, number):
        machine = Machine(self.hub, f"{self._own}-{name}", name, f"{NETWORK}.{number}")
        self.machines[name] = machine
        machine.plug_in()
        return machine

    def close(self):
        """Ends everything that runs on the machines, and removes them."""
        for machine in self.machines.values():
            for pid in machine.pids():
                send(pid, signal.SIGKILL)
        for namespace in [*(machine.namespace for machine in self.machines.values()), self.hub]:
            subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL, check=False)


class Machine:
    """One machine, and its cable to the bridge."""

    def __init__(self, hub, namespace, name, address):
        self.hub, self.namespace, self.name, self.address = hub, namespace, name, address

    def plug_in(self):
        ip("netns", "add", self.namespace)
        ip("-n", self.hub, "link", "add", self.name, "type", "veth",
           "peer", "name", "eth0", "netns", self.namespace)
        ip("-n", self.hub, "link", "set", self.name, "master", "bridge", "up")
        ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.namespace, "link", "set", "eth0", "up")
        ip("-n", self.namespace, "link", "set", "lo", "up")

    def start(self, command, log, user=None, env=None, cwd="/"):
        """Starts a program there, out of reach of this terminal's Ctrl-C."""
        words = ["ip", "netns", "exec", self.namespace]
        if user:
            words += ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]
        with open(log, "ab") as file:
            return subprocess.Popen([*words, *map(str, command)], stdin=subprocess.DEVNULL, stdout=file,
                                    stderr=file, env=env, cwd=cwd, start_new_session=True)

    def pids(self, program=None):
        """The processes that run there, or those of one program."""
        told = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
        pids = [int(pid) for pid in told.stdout.split()]
        return [pid for pid in pids if program is None or name_of(pid) == program]

    def cut(self):
        """Pulls the cable: nothing gets through any more, and nobody is told."""
        ip("-n", self.hub, "link", "set", self.name, "down")

    def mend(self):
        ip("-n", self.hub, "link", "set", self.name, "up")


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return None


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def clear_away():
    """Removes what a drill left that was killed itself: the id of its process is part of every name."""
    def abandoned(directory):
        for path in sorted(directory.glob(f"{PREFIX}*")) if directory.exists() else []:
            maker = path.name.removeprefix(PREFIX).split("-")[0]
            if maker.isdigit() and not Path(f"/proc/{maker}").exists():
                yield path

    for path in abandoned(NAMED):
        told = subprocess.run(["ip", "netns", "pids", path.name], capture_output=True, text=True, check=False)
        for pid in told.stdout.split():
            send(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", path.name], check=False)
    for path in abandoned(Path(tempfile.gettempdir())):
        shutil.rmtree(path, ignore_errors=True)


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def wait_for(what, seconds, look, every=0.1):
    """Looks until it finds something, and gives that; an error when it takes too long."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(every)
