"""Installs what is missing from Debian's packages, without starting any of it."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from database import programs

POLICY = Path("/usr/sbin/policy-rc.d")


def install():
    wanted = {
        "postgresql": programs() is not None,
        "patroni": shutil.which("patroni") is not None,
        "etcd-server": shutil.which("etcd") is not None,
        "etcd-client": shutil.which("etcdctl") is not None,
        "iproute2": shutil.which("ip") is not None,
    }
    missing = [package for package, is_there in wanted.items() if not is_there]
    if not missing:
        return
    print(f"installing {', '.join(missing)}", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with services_stay_down(missing):
        apt = ["apt-get", "-q", "-y", "--no-install-recommends", "--no-upgrade"]
        subprocess.run(["apt-get", "-q", "update"], env=env, check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*apt, "install", *missing], env=env, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def services_stay_down(packages):
    """Packages start their services when they are installed, unless this file says no. It is left as it was found."""
    made = not POLICY.exists()
    if made:
        POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if made:
            POLICY.unlink()
        # So that they do not start with the machine either. Whoever wants them enables them again.
        services = {"patroni": "patroni", "etcd-server": "etcd"}
        if shutil.which("systemctl"):
            for package in packages:
                if package in services:
                    subprocess.run(["systemctl", "disable", services[package]], check=False,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
