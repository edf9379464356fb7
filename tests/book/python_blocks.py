"""Inside a room: the interpreter of a page, which runs the files named on standard input, all in one module."""

import contextlib
import doctest
import os
import sys
import traceback
from pathlib import Path

FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.REPORT_NDIFF
names: dict = {"__name__": "page"}


def run(path: Path) -> int:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".pycon":
        examples = doctest.DocTestParser().get_doctest(text, {}, path.name, str(path), 0)
        examples.globs = names  # a copy is what the parser would make
        found = doctest.DocTestRunner(optionflags=FLAGS).run(examples, clear_globs=False)
        return 1 if found.failed or not found.attempted else 0
    exec(compile(text, str(path), "exec"), names)
    return 0


def main() -> None:
    book, answers = Path(os.environ["BOOK"]), os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        path = Path(line.strip())
        os.chdir((book / "cwd").read_text().strip())
        with open(f"{path}.out", "w", buffering=1, encoding="utf-8") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                try:
                    status = run(path)
                except BaseException:  # the page is told, whatever it was
                    traceback.print_exc()
                    status = 1
        print(status, file=answers, flush=True)


main()
