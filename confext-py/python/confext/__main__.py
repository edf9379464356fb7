"""The command `confext`, as the wheel installs it."""

from __future__ import annotations

import signal
import sys

from confext import _confext


def main() -> int:
    """Run the command with the arguments of this process and return its exit status."""
    # Python would only note the interrupt and raise it when the command has ended.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _confext.main(["confext", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
