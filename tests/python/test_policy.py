"""Policies, rules and filters are values: parsed, printed, compared, combined, explained, and taken wherever text is."""

from __future__ import annotations

import copy
import fnmatch
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import confext
import pytest
from confext import ImageFilter, KeyRule, KeyRules, Policy, Rule, Use
from conftest import Make
from hypothesis import given
from hypothesis import strategies as st

USES = [use.value for use in Use]
ATTRIBUTES = ["read-only-on", "read-only-off", "growfs-on", "growfs-off"]
FILE_SYSTEMS = ["erofs", "squashfs", "ext4", "vfat", "xfs", "btrfs", "f2fs"]

words = st.lists(st.sampled_from(USES + ATTRIBUTES + FILE_SYSTEMS), unique=True, max_size=8).map("+".join)
rules = st.dictionaries(st.sampled_from(["", "", "root", "root", "usr", *Policy.DESIGNATORS]), words, max_size=5)
texts = rules.map(lambda rules: ":".join(f"{name}={words}" for name, words in rules.items()))
policies = texts.map(Policy)


def same(first: Policy, second: Policy) -> bool:
    """Whether both admit the same. How systemd reads them may differ: what it derives depends on which rules there are."""
    return first <= second <= first


# ---- what policies are


@given(texts)
def test_what_is_printed_is_parsed_to_the_same(text: str) -> None:
    policy = Policy(text)
    assert Policy(str(policy)) == policy and hash(Policy(str(policy))) == hash(policy)
    assert eval(repr(policy)) == policy
    assert copy.deepcopy(policy) == pickle.loads(pickle.dumps(policy)) == policy
    for rule in [*policy.rules.values(), policy.default]:
        assert Rule(str(rule)) == eval(repr(rule)) == pickle.loads(pickle.dumps(rule)) == rule


@given(words, words)
def test_rules_are_what_their_words_say(first: str, second: str) -> None:
    rule = Rule(first)
    uses = [use for use in Use if use.value in first.split("+")]
    assert rule.uses == tuple(uses or Use)
    assert all((use in rule) == (use in rule.uses) for use in Use)
    names = [name for name in FILE_SYSTEMS if name in first.split("+")]
    assert rule.file_systems == (tuple(names) if 0 < len(names) < len(FILE_SYSTEMS) else None)
    made: Any = Rule.of
    assert rule == made(
        *rule.uses, read_only=rule.read_only, growfs=rule.growfs, file_systems=rule.file_systems
    )
    # The order of rules is that of policies that differ in nothing else.
    other = Rule(second)
    open_for_all = Policy.of(dict.fromkeys(Policy.DESIGNATORS, "open"))
    whole, others = (open_for_all.with_rule("root", rule).with_rule("usr", rule) for rule in (rule, other))
    assert (rule <= other) == (whole <= others) == (other >= rule)


@given(policies, policies)
def test_an_intersection_is_as_strict_as_both(first: Policy, second: Policy) -> None:
    try:
        both = first & second
    except confext.RefusedError as refused:
        assert refused.code == "policy-disjoint"
        with pytest.raises(confext.RefusedError):
            second & first
        return
    assert both <= first and both <= second
    assert both == second & first
    assert same(both & first, both) and both & both == both
    # Whatever is as strict as both is as strict as this.
    assert (first <= both) == (first <= second)


@given(policies, policies)
def test_a_union_is_as_lax_as_either(first: Policy, second: Policy) -> None:
    either = first | second
    assert either >= first and either >= second
    assert either == second | first
    assert same(either | first, either) and either | either == either
    assert (first >= either) == (first >= second)


@given(policies, policies, policies)
def test_unions_and_intersections_are_associative(first: Policy, second: Policy, third: Policy) -> None:
    assert same((first | second) | third, first | (second | third))

    def intersect(*operands: Policy) -> Policy | None:
        try:
            return operands[0] & operands[1]
        except confext.RefusedError:
            return None

    left, right = intersect(first, second), intersect(second, third)
    if left is not None and right is not None:
        left, right = intersect(left, third), intersect(first, right)
        assert (left is None) == (right is None)
        assert left is None or right is None or same(left, right)


