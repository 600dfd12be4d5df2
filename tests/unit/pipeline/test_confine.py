"""What a confined process can and cannot do, tried in one: by the very calls that a taken-over worker would use."""

from __future__ import annotations

import json
import platform
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from leakmatch.pipeline import confine, landlock, seccomp
from leakmatch.pipeline.confine import Confinement
from leakmatch.pipeline.process import scrubbed_environment

HELD = confine.offered()

needs_landlock = pytest.mark.skipif(not HELD.landlock, reason="this kernel has no Landlock")
needs_seccomp = pytest.mark.skipif(not HELD.seccomp, reason="no filter of system calls on this machine")

_BEFORE = """
import ctypes, errno, json, os, sys
from pathlib import Path
from leakmatch.pipeline.confine import Bounds, confine
room, allowed = Path(sys.argv[1]), Path(sys.argv[2])
held = confine(Bounds((allowed,), (allowed.parent,), room, 1 << 20, 512 << 20, 6 << 30))
said = {"held": held.to_json()}
libc = ctypes.CDLL(None, use_errno=True)

def attempt(name, act):
    try:
        said[name] = repr(act())[:60]
    except OSError as error:
        said[name] = errno.errorcode[error.errno]

def call(name, number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *arguments)
    said[name] = errno.errorcode[ctypes.get_errno()] if result < 0 else "done"
"""


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A scratch folder, and a source beside a gallery."""
    room, sources = tmp_path / "room", tmp_path / "sources"
    room.mkdir()
    sources.mkdir()
    (sources / "seized.zip").write_bytes(b"seized")
    (sources / "people.gallery").write_bytes(b"secret")
    return room, sources


def confined(places: tuple[Path, Path], code: str) -> dict[str, object]:
    room, sources = places
    program = _BEFORE + textwrap.dedent(code) + "\nprint(json.dumps(said))\n"
    arguments = [sys.executable, "-P", "-s", "-c", program, str(room), str(sources / "seized.zip")]
    done = subprocess.run(arguments, env=scrubbed_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    assert said.pop("held") == HELD.to_json()
    return said


@needs_landlock
def test_files_are_out_of_reach_but_those_it_was_given(places: tuple[Path, Path]) -> None:
    room, sources = places
    said = confined(
        places,
        """
        gallery = allowed.with_name("people.gallery")
        attempt("source", allowed.read_bytes)
        attempt("names", lambda: len(os.listdir(allowed.parent)))
        attempt("gallery", gallery.read_bytes)
        attempt("home", lambda: os.listdir(Path.home()))
        attempt("parent's environment", Path(f"/proc/{os.getppid()}/environ").read_bytes)
        attempt("parent's memory", lambda: open(f"/proc/{os.getppid()}/mem", "rb"))
        attempt("accounts", Path("/etc/passwd").read_bytes)
        attempt("scratch", lambda: (room / "a").write_bytes(b"x"))
        attempt("rename", lambda: (room / "a").rename(room / "b"))
        attempt("change", lambda: allowed.write_bytes(b"x"))
        attempt("cut", lambda: os.truncate(allowed, 0))
        attempt("create", lambda: allowed.with_name("new").write_bytes(b"x"))
        attempt("remove", allowed.unlink)
        attempt("move away", lambda: (room / "b").rename(allowed.with_name("b")))
        attempt("link", lambda: os.link(allowed, room / "link"))
        attempt("temporary", lambda: Path("/tmp/leakmatch-test").write_bytes(b"x"))
        attempt("shared memory", lambda: Path("/dev/shm/leakmatch-test").write_bytes(b"x"))
        """,
    )
    assert said == {
        "source": "b'seized'",
        "names": "2",
        "scratch": "1",
        "rename": repr(room / "b")[:60],
        "link": "EXDEV",
        **dict.fromkeys(("gallery", "home", "parent's environment", "parent's memory", "accounts"), "EACCES"),
        **dict.fromkeys(("change", "cut", "create", "remove", "move away", "temporary", "shared memory"), "EACCES"),
    }
    assert (sources / "seized.zip").read_bytes() == b"seized"


@needs_seccomp
def test_no_network_no_processes_no_privileges(places: tuple[Path, Path]) -> None:
    said = confined(
        places,
        """
        import resource, signal, socket, subprocess, threading, mmap
        attempt("inet", lambda: socket.socket(socket.AF_INET))
        attempt("inet6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
        attempt("unix", lambda: socket.socket(socket.AF_UNIX))
        attempt("pair", socket.socketpair)
        attempt("fork", os.fork)
        attempt("program", lambda: subprocess.run(["/bin/true"]))
        attempt("exec", lambda: os.execv("/bin/true", ["true"]))
        attempt("signal", lambda: os.kill(os.getppid(), 0))
        attempt("own signal", lambda: os.kill(os.getpid(), 0))
        attempt("limits of others", lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU))
        attempt("own limits", lambda: resource.prlimit(0, resource.RLIMIT_CORE))
        attempt("mode", lambda: allowed.chmod(0o777))
        attempt("owner", lambda: os.chown(allowed, 1, 1))
        attempt("attribute", lambda: os.setxattr(allowed, "user.a", b"x"))
        attempt("times", lambda: os.utime(allowed, (0, 0)))
        attempt("identity", lambda: os.setuid(0))
        attempt("device", lambda: os.mknod(room / "null", 0o020666, os.makedev(1, 3)))
        import fcntl
        attempt("own by fcntl", lambda: fcntl.fcntl(0, 8, os.getppid()))
        attempt("signal by fcntl", lambda: fcntl.fcntl(0, 10, 9))
        attempt("own by fcntl, long", lambda: fcntl.fcntl(0, 15, bytes(8)))
        call("own by fcntl, high bits", seccomp._COMMANDS["fcntl"][0][seccomp._MACHINES[os.uname().machine][0]],
             0, ctypes.c_long(8 | 1 << 32), ctypes.c_long(os.getppid()))
        attempt("own by ioctl", lambda: fcntl.ioctl(0, 0x8901, bytes(4)))
        attempt("group by ioctl", lambda: fcntl.ioctl(0, 0x8902, bytes(4)))
        attempt("other fcntl", lambda: fcntl.fcntl(0, fcntl.F_GETFD))
        attempt("other ioctl", lambda: fcntl.ioctl(0, 0x5451))
        thread = threading.Thread(target=lambda: said.update(thread="ran"))
        thread.start()
        thread.join()
        numbers = {name: number for entry in seccomp._REFUSED.split("; ") for name, *number in [entry.split(" ")]}
        column = seccomp._MACHINES[os.uname().machine][0]
        for name in ("ptrace", "process_vm_readv", "bpf", "perf_event_open", "io_uring_setup", "keyctl",
                     "userfaultfd", "unshare", "setns", "mount", "shmget", "pidfd_open"):
            call(name, int(numbers[name][column]), 0, 0, 0, 0, 0)
        call("clone3", 435, 0, 0)
        call("unheard of", 5000)
        """.replace("import resource", "from leakmatch.pipeline import seccomp\n        import resource"),
    )
    assert {said.pop(name) for name in ("own signal", "own limits", "thread")} <= {"None", "(0, 0)", "ran"}
    assert {said.pop(name) for name in ("other fcntl", "other ioctl")} <= {"0", "1"}
    assert {said.pop(name) for name in ("inet", "inet6", "netlink", "unix")} == {"EACCES"}
    assert {said.pop(name) for name in ("clone3", "unheard of")} == {"ENOSYS"}
    assert set(said.values()) == {"EPERM"}, said


@needs_landlock
def test_tcp_is_denied_by_landlock_alone(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    if HELD.landlock < 4:
        pytest.skip("this kernel's Landlock knows nothing of TCP")
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"""
            import os, socket, sys
            from pathlib import Path
            from leakmatch.pipeline import confine, landlock
            confine._prctl(confine._PR_SET_NO_NEW_PRIVS, 1)
            landlock.restrict([], [], [])
            try:
                socket.create_connection(("127.0.0.1", {server.getsockname()[1]}))
            except PermissionError:
                sys.exit(7)
            """
        done = subprocess.run(
            [sys.executable, "-P", "-c", textwrap.dedent(code)], env=scrubbed_environment(), capture_output=True
        )
    assert done.returncode == 7, done.stderr


def test_sizes_are_bounded(places: tuple[Path, Path]) -> None:
    said = confined(
        places,
        """
        attempt("large file", lambda: (room / "a").write_bytes(bytes(2 << 20)))
        try:
            bytearray(600 << 20)
        except MemoryError:
            said["memory"] = "refused"
        import resource
        said["core"] = resource.getrlimit(resource.RLIMIT_CORE)
        said["temporary"] = __import__("tempfile").gettempdir() == str(room)
        lines = Path("/proc/self/status").read_text().splitlines()
        status = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
        said["capabilities"] = int(status["CapEff"], 16) & ~4
        said["no new privileges"] = status["NoNewPrivs"].strip()
        """,
    )
    assert said == {
        "large file": "EFBIG",
        "memory": "refused",
        "core": [0, 0],
        "temporary": True,
        "capabilities": 0,
        "no new privileges": "1",
    }


def test_a_process_with_threads_is_not_confined_in_part(places: tuple[Path, Path]) -> None:
    code = """
        import threading
        from pathlib import Path
        from leakmatch.pipeline.confine import Bounds, confine
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        confine(Bounds((), (), Path("/nowhere"), 1, 1 << 30, 1 << 40))
        """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(code)], env=scrubbed_environment(), capture_output=True, text=True
    )
    assert "before it has threads" in done.stderr


def test_what_is_missing_is_said_in_words() -> None:
    assert Confinement(7, True).missing() == []
    assert Confinement(0, False).missing() == ["read and change files of this user", "reach the network"]
    assert Confinement(2, True).missing() == ["empty files of this user"]


def test_a_kernel_without_landlock_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    assert landlock.restrict([Path("/")], [], []) == 0


def test_rights_by_version_of_landlock() -> None:
    """A kernel refuses rights that it does not know."""
    assert [landlock._handled(known).bit_length() for known in (1, 2, 3, 4, 5, 7)] == [13, 14, 15, 15, 16, 16]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_never_jumps_out_of_itself(machine: str) -> None:
    """And every way through it ends in a decision."""
    lines = seccomp.program(machine, 4711)
    for place, (code, true, false, _) in enumerate(lines):
        if code & 0x07 == 0x05:
            assert place + 1 + max(true, false) < len(lines)
    assert lines[-1] == (0x06, 0, 0, 0x7FFF0000)
    assert len(lines) < 4096


@needs_seccomp
def test_numbers_are_those_of_the_kernel_headers() -> None:
    header = Path(f"/usr/include/{platform.machine()}-linux-gnu/asm/unistd_64.h")
    if not header.is_file():
        pytest.skip("no kernel headers here")
    known = dict(line.split()[1:3] for line in header.read_text().splitlines() if line.startswith("#define __NR_"))
    column = seccomp._MACHINES[platform.machine()][0]
    table = {entry.split(" ")[0]: entry.split(" ")[1 + column] for entry in seccomp._REFUSED.split("; ")}
    table |= {name: str(numbers[column]) for name, numbers in seccomp._OWN.items()}
    table |= {name: str(numbers[column]) for name, (numbers, _) in seccomp._COMMANDS.items()}
    wrong = {name for name, number in table.items() if number != "-" and known.get(f"__NR_{name}", number) != number}
    assert not wrong
