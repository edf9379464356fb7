"""The story in Python: build, sign, verify, refuse, merge, trace, refresh, unmerge.

As root, with the wheel installed: `python examples/quickstart.py`. Mounts are made in a mount namespace of its own.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import confext


# README starts here
def build(key: confext.KeyPair, output: Path, config: str) -> Path:
    """An image with one file, signed."""
    confext.build(
        "app",
        source={"etc/app.conf": config.encode()},
        output=output,
        release={"ID": "_any"},
        key=key.key,
        certificate=key.certificate,
    )
    return output


def story(work: Path) -> None:
    vendor, stranger = confext.generate_key("vendor"), confext.generate_key("stranger")
    first = build(vendor, work / "app_1.raw", "version = 1\n")
    second = build(vendor, work / "app_2.raw", "version = 2\n")
    print(f"built two signed images of {first.stat().st_size} bytes")

    # No root, no mount: files are read from blocks that are checked as they are read.
    image = confext.verify(first, certificates=vendor.certificate)
    assert image.signer is not None
    print(f"verified: signed by {image.signer.subject}, has {image.read('etc/app.conf')!r}")

    tampered = work / "tampered.raw"
    tampered.write_bytes(first.read_bytes().replace(b"version = 1", b"Version = 1"))
    foreign = build(stranger, work / "foreign.raw", "version = 1\n")
    for refused in (tampered, foreign):
        try:
            confext.verify(refused, certificates=vendor.certificate)
        except confext.UnverifiedError as error:
            print(f"refused {refused.name}: [{error.code}] {error.hint}")
        else:
            sys.exit(f"{refused.name} was admitted")

    # Any directory with an os-release is a host.
    root = work / "root"
    images = root / "run/confexts/app.raw.v"
    images.mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/os-release").write_text("ID=demo\n")
    host, config = confext.Host(root, certificates=vendor.certificate), root / "etc/app.conf"

    first.rename(images / "app_1.raw")
    host.merge()
    print(f"merged: etc/app.conf is {config.read_text()!r}")

    origin = host.trace("etc/app.conf")
    assert origin.source is not None and origin.source.evidence.signer is not None
    print(f"traced: from {origin.source.image}, signed by {origin.source.evidence.signer.subject}")

    second.rename(images / "app_2.raw")
    report = host.refresh()
    print(f"refreshed: etc/app.conf is {config.read_text()!r}, because {report.because[0].kind}")

    host.unmerge()
    print(f"unmerged: etc/app.conf exists: {config.exists()}")

# README ends here


if __name__ == "__main__":
    if sys.argv[1:] != ["--inside"]:
        again = ["unshare", "--mount", "--propagation", "private", sys.executable, __file__, "--inside"]
        sys.exit(subprocess.call(again))
    with tempfile.TemporaryDirectory(prefix="confext-quickstart-") as work:
        story(Path(work))
