"""A filter of system calls: what a worker never needs is refused by the kernel (x86-64 and 64-bit ARM).

Refused calls fail as they would for want of a permission; nothing is killed. See seccomp(2) and bpf(4). The filter is
a list of what is refused, not of what is allowed: the libraries that workers use change with every version, and what
they may reach is held by Landlock as well. Calls newer than this list do not exist for a worker.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator
from typing import Final

_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000

# Instructions of BPF: load a word of ``struct seccomp_data``, compare, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH = 0, 4
_FIRST_ARGUMENT: Final = 16  # its low word, on a little-endian machine
_SECOND_ARGUMENT: Final = 24

_CLONE_THREAD: Final = 0x10000
_NEWEST: Final = 462  # mseal, Linux 6.10; the same on both architectures, as all numbers from 424 on

#: Name, number on x86-64 and number on ARM, - where there is no such call.
_REFUSED: Final = (
    # The network, and local services behind sockets. The worker's own socket is open already.
    "socket 41 198; socketpair 53 199; connect 42 203; bind 49 200; listen 50 201; accept 43 202; "
    "accept4 288 242; "
    # Other processes: their memory, their descriptors, their signals, their settings.
    "ptrace 101 117; process_vm_readv 310 270; process_vm_writev 311 271; kcmp 312 272; "
    "process_madvise 440 440; process_mrelease 448 448; pidfd_open 434 434; pidfd_getfd 438 438; "
    "pidfd_send_signal 424 424; tkill 200 130; rt_sigqueueinfo 129 138; rt_tgsigqueueinfo 297 240; "
    "setpriority 141 140; ioprio_set 251 30; migrate_pages 256 238; move_pages 279 239; "
    # Programs and processes.
    "execve 59 221; execveat 322 281; fork 57 -; vfork 58 -; "
    # Memory and queues shared by name with others.
    "shmget 29 194; shmat 30 196; shmctl 31 195; msgget 68 186; msgsnd 69 189; msgrcv 70 188; "
    "msgctl 71 187; semget 64 190; semop 65 193; semtimedop 220 192; semctl 66 191; mq_open 240 180; "
    "mq_unlink 241 181; "
    # What belongs to a file beside its content, which Landlock does not guard.
    "chmod 90 -; fchmod 91 52; fchmodat 268 53; fchmodat2 452 452; chown 92 -; fchown 93 55; lchown 94 -; "
    "fchownat 260 54; setxattr 188 5; lsetxattr 189 6; fsetxattr 190 7; removexattr 197 14; "
    "lremovexattr 198 15; fremovexattr 199 16; utime 132 -; utimes 235 -; futimesat 261 -; "
    "utimensat 280 88; name_to_handle_at 303 264; open_by_handle_at 304 265; fanotify_init 300 262; "
    "mknod 133 -; mknodat 259 33; "
    # The view of the system.
    "mount 165 40; umount2 166 39; pivot_root 155 41; chroot 161 51; open_tree 428 428; "
    "move_mount 429 429; fsopen 430 430; fsconfig 431 431; fsmount 432 432; fspick 433 433; "
    "mount_setattr 442 442; unshare 272 97; setns 308 268; "
    # Parts of the kernel with a long record of holes.
    "bpf 321 280; perf_event_open 298 241; userfaultfd 323 282; io_uring_setup 425 425; "
    "io_uring_enter 426 426; io_uring_register 427 427; add_key 248 217; request_key 249 218; "
    "keyctl 250 219; modify_ldt 154 -; lookup_dcookie 212 18; "
    # The machine as a whole, and other identities.
    "init_module 175 105; finit_module 313 273; delete_module 176 106; kexec_load 246 104; "
    "kexec_file_load 320 294; reboot 169 142; swapon 167 224; swapoff 168 225; acct 163 89; "
    "sethostname 170 161; setdomainname 171 162; settimeofday 164 170; clock_settime 227 112; "
    "clock_adjtime 305 266; adjtimex 159 171; quotactl 179 60; quotactl_fd 443 443; syslog 103 116; "
    "vhangup 153 58; iopl 172 -; ioperm 173 -; setuid 105 146; setgid 106 144; setreuid 113 145; "
    "setregid 114 143; setresuid 117 147; setresgid 119 149; setgroups 116 159; setfsuid 122 151; "
    "setfsgid 123 152"
)

#: Allowed for the process itself only: their first argument is a process, 0 or its own number.
_OWN: Final = {"kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261)}
#: Calls of which some commands (the second argument) are refused: those that have the kernel signal another process.
_COMMANDS: Final = {
    "fcntl": ((72, 25), (8, 10, 15)),  # F_SETOWN, F_SETSIG, F_SETOWN_EX
    "ioctl": ((16, 29), (0x8901, 0x8902)),  # FIOSETOWN, SIOCSPGRP
}
_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)

#: By what ``uname`` calls the machine: the column above, and the word that a call of it carries.
_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def available() -> bool:
    """Whether there is a filter for this machine, and a kernel that takes it."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES or sys.maxsize < 1 << 32:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    # Asked for with no program, a kernel that has filters says that the address is wrong.
    return libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, None, 0, 0) != 0 and ctypes.get_errno() == errno.EFAULT


