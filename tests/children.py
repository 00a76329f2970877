"Forked processes of tests: what is killed or races in them has its own connections."

import os
import traceback
from collections.abc import Callable


def in_child(work: Callable[[], None]) -> int:
    "Fork a process that does the work; its id."
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    return pid


def ended(pid: int) -> int:
    "Wait for a process; its status, negative for a signal."
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