@given(policies, policies)
def test_the_shortest_form_says_the_same(first: Policy, second: Policy) -> None:
    short = first.simplified()
    assert short.is_equivalent(first) and first.is_equivalent(str(short))
    assert short <= first <= short
    assert len(str(short)) <= len(str(Policy.of(short.rules, otherwise=short.default)))
    assert short.simplified() == short
    assert (short == second.simplified()) == first.is_equivalent(second)
    assert short.items() == first.items()


@given(policies, policies, policies)
def test_the_order_is_partial(first: Policy, second: Policy, third: Policy) -> None:
    assert first <= first and not first < first
    assert (first < second) == (first <= second and not second <= first) == (second > first)
    if first <= second <= third:
        assert first <= third


# ---- how they are used


def test_a_policy_is_a_table_of_rules() -> None:
    policy = Policy("root=signed+erofs+read-only-on:usr=verity+signed+absent:home=verity:=absent")
    root = policy["root"]
    assert root is not None
    assert (root.uses, root.read_only, root.growfs, root.file_systems) == ((Use.SIGNED,), True, None, ("erofs",))
    assert "signed" in root and Use.VERITY not in root
    assert policy["srv"] == policy.default == Rule("absent")
    # Only root and usr can be under a hash tree.
    assert policy["home"] is None
    assert list(policy.rules) == ["root", "usr", "home"]
    assert list(policy) == policy.keys() == list(Policy.DESIGNATORS)
    assert dict(policy) == dict(policy.items()) == dict(zip(policy, policy.values()))
    assert len(policy) == 13 and "root" in policy and "user-home" not in policy and 5 not in policy
    # A policy without rules is no less a policy.
    assert Policy("~") and not Policy("~").rules
    unknown: Any = "user-home"
    with pytest.raises(KeyError, match="user-home"):
        policy[unknown]
    for ask in (lambda: policy.admits(unknown, "signed"), lambda: policy.with_rule(unknown, "signed")):
        with pytest.raises(ValueError, match="designator: found 'user-home', expected 'root' or"):
            ask()


def test_a_policy_is_put_together() -> None:
    root = Rule.least("verity", "absent", read_only=True, file_systems=["squashfs", "erofs"])
    policy = Policy.of({"root": root, "usr": "signed"}, otherwise="absent")
    assert str(policy) == "root=verity+signed+absent+read-only-on+erofs+squashfs:usr=signed:=absent"
    assert str(policy.with_rule("usr", root).with_rule("root", Rule("absent"))["usr"]) == str(root)
    assert Policy("root=signed+absent+read-only-on+erofs:usr=signed:=absent") < policy
    assert policy.admits("root", "verity") and not policy.admits("root", "none")
    wrong: Any = ["luks"]
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: Rule.of(), "uses: found none"),
        (lambda: Rule.of("signed", file_systems=[]), "file_systems: found none"),
        (lambda: Rule.of("signed", file_systems=wrong), "file_systems: found 'luks', expected 'erofs' or"),
        (lambda: Rule.of(wrong[0]), "uses: found 'luks'"),
        (lambda: Rule.least(wrong[0]), "protection: found 'luks', expected 'none' or 'verity' or 'signed'"),
        (lambda: "luks" in Rule("signed"), "uses: found 'luks'"),  # type: ignore[operator]
    ]
    for make, text in cases:
        with pytest.raises(ValueError, match=text):
            make()


def test_policies_have_names() -> None:
    assert Policy("signed") == Policy("root=signed+absent:usr=signed+absent")
    assert Policy("signed") < Policy("verity") < Policy("unprotected")
    for name in Policy.PRESETS:
        assert Policy.preset(name) == Policy.preset(f"@{name}") == Policy(f"@{name}")
    assert Policy.preset("sysext-strict") == Policy("signed")
    with pytest.raises(ValueError, match="name: found 'debian', expected 'sysext' or"):
        Policy.preset("debian")


