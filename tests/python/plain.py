"""What has to work under every Python that the wheel is for. Needs no package: `tests/run.sh python` runs it under each that
it finds, with the one wheel unpacked on the path."""

from __future__ import annotations

import asyncio
import itertools
import logging
import pickle
import sys
import tempfile
import threading
from pathlib import Path

import confext
import confext.aio
import confext.logs
import stubs


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="confext-test-") as directory:
        place = Path(directory)
        key = confext.generate_key("vendor")
        image = place / "app.raw"
        source = {"etc/app.conf": b"a" * 5000}
        confext.build(
            "app", source=source, output=image, release={"ID": "_any"}, key=key.key, certificate=key.certificate
        )
        admitted = confext.verify(image, certificates=key.certificate)
        assert admitted.signer is not None and admitted.signer.subject == "CN=vendor"
        assert admitted.read("/etc/app.conf") == source["etc/app.conf"]
        with admitted.open("/etc/app.conf") as file:
            assert file.read(3) == b"aaa"
        match admitted.evidence:
            case confext.Evidence("signed", _, confext.Signer(subject="CN=vendor")):
                pass
            case other:
                raise AssertionError(other)
        first = asyncio.run(confext.aio.verify(image, certificates=key.certificate))
        assert first.signer == admitted.signer

        # Several threads in the library at once.
        inside = threading.Barrier(2)
        met: list[int] = []

        def meet(done: int, total: int) -> None:
            if threading.get_ident() not in met:
                met.append(threading.get_ident())
                inside.wait(60)

        def verify() -> None:
            confext.verify(image, certificates=key.certificate, progress=meet)

        threads = [threading.Thread(target=verify) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(met) == 2

        try:
            confext.Image.open(place / "none")
        except confext.MissingFileError as error:
            again = pickle.loads(pickle.dumps(error))
            assert isinstance(again, FileNotFoundError) and vars(again) == vars(error)
            # Notes of exceptions are new in Python 3.11.
            assert (sys.version_info >= (3, 11)) == hasattr(error, "__notes__")
        else:
            raise AssertionError("there is no such file")
        host = place / "root"
        (host / "etc").mkdir(parents=True)
        (host / "etc/os-release").write_text("ID=demo\n")
        with confext.logs.capture() as logger:
            logger.addHandler(logging.NullHandler())
            assert confext.Host(host, certificates=()).list().extensions == ()

    kept = 0
    for name in filter(stubs.is_result, confext.__all__):
        for start in range(4):
            value = stubs.example(name, itertools.count(start))
            assert pickle.loads(pickle.dumps(value)) == value
            kept += 1
    policy = confext.Policy("root=signed+absent")
    assert pickle.loads(pickle.dumps(policy)) == policy and str(policy) == "root=signed+absent"
    assert confext.Rule("signed").uses == (confext.Use.SIGNED,) and confext.Use("signed") is confext.Use.SIGNED
    print(f"python {sys.version.split()[0]}: ok, {kept} values kept")


if __name__ == "__main__":
    main()
