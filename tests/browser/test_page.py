"""The page of `confext report` in a browser: what is seen, found and filtered, and that nothing is loaded or complained of."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from chromium import Browser, Page

ROWS = "[...document.querySelectorAll('.item .label')].map(row => row.innerText)"


def is_quiet(page: Page) -> bool:
    """Nothing was asked for but the page, and nothing said."""
    assert page.requests() == [page.address.split("#")[0]] or page.requests() == [page.address]
    assert page.complaints() == []
    return True


def keep(page: Page, name: str) -> None:
    """A picture for people who look at it, in the directory CONFEXT_PICTURES."""
    if place := os.environ.get("CONFEXT_PICTURES"):
        page.screenshot(Path(place) / f"{name}.png")


def search(page: Page, words: str) -> None:
    page.evaluate("(() => { const field = document.querySelector('#q'); field.focus(); field.select(); })()")
    page.type(words)
    page.settle()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_layers_files_and_refusals_are_there(browser: Browser, small: Path, scheme: str) -> None:
    with browser.open(small, scheme=scheme, size=(1360, 2200)) as page:
        names = page.evaluate("[...document.querySelectorAll('.layer .name b')].map(name => name.innerText)")
        assert names == ["90-hotfix", "50-site", "10-base", "rootkit", "local"]
        evidence = page.evaluate("[...document.querySelectorAll('.layer .evidence')].map(cell => cell.innerText)")
        assert evidence == ["verity", "signed", "signed", "unprotected", "unprotected"]
        assert "CN=site \\<b\\>&amp\\;" in page.text("#layers") and "CN=vendor" in page.text("#layers")
        for part in ("image-empty", "host-os", "fedora"):
            assert part in page.text("#unused"), part
        assert "replaces-os-release" in page.text("#objections")
        assert "90-hotfix\t50-site\t1" in page.text("#overlaps")
        assert page.evaluate("document.title").endswith("confext report")
        dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (dark == "rgb(21, 23, 26)") == (scheme == "dark")
        keep(page, f"small-{scheme}")
        assert is_quiet(page)


def test_hostile_names_are_shown_and_do_nothing(browser: Browser, small: Path) -> None:
    with browser.open(small, "#layer=confext%3Alocal") as page:
        rows = page.evaluate(ROWS)
        shown = "\n".join(rows)
        for name in ("<\u2215script><img src=x onerror=alert(1)>", "bad\\xff\\u{7}name\\n", "\\u{202e}gnp.exe",
                     "<!--<script>"):
            assert name in shown, (name, rows)
        assert page.evaluate("document.querySelectorAll('img, iframe, object, embed, base').length") == 0
        assert page.evaluate("document.querySelectorAll('script').length") == 2
        keep(page, "hostile")
        assert is_quiet(page)


def test_the_policy_of_the_page_lets_nothing_else_run(browser: Browser, small: Path, pages: Path) -> None:
    text = small.read_text(encoding="utf-8")
    changed = pages / "changed.html"
    changed.write_text(text.replace("</main>", "<script>document.title = 'ran'</script><img src=other.png></main>"),
                       encoding="utf-8")
    with browser.open(changed) as page:
        assert page.evaluate("document.title") != "ran"
        assert page.complaints() and page.evaluate("document.documentElement.dataset.ready") == "yes"


def test_files_are_filtered_by_words_layer_signer_and_what_is_the_matter(browser: Browser, small: Path) -> None:
    with browser.open(small) as page:
        total = int(page.text("#said").split()[0])
        search(page, "nginx tls")
        assert page.text("#said") == f"1 of {total} paths"
        assert [row.strip() for row in page.evaluate(ROWS)][-1].endswith("tls.conf")
        search(page, "*.types")
        assert page.text("#said") == f"1 of {total} paths"
        for words, found in (("capital", 1), ("CAPITAL", 1), ("Capital", 0), ("nowhere", 0)):
            search(page, words)
            assert page.text("#said") == f"{found} of {total} paths", words
        search(page, "")
        assert page.text("#said") == f"{total} paths"

        def choose(field: str, value: str) -> int:
            page.evaluate(
                f"(() => {{ const field = document.querySelector('#{field}'); field.value = {json.dumps(value)};"
                "field.dispatchEvent(new Event('change')); })()"
            )
            return int(page.text("#said").split()[0])

        assert choose("layer", "confext:50-site") == 3
        assert choose("show", "shadowing") == 1
        assert choose("layer", "") == 4
        assert choose("show", "objected") == 1
        assert choose("show", "unverified") == 9
        assert choose("show", "") == total
        assert choose("evidence", "signed:CN=vendor") == 3
        assert choose("evidence", "verity") == 2
        assert is_quiet(page)


def test_a_path_shows_its_chain_and_a_link_leads_there_again(browser: Browser, small: Path) -> None:
    with browser.open(small, "#q=tls&path=%2Fetc%2Fnginx%2Fconf.d%2Ftls.conf") as page:
        detail = page.text("#detail")
        assert [detail.index(name) for name in ("90-hotfix", "50-site", "10-base")] == sorted(
            detail.index(name) for name in ("90-hotfix", "50-site", "10-base")
        )
        assert "verity, no signature" in detail and "signed by CN=vendor" in detail
        root_hash = re.search(r"\b[0-9a-f]{64}\b", detail)
        assert root_hash is not None
        keep(page, "chain")
        assert "path=%2Fetc%2Fnginx%2Fconf.d%2Ftls.conf" in page.evaluate("location.hash")
        assert is_quiet(page)


def test_it_can_be_used_by_keyboard(browser: Browser, small: Path) -> None:
    with browser.open(small) as page:
        page.press("/")
        assert page.evaluate("document.activeElement.id") == "q"
        page.type("nginx")
        page.settle()
        page.evaluate("document.querySelector('#list').focus()")
        page.press("Home", "ArrowDown")
        current = "document.querySelector('.item.current .label').innerText.trim()"
        assert page.evaluate(current).endswith("nginx/")
        before = len(page.evaluate(ROWS))
        page.press("ArrowLeft")
        assert len(page.evaluate(ROWS)) < before
        page.press("ArrowRight", "ArrowRight")
        assert len(page.evaluate(ROWS)) == before
        active = page.evaluate("document.querySelector('#list').getAttribute('aria-activedescendant')")
        assert page.evaluate(f"document.getElementById('{active}').getAttribute('aria-selected')") == "true"
        page.press("End")
        assert page.evaluate(current).endswith("nginx.conf")
        # A key for the browser stays the browser's.
        page.press("Tab")
        assert is_quiet(page)


def test_the_other_sections_are_filtered_and_lead_to_files(browser: Browser, small: Path) -> None:
    with browser.open(small) as page:
        page.evaluate("document.querySelector('#finder').focus()")
        page.type("cn=vendor")
        page.settle()
        assert page.text("#layers .count") == "1 of 5"
        page.evaluate("document.querySelector('#finder').select()")
        page.type("empty")
        page.settle()
        assert (page.text("#unused .count"), page.text("#layers .count")) == ("1 of 2", "0 of 5")
        page.click("#layer-2 summary")
        page.click("#layer-2 button")
        assert page.evaluate("document.querySelector('#layer').value") == "confext:10-base"
        assert is_quiet(page)


def test_without_scripts_layers_and_refusals_are_there(browser: Browser, small: Path) -> None:
    with browser.open(small, scripts=False, size=(1360, 1600)) as page:
        assert "10-base" in page.text("#layers") and "image-empty" in page.text("#unused")
        assert "needs JavaScript" in page.text("#files")
        keep(page, "without-scripts")


def test_it_fits_a_narrow_window_and_paper(browser: Browser, small: Path) -> None:
    with browser.open(small, size=(420, 900)) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
        keep(page, "narrow")
    with browser.open(small, size=(794, 2200)) as page:
        page.call("Emulation.setEmulatedMedia", media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate("document.querySelectorAll('.layer:not([open])').length") == 0
        assert page.evaluate("getComputedStyle(document.querySelector('.layer .signer')).display") != "none"
        keep(page, "paper")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.call("Emulation.setEmulatedMedia", media="")
        assert page.pdf().startswith(b"%PDF")
        assert page.evaluate("document.querySelectorAll('.layer[open]').length") == 0, "opened for paper only"
        assert is_quiet(page)


def test_a_hundred_layers_and_fifty_thousand_files(browser: Browser, large: Path) -> None:
    assert large.stat().st_size < 2 << 20
    with browser.open(large, size=(1360, 900)) as page:
        assert page.evaluate("document.querySelectorAll('.layer').length") == 100
        shown = page.evaluate("performance.getEntriesByName('shown')[0].startTime")
        print(f"large: {large.stat().st_size} bytes, shown after {shown:.0f} ms")
        total = page.text("#said").replace(",", "")
        assert int(total.split()[0]) > 46_000
        search(page, "app-42 file-07")
        assert page.text("#said").startswith("9 of ")
        search(page, "")
        page.evaluate(
            "(() => { const field = document.querySelector('#show'); field.value = 'shadowing';"
            "field.dispatchEvent(new Event('change')); })()"
        )
        found = re.fullmatch(r"([0-9,]+) of [0-9,]+ paths", page.text("#said"))
        assert found is not None and found[1] == page.text(".figures div:nth-child(6) dd")
        # However many there are, only those that can be seen are elements.
        page.evaluate("[...document.querySelectorAll('button')].find(one => one.innerText == 'Open all').click()")
        page.evaluate("document.querySelector('#list').scrollTop = 1e9")
        page.settle()
        assert 10 < page.evaluate("document.querySelectorAll('.item').length") < 120
        keep(page, "large")
        assert is_quiet(page)