def test_uses_are_words_in_an_order() -> None:
    assert Use.SIGNED == USES[4] == str(Use.SIGNED) == f"{Use.SIGNED}" == "signed"
    assert Use("verity") is Use.VERITY
    assert sorted(USES, key=Use) == USES
    assert Use.UNPROTECTED < Use.VERITY < Use.SIGNED < Use.ABSENT and Use.SIGNED >= "signed" > Use.VERITY
    assert pickle.loads(pickle.dumps(Use.SIGNED)) is Use.SIGNED
    with pytest.raises(ValueError, match="luks"):
        Use.SIGNED < "luks"


def test_what_an_author_may_not_have_meant() -> None:
    findings = {finding.code: finding for finding in Policy("root=verity+signed+absent").lint()}
    finding = findings["signed-or-verity"]
    assert (finding.level, finding.designator) == ("warning", "root")
    assert finding.found == "root=verity+signed+absent"
    assert "`+` means or" in finding.message and "`signed` alone" in finding.hint
    assert Policy("signed").lint() == ()


def test_nothing_unknown_is_accepted() -> None:
    for text, code in [
        ("junk", "policy-rule"),
        ("@junk", "policy-rule"),
        ("rot=signed", "policy-designator"),
        ("root=sign", "policy-flag"),
        ("root=signed:root=absent", "policy-rule-twice"),
    ]:
        with pytest.raises(confext.CorruptError) as refused:
            Policy(text)
        assert refused.value.code == code
    with pytest.raises(confext.CorruptError) as refused:
        Rule("root=signed")
    assert refused.value.code == "policy-flag"
    with pytest.raises(confext.RefusedError) as disjoint:
        Policy("root=signed") & Policy("root=absent")
    assert disjoint.value.code == "policy-disjoint" and disjoint.value.hint
    number: Any = 5
    for make in (Policy, Rule, ImageFilter, Policy("signed").is_equivalent):
        with pytest.raises(TypeError, match="found <class 'int'>, expected str or"):
            make(number)
    text = "signed"
    anything: Any = Policy(text)
    combine: list[Callable[[], object]] = [lambda: anything & text, lambda: text | anything, lambda: anything <= text]
    for ask in combine:
        with pytest.raises(TypeError, match="unsupported operand|not supported"):
            ask()
    assert Policy(text) != text and Rule(text) != text