def restrict() -> None:
    """Put the filter on this process (its one thread, and all that come of it), for good.

    No new privileges must have been asked for before (``PR_SET_NO_NEW_PRIVS``). Raises ``OSError``.
    """
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program(platform.machine(), os.getpid()))
    held = ctypes.create_string_buffer(code, len(code))
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(held)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, filter_, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")


def program(machine: str, process: int) -> list[tuple[int, int, int, int]]:
    """The filter as instructions (code, to skip if true, to skip if false, value)."""
    column, word = _MACHINES[machine]
    lines = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, word), _fail(errno.ENOSYS)]  # calls of another word size
    lines += [(_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _NEWEST + 1), _fail(errno.ENOSYS)]  # those of x32 among them
    for entry in _REFUSED.split("; "):
        name, *numbers = entry.split(" ")
        if numbers[column] != "-":
            refused = errno.EACCES if name in {"socket", "connect", "bind"} else errno.EPERM
            lines += [(_EQUAL, 0, 1, int(numbers[column])), _fail(refused)]
    # The C library falls back to clone, whose flags can be seen here.
    lines += [(_EQUAL, 0, 1, _CLONE3[column]), _fail(errno.ENOSYS)]
    lines += _checked(_CLONE[column], [(_ANY_BIT, 0, 1, _CLONE_THREAD), _allow(), _fail(errno.EPERM)])
    for guarded in _OWN.values():
        own = [(_EQUAL, 1, 0, 0), (_EQUAL, 0, 1, process), _allow(), _fail(errno.EPERM)]
        lines += _checked(guarded[column], own)
    for by_machine, commands in _COMMANDS.values():
        # Each jumps over those after it, and over what allows the rest.
        denied = [(_EQUAL, len(commands) - place, 0, command) for place, command in enumerate(commands)]
        check = [*denied, _allow(), _fail(errno.EPERM)]
        lines += _checked(by_machine[column], check, _SECOND_ARGUMENT)
    return [*lines, _allow()]


def _checked(
    number: int, check: list[tuple[int, int, int, int]], argument: int = _FIRST_ARGUMENT
) -> Iterator[tuple[int, int, int, int]]:
    """``check`` of an argument where the call is ``number``; both ends of it return."""
    yield _EQUAL, 0, len(check) + 1, number
    yield _LOAD, 0, 0, argument
    yield from check


def _allow() -> tuple[int, int, int, int]:
    return _RETURN, 0, 0, _ALLOW


def _fail(number: int) -> tuple[int, int, int, int]:
    return _RETURN, 0, 0, _ERRNO | number
