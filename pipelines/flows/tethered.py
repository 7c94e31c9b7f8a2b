"""Run a program that the kernel ends when its parent ends: `python tethered.py PARENT_PID PROGRAM ARGUMENTS...`.

A small program of its own, because setting the signal between fork and exec of a process with threads is not safe.
The parent-death signal survives the exec and is bound to the *thread* that started this process: that thread has to
wait for it (prctl(2), PR_SET_PDEATHSIG). Where the kernel is not Linux the program simply runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the signal was set
            sys.exit(143)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
