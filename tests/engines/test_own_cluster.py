"""A Ray cluster that fwplab starts is closed: the loopback only, a token, and no reports of usage."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engines.test_engines import RUNS, returns_at_once

from fwplab.engines import engine_named
from fwplab.errors import UserError
from fwplab.training.run import Run

pytest.importorskip("ray")
LISTENING = "0A"
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1 and its two forms in IPv6, as the kernel writes them."""

DRIVER = """
import json, os
from tests.engines.test_engines import RUNS
from tests.engines.test_own_cluster import looks_around
from fwplab.engines import engine_named

(found,) = engine_named("ray", workers=1).map(looks_around, RUNS[:1])
print(json.dumps(found | {"after": {name: value for name, value in os.environ.items() if name.startswith("RAY_")}}))
"""
STRANGER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=50)
print("joined", ray.get(ray.remote(num_cpus=0)(lambda: 5).remote()))
"""


def listening_sockets() -> dict[str, str]:
    """The local address of every listening socket of this machine, by inode."""
    lines = [
        line.split() for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]
    ]
    return {line[9]: line[1] for line in lines if line[3] == LISTENING}


def family() -> list[int]:
    """The processes of the cluster that this worker belongs to, and their driver: all below the ancestor in it."""
    parents: dict[int, int] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(pid)] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    driver = parents[parents[os.getpid()]]  # above the worker is the raylet, above that the driver
    found = {driver}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def looks_around(run: Run, **_: object) -> dict[str, object]:
    """A task that looks at its cluster from inside, and has strangers try to join it."""
    import ray

    listening, addresses, processes = listening_sockets(), list[str](), family()
    for pid in processes:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inode = os.readlink(link).removeprefix("socket:[").rstrip("]")
            except OSError:
                continue
            if inode in listening:
                addresses.append(listening[inode])
    address = ray.get_runtime_context().gcs_address
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ours = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    strangers = {
        "no token": {"RAY_AUTH_MODE": "disabled"},
        "wrong token": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
        "ours": ours,
    }
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", STRANGER, address],
            env=inherited | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} | environment,  # as the cluster's own processes
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for name, environment in strangers.items()
    }
    joined = {name: process.communicate(timeout=200)[0].splitlines()[-1:] for name, process in started.items()}
    return {
        "address": address,
        "processes": len(processes),
        "addresses": addresses,
        "joined": joined,
        "usage": os.environ.get("RAY_USAGE_STATS_ENABLED"),
    }


def test_the_cluster_is_closed_to_others(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["address"].startswith("127.0.0.1:")
    assert found["processes"] >= 4, "the driver, the head, the raylet and this worker"
    assert len(found["addresses"]) >= 3
    assert {address.partition(":")[0] for address in found["addresses"]} <= LOOPBACK
    assert found["joined"] == {"no token": [], "wrong token": [], "ours": ["joined 5"]}
    assert found["usage"] == "0"
    assert "RAY_AUTH_TOKEN" not in found["after"]
    assert not (tmp_path / ".ray" / "auth_token").exists()


def test_an_open_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwplab.engines.ray.ray.init", lambda **_: None)
    monkeypatch.setattr("fwplab.engines.ray.ray.shutdown", lambda: None)
    monkeypatch.setattr("fwplab.engines.ray.ray.util.get_node_ip_address", lambda: "192.0.2.7")
    with pytest.raises(UserError, match=r"starts a cluster on 192\.0\.2\.7 or without authentication"):
        list(engine_named("ray").map(returns_at_once, RUNS))
