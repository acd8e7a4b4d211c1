"""The systems that are measured: how each is installed, and how it is asked for a figure."""

import json
import os
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent.parent
REPOSITORY = HERE.parent.parent

# A run that takes longer hangs.
SECONDS_MAX = 1800


@dataclass(frozen=True)
class Peer:
    """Another system, behind an adapter of ours (rust/common/src/lib.rs says how that is called)."""

    name: str
    store: str
    # Where it is installed from: a directory below HERE.
    workspace: str
    # The manifest that pins it, and its name there.
    manifest: str
    package: str
    # The adapter's command, relative to the scratch directory.
    program: tuple[str, ...]
    finished: str
    setting: str

    def call(self, scratch, url, *arguments):
        """What the adapter prints; None if it prints nothing."""
        command = [str(scratch / word) for word in self.program]
        return run([*command, *map(str, arguments)], DATABASE_URL=url)

    def version(self):
        text = (HERE / self.manifest).read_text()
        if self.workspace == "node":
            return json.loads(text)["dependencies"][self.package]
        dependency = tomllib.loads(text)["dependencies"][self.package]
        return (dependency if isinstance(dependency, str) else dependency["version"]).lstrip("=")


RIVER = {"workspace": "rust", "manifest": "rust/riverqueue/Cargo.toml", "package": "riverqueue",
         "program": ("cargo/release/peer-riverqueue",), "finished": "kept 24 h"}
APALIS = {"workspace": "rust", "manifest": "rust/apalis/Cargo.toml", "program": ("cargo/release/peer-apalis",),
          "finished": "kept"}

PEERS = [
    Peer("graphile-worker", "postgres", "node", "node/package.json", "graphile-worker",
         ("node/node_modules/.bin/node", "node/graphile.mjs"), "deleted",
         "its performance test's: 2 processes of 24 jobs, local queue 500, batched completions"),
    Peer("graphile_worker", "postgres", "rust", "rust/graphile_worker/Cargo.toml", "graphile_worker",
         ("cargo/release/peer-graphile-worker",), "deleted",
         "its benchmark's: 500 jobs at once, local queue 5,000, completions batched for 5 ms"),
    Peer("riverqueue", "postgres",
         setting="its benchmark's: 2,000 jobs at once, cooldown 2 ms (pickup: 1 ms)", **RIVER),
    Peer("awa", "postgres", "rust/awa", "rust/awa/Cargo.toml", "awa", ("cargo/release/peer-awa",),
         "in rings, truncated after seconds", "2,000 jobs at once, no deadline per job; bulk by its storage's COPY"),
    Peer("apalis-postgres", "postgres", package="apalis-postgres",
         setting="4 workers in 1 process, fetches of 1,000, polls of 20 ms; pickup by its pub/sub", **APALIS),
    Peer("apalis-sqlite", "sqlite", package="apalis-sqlite",
         setting="1 worker, fetches of 1,000, polls of 20 ms; pickup by its update hook", **APALIS),
    Peer("riverqueue-sqlite", "sqlite", setting="as on PostgreSQL; synchronous=FULL", **RIVER),
]


@dataclass(frozen=True)
class Taskwright:
    """Ourselves, by `taskwright bench` with its defaults. Each call measures once, on a store of its own."""

    name: str
    store: str
    finished: str = "kept 24 h"
    setting: str = "defaults"

    def version(self):
        return tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["workspace"]["package"]["version"]

    def bench(self, binary, store, *arguments):
        """What `taskwright bench` says."""
        command = [str(binary), "--json", "bench", *map(str, arguments), "--rounds", "1"]
        return run(command, TASKWRIGHT_STORE=store)


OURS = [Taskwright("Taskwright", "postgres"), Taskwright("Taskwright-sqlite", "sqlite")]


def run(command, **environment):
    """Runs a program to its end. What it prints is one line of JSON, or nothing."""
    done = subprocess.run(command, env={**os.environ, **environment}, check=True, text=True,
                          stdout=subprocess.PIPE, timeout=SECONDS_MAX)
    return json.loads(done.stdout) if done.stdout.strip() else None


def install(peers, scratch):
    """Brings the peers from their registries into the scratch directory, where what is there already is kept."""
    for workspace in sorted({peer.workspace for peer in peers}):
        if workspace == "node":
            need("npm", "npm")
            node = scratch / "node"
            shutil.copytree(HERE / "node", node, dirs_exist_ok=True)
            quietly(["npm", "install", "--no-package-lock", "--no-fund", "--no-audit"], cwd=node)
        else:
            need("cargo", None)
            # All of it: which features a dependency is built with depends on what is built beside.
            quietly(["cargo", "build", "--release", "--locked"], cwd=HERE / workspace,
                    CARGO_TARGET_DIR=str(scratch / "cargo"))


def build_taskwright():
    """The binary of this checkout."""
    need("cargo", None)
    quietly(["cargo", "build", "--release", "--locked", "-p", "taskwright-server"], cwd=REPOSITORY)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return target / "release" / "taskwright"


def need(program, debian_package):
    """Installs a package of Debian's when its program is missing, if we may."""
    if shutil.which(program):
        return
    if debian_package is None or os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SystemExit(f"{program} is missing: install it, then start again")
    debian(debian_package)


def debian(*packages):
    """Installs packages of Debian's."""
    quietly(["apt-get", "update"])
    quietly(["apt-get", "install", "-y", "--no-install-recommends", *packages], DEBIAN_FRONTEND="noninteractive")


def quietly(command, cwd=None, **environment):
    """Runs a step of the installation; its output is shown when it fails."""
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, text=True, errors="replace",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout}\n{' '.join(command)} failed")
