"""Laws of parsers and policies, tried with what hypothesis thinks of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import confext
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

USES = [use.value for use in confext.Use]
PROTECTIONS = ["none", "verity", "signed"]
FILE_SYSTEMS = ["btrfs", "erofs", "ext4", "f2fs", "squashfs", "vfat", "xfs"]

#: The same examples wherever the tests run, and no limit in time: that would depend on what else runs. To look for more, raise
#: their number and take `derandomize` away.
LAWS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

uses = st.lists(st.sampled_from(USES), min_size=1, max_size=4, unique=True)
rules = st.builds(
    lambda uses, read_only, growfs, only: confext.Rule.of(*uses, read_only=read_only, growfs=growfs, file_systems=only),
    uses,
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    st.none() | st.lists(st.sampled_from(FILE_SYSTEMS), min_size=1, max_size=3, unique=True),
)


def policies_of(rules: st.SearchStrategy[confext.Rule]) -> st.SearchStrategy[confext.Policy]:
    return st.builds(
        lambda table, otherwise: confext.Policy.of(table, otherwise=otherwise),
        st.dictionaries(st.sampled_from(confext.Policy.DESIGNATORS), rules, max_size=4),
        rules,
    )


policies = policies_of(rules)
#: Those that ask for nothing but protection.
plain_policies = policies_of(st.builds(lambda uses: confext.Rule.of(*uses), uses))


def admitted(policy: confext.Policy) -> set[tuple[str, str]]:
    """All that a policy lets in, as far as it can be asked."""
    return {
        (part, protection)
        for part in confext.Policy.DESIGNATORS
        for protection in PROTECTIONS
        if policy.admits(part, protection)  # type: ignore[arg-type]
    }


def both(first: confext.Policy, second: confext.Policy) -> confext.Policy | None:
    try:
        return first & second
    except confext.RefusedError:
        return None


def same(first: confext.Policy, second: confext.Policy) -> bool:
    """Whether both admit the same. `is_equivalent` asks for more: that systemd reads them alike, too."""
    return first <= second <= first


@LAWS
@given(policies)
def test_a_policy_is_its_text(policy: confext.Policy) -> None:
    assert confext.Policy(str(policy)) == policy
    assert hash(confext.Policy(str(policy))) == hash(policy)
    assert policy <= policy and policy.is_equivalent(policy)


@LAWS
@given(policies)
def test_simplifying_changes_nothing_and_comes_to_an_end(policy: confext.Policy) -> None:
    simple = policy.simplified()
    assert simple.is_equivalent(policy) and simple.simplified() == simple
    assert admitted(simple) == admitted(policy)
    assert len(str(simple)) <= len(str(policy)) or simple != policy


@LAWS
@given(policies, policies)
def test_both_and_either(first: confext.Policy, second: confext.Policy) -> None:
    meet, join = both(first, second), first | second
    assert first <= join and second <= join
    assert admitted(first) | admitted(second) <= admitted(join)
    assert same(join, second | first) and same(first | first, first)
    if meet is None:
        assert both(second, first) is None
        return
    assert meet <= first and meet <= second
    # Less, where one wants a flag set and the other wants it cleared, or where they have no file system in common.
    assert admitted(meet) <= admitted(first) & admitted(second)
    swapped = both(second, first)
    assert swapped is not None and same(meet, swapped)
    # What was said twice says nothing new.
    assert same(first | meet, first)
    again = both(first, join)
    assert again is not None and same(again, first)


@LAWS
@given(plain_policies, plain_policies)
def test_both_admit_what_each_admits(first: confext.Policy, second: confext.Policy) -> None:
    meet = both(first, second)
    if meet is not None:
        assert admitted(meet) == admitted(first) & admitted(second)


@LAWS
@given(policies, policies, policies)
def test_the_order_is_one(first: confext.Policy, second: confext.Policy, third: confext.Policy) -> None:
    if first <= second <= third:
        assert first <= third
    if first <= second:
        assert admitted(first) <= admitted(second)
        assert same(first | second, second)
    assert (first < second) == (first <= second and not second <= first)


@LAWS
@given(policies, policies, policies)
def test_the_order_of_combining_is_free(
    first: confext.Policy, second: confext.Policy, third: confext.Policy
) -> None:
    left, right = both(first, second), both(second, third)
    one = both(left, third) if left is not None else None
    other = both(first, right) if right is not None else None
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert same(one, other)
    assert same((first | second) | third, first | (second | third))


@LAWS
@given(rules)
def test_a_rule_is_its_text(rule: confext.Rule) -> None:
    assert confext.Rule(str(rule)) == rule and rule <= rule
    assert [use in rule for use in rule.uses] == [True] * len(rule.uses)


@LAWS
@given(st.text(max_size=60) | st.text("rotusvehmignd=+:@-", max_size=60))
def test_no_text_does_harm(text: str) -> None:
    """A parser says what a text means, or what is wrong with it."""
    for parse in (confext.Policy, confext.Rule, confext.ImageFilter):
        made: Any = parse
        try:
            value = made(text)
        except confext.Error as error:
            assert error.code and error.hint
        else:
            # A name becomes its rules: its text is another one, which means the same.
            assert made(str(value)) == value
    try:
        found = confext.KeyRules.parse(text.encode("utf-8", "surrogatepass"))
    except confext.Error as error:
        assert error.code
    else:
        assert confext.KeyRules.parse(str(found).encode()) == found


@LAWS
@given(st.binary(max_size=200))
def test_no_manifest_does_harm(text: bytes) -> None:
    with pytest.raises(confext.Error):
        confext.Manifest.parse(text)


versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}([~^-][a-z0-9]{1,4})?", fullmatch=True)


@LAWS
@given(st.lists(versions, min_size=2, max_size=6, unique=True), st.randoms())
def test_the_newest_version_does_not_depend_on_the_order(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], random: Any
) -> None:
    def newest(some: list[str]) -> str:
        directory = tmp_path_factory.mktemp("v") / "app.raw.v"
        directory.mkdir()
        for name in some:
            (directory / f"app_{name}.raw").touch()
        found = confext.pick(directory, suffix=".raw")
        assert found.version is not None
        return found.version

    best = newest(names)
    assert best in names
    mixed = list(names)
    random.shuffle(mixed)
    assert newest(mixed) == best
    # It wins against each one alone, and every part of the list that has it.
    assert all(newest([best, other]) == best for other in names if other != best)
    rest = [name for name in names if name != best]
    assert newest([best, newest(rest)]) == best


plain = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-_ \\%\"'$;:@äß", min_size=1, max_size=20)
paths = st.builds(lambda parts: "/" + "/".join(parts), st.lists(plain.filter(lambda x: x not in (".", "..")), min_size=1, max_size=3))
entries = st.builds(
    lambda path, may_miss, relaxed: confext.UnitEntry(path, may_miss=may_miss, relaxed=relaxed),
    paths,
    st.booleans(),
    st.booleans(),
)


@LAWS
@given(st.lists(entries, max_size=4), st.lists(paths, max_size=3), st.none() | policies)
def test_settings_of_a_unit_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory,
    images: list[confext.UnitEntry],
    directories: list[str],
    policy: confext.Policy | None,
) -> None:
    root = tmp_path_factory.mktemp("root")
    (root / "usr/lib/systemd/system").mkdir(parents=True)
    (root / "usr/lib/systemd/system/app.service").write_text("[Service]\nExecStart=/bin/true\n")
    host = confext.Host(root, certificates=())
    try:
        written = confext.service.drop_in(host, "app", images=images, directories=directories, policy=policy)
    except confext.Error as error:
        # Only what no unit can say, and then nothing is there.
        assert error.code in ("unit-entry", "drop-in-text", "unit-path"), error
        assert not (root / "etc").exists()
        return
    shown = confext.service.show(host, "app")
    assert shown.images == tuple(images)
    assert [entry.path for entry in shown.directories] == directories
    assert shown.policy == (None if policy is None else str(policy))
    again = confext.service.drop_in(
        host, "app", images=shown.images, directories=shown.directories, policy=shown.policy
    )
    assert (written.done, again.done) == ("new", "same")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, vendor: confext.KeyPair) -> tuple[bytes, Path]:
    path = tmp_path_factory.mktemp("whole") / "app.raw"
    source: dict[str, bytes | confext.Symlink] = {
        "etc/app.conf": b"a" * 5000,
        "etc/link": confext.Symlink("app.conf"),
    }
    confext.build(
        "app", source=source, output=path, release={"ID": "_any"}, key=vendor.key, certificate=vendor.certificate
    )
    return path.read_bytes(), path.with_name("changed.raw")


changes = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)


@LAWS
@given(changes, st.none() | st.floats(0, 1, exclude_max=True), st.booleans())
def test_a_changed_image_raises_nothing_but_errors(
    whole: tuple[bytes, Path], vendor: confext.KeyPair, changes: list[tuple[float, bytes]], cut: float | None, front: bool
) -> None:
    content, path = bytearray(whole[0]), whole[1]
    # The table and the superblocks are in front: half of the examples change those.
    reach = 4096 if front else len(content)
    for place, found in changes:
        start = int(place * reach)
        content[start : start + len(found)] = found
    if cut is not None:
        del content[int(cut * len(content)) :]
    path.write_bytes(content)
    for policy in ("signed", "unprotected"):
        try:
            with confext.Image.open(path) as image:
                repr((image.table, image.partitions, image.skipped, image.claim, image.sidecars))
                found_image = image.verify(certificates=vendor.certificate, policy=policy)
                listed = found_image.walk()
                for name, stat in listed:
                    if stat.kind == "regular":
                        found_image.read(name)
        except confext.Error as error:
            assert error.code and error.family != "internal", error
        else:
            if policy == "signed":
                # What a signature vouches for is what was signed.
                assert found_image.read("/etc/app.conf") == b"a" * 5000
