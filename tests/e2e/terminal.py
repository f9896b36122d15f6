"""Runs a program under a terminal of its own, and passes on every byte it writes.

usage: terminal.py COLUMNS ROWS [--interrupt-at TEXT] PROGRAM [ARGUMENT...]

With --interrupt-at, Ctrl-C is typed once TEXT was written. Ends as the program does.
"""

import fcntl
import os
import pty
import struct
import sys
import termios


def main():
    columns, rows, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    interrupt_at = None
    if command[0] == "--interrupt-at":
        interrupt_at, command = command[1].encode(), command[2:]
    child, terminal = pty.fork()
    if child == 0:
        # The size is there before the program looks.
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.execvp(command[0], command)
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        if interrupt_at:
            written += part
            if interrupt_at in written:
                os.write(terminal, b"\x03")
                interrupt_at = None
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


main()