def test_a_policy_is_taken_where_its_text_is(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    image = make({"etc/a": b"a"})
    for policy in ("verity", Policy("verity"), Policy("root=verity")):
        assert confext.verify(image, certificates=(), policy=policy).evidence.kind == "verity"
        assert confext.Image.open(image).verify(certificates=(), policy=policy).evidence.kind == "verity"
    with pytest.raises(confext.UnverifiedError):
        confext.verify(image, certificates=(), policy=Policy("signed"))
    with pytest.raises(confext.RefusedError):
        confext.verify(image, certificates=vendor.certificate, policy=Policy("root=signed+xfs"))
    assert confext.Host(tmp_path, policy=Policy("verity")).policy == Policy("verity")
    assert confext.Host(tmp_path).policy == Policy("signed")


# ---- rules for keys


fingerprints = st.binary(min_size=32, max_size=32).map(bytes.hex)
names = st.text(st.sampled_from("ab*?-._0"), min_size=1, max_size=6)
demands = st.tuples(st.sampled_from(["<", "<=", "=", ">=", ">"]), st.text(st.sampled_from("0123456789.~^"), min_size=1))


@given(fingerprints, st.lists(names, min_size=1, max_size=3), st.lists(demands.map("".join), max_size=3))
def test_key_rules_are_printed_and_parsed(signer: str, names: list[str], versions: list[str]) -> None:
    classes: list[Any] = [None, "confext", "sysext"]
    for class_ in classes:
        rule = KeyRule(signer, *names, class_=class_, versions=versions)
        assert (rule.signer, rule.names, rule.class_, rule.versions) == (signer, tuple(names), class_, tuple(versions))
        rules = KeyRules(rule, KeyRule(signer, "other"))
        assert KeyRules.parse(str(rules).encode()) == pickle.loads(pickle.dumps(rules)) == copy.copy(rules) == rules
        assert rules.rules[0] == rule and hash(rules.rules[0]) == hash(rule)
        assert pickle.loads(pickle.dumps(rule)) == rule
        assert str(rules).splitlines()[0] == str(rule)


def test_key_rules_are_values(make: Make, vendor: confext.KeyPair, tmp_path: Path) -> None:
    image = make({"etc/a": b"a"})
    mine = KeyRules(KeyRule(vendor.fingerprint, "app*", class_="confext"))
    assert confext.verify(image, certificates=vendor.certificate, key_rules=mine).signer is not None
    # Without a rule nobody may sign anything: that is not the same as no rules.
    for rules in (KeyRules(), KeyRules(KeyRule(vendor.fingerprint, "other"))):
        assert rules
        with pytest.raises(confext.RefusedError) as refused:
            confext.verify(image, certificates=vendor.certificate, key_rules=rules)
        assert refused.value.code == "key-rules"
    assert confext.Host(tmp_path, key_rules=mine).policy == Policy("signed")
    signer = vendor.fingerprint
    assert repr(mine) == f"KeyRules(KeyRule(signer='{signer}', names=('app*',), class_='confext', versions=()))"
    match mine.rules[0]:
        case KeyRule(found, ("app*",)):
            assert found == signer
        case _:
            pytest.fail(str(mine))
    with pytest.raises(ValueError, match="signer: found 'CN=vendor', expected 64 lower-case hex digits"):
        KeyRule("CN=vendor", "app")
    with pytest.raises(ValueError, match="names: found none"):
        KeyRule(signer)
    with pytest.raises(ValueError, match="versions: found '1.2', expected <"):
        KeyRule(signer, "app", versions=["1.2"])
    for name, versions in [("a b", ()), ("app class=sysext", ()), ("a,b", ()), ("", ()), ("app", (">=1 2",))]:
        with pytest.raises(confext.CorruptError) as wrong:
            KeyRule(signer, name, versions=versions)
        assert wrong.value.code == "key-rule"
    with pytest.raises(confext.CorruptError):
        KeyRules.parse(b"junk")


# ---- filters


characters = st.sampled_from(["a", "B", "7", "*", "?", "_", ":", "=", "'", '"', "[a-f]", "[!7]", "[[:digit:]]"])
patterns = st.lists(characters, max_size=6).map("".join)


def quoted(pattern: str) -> str:
    """The pattern with each of its characters that is special in a filter in quotes."""
    return "".join({"'": '"\'"', '"': "'\"'"}.get(part, f'"{part}"' if part in ":=" else part) for part in pattern)


@given(st.dictionaries(st.sampled_from(Policy.DESIGNATORS), patterns, max_size=4))
def test_filters_are_printed_and_parsed(patterns: dict[Any, str]) -> None:
    text = ":".join(f"{name}={quoted(pattern)}" for name, pattern in patterns.items())
    image_filter = ImageFilter(text)
    assert image_filter.patterns == patterns
    assert ImageFilter(str(image_filter)) == eval(repr(image_filter)) == image_filter
    assert pickle.loads(pickle.dumps(image_filter)) == image_filter
    assert hash(ImageFilter(str(image_filter))) == hash(image_filter)
    for designator in Policy.DESIGNATORS:
        if designator not in patterns:
            assert image_filter.admits(designator, "anything")


@given(st.text(st.sampled_from("ab7_"), max_size=8), st.text(st.sampled_from("ab7_?*"), max_size=8))
def test_a_pattern_is_that_of_a_shell(label: str, pattern: str) -> None:
    assert ImageFilter(f"root={pattern}").admits("root", label) == fnmatch.fnmatchcase(label, pattern)


def test_filters_are_parsed_strictly() -> None:
    for text, code in [
        ("root", "filter-rule"),
        ("rot=a", "filter-designator"),
        ("root=[a", "filter-pattern"),
        ("root=a:root=b", "filter-rule-twice"),
    ]:
        with pytest.raises(confext.CorruptError) as refused:
            ImageFilter(text)
        assert refused.value.code == code
    assert ImageFilter("").patterns == {} and str(ImageFilter("")) == ""
    assert ImageFilter("root=a") != ImageFilter("usr=a")
