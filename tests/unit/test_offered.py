"""What the machine offers, read from files as Linux and its control groups write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakmatch import offered as module
from leakmatch.offered import Offered, offered

MIB = 1 << 20
GROUPS_1 = "4:memory:/docker/abc\n2:cpuacct,cpu:/docker/abc\n1:name=systemd:/\n"
NO_LIMIT_1 = "9223372036854771712\n"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_affinity", lambda: 8)


def machine(root: Path, groups: str, files: dict[str, str], available_kib: int | None = 16 << 20) -> Path:
    texts = {f"sys/fs/cgroup/{name}": text for name, text in files.items()} | {"proc/self/cgroup": groups}
    if available_kib is not None:
        texts["proc/meminfo"] = f"MemTotal:       32000000 kB\nMemAvailable:   {available_kib} kB\n"
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_limits_the_affinity_and_what_is_free_count(tmp_path: Path) -> None:
    files = {"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.current": "5\n"}
    assert offered(machine(tmp_path, "0::/\n", files)) == Offered(8, None, 16 << 30)


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert offered(tmp_path) == Offered(8, None, None)
    assert offered(tmp_path).workers(1 << 40) == 8


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("1200000 100000", 8), ("max 100000", 8)],
)
def test_quota_of_version_2(tmp_path: Path, quota: str, cores: int) -> None:
    assert offered(machine(tmp_path, "0::/a/b\n", {"a/b/cpu.max": quota})).cores == cores


def test_the_tightest_limit_of_a_group_and_its_parents_holds(tmp_path: Path) -> None:
    files = {
        "a/b/cpu.max": "400000 100000",
        "a/cpu.max": "300000 100000",
        "cpu.max": "max 100000",
        "a/b/memory.max": "max",
        "a/memory.max": str(900 * MIB),
        "a/memory.current": str(100 * MIB),
    }
    found = offered(machine(tmp_path, "0::/a/b\n", files))
    assert (found.cores, found.memory) == (3, 800 * MIB)


def test_cache_that_is_not_in_use_counts_as_free(tmp_path: Path) -> None:
    files = {
        "memory.max": str(1000 * MIB),
        "memory.current": str(990 * MIB),
        "memory.stat": f"anon 5\nfile {700 * MIB}\ninactive_file {600 * MIB}\n",
    }
    assert offered(machine(tmp_path, "0::/\n", files)).memory == 610 * MIB


def test_version_1_in_a_container_that_sees_its_own_part_only(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "memory/memory.limit_in_bytes": f"{512 * MIB}\n",
        "memory/memory.usage_in_bytes": f"{112 * MIB}\n",
        "memory/memory.stat": f"cache 7\ntotal_inactive_file {12 * MIB}\n",
    }
    found = offered(machine(tmp_path, GROUPS_1, files))
    assert found == Offered(8, 2.5, 412 * MIB)
    assert found.cores == 3


def test_version_1_without_limits(tmp_path: Path) -> None:
    files = {
        "cpu/docker/abc/cpu.cfs_quota_us": "-1\n",
        "cpu/docker/abc/cpu.cfs_period_us": "100000\n",
        "memory/docker/abc/memory.limit_in_bytes": NO_LIMIT_1,
        "memory/docker/abc/memory.usage_in_bytes": "5\n",
    }
    assert offered(machine(tmp_path, GROUPS_1, files)) == Offered(8, None, 16 << 30)


def test_both_versions_at_once(tmp_path: Path) -> None:
    files = {
        "unified/a/cpu.max": "100000 100000",
        "memory/docker/abc/memory.limit_in_bytes": f"{64 * MIB}\n",
        "memory/docker/abc/memory.usage_in_bytes": f"{4 * MIB}\n",
    }
    assert offered(machine(tmp_path, f"{GROUPS_1}0::/a\n", files)) == Offered(8, 1.0, 60 * MIB)


def test_odd_files_are_no_limits(tmp_path: Path) -> None:
    files = {"cpu.max": "many 0", "memory.max": "-", "cpu.cfs_quota_us": "", "memory.stat": "inactive_file\n\nx"}
    assert offered(machine(tmp_path, "nonsense\n0::/../../etc\n0::\n", files, None)) == Offered(8, None, None)


@pytest.mark.parametrize(("memory_mib", "workers"), [(None, 8), (100_000, 8), (4000, 7), (1000, 1), (100, 1), (0, 1)])
def test_memory_bounds_the_workers(memory_mib: int | None, workers: int) -> None:
    memory = None if memory_mib is None else memory_mib * MIB
    assert Offered(8, None, memory).workers(400 * MIB) == workers


def test_this_machine_offers_something() -> None:
    found = offered()
    assert found.cores >= 1
    assert found.memory is None or found.memory > 0
