"""The report of a real pair of models, opened in a real browser."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from peelverify.certify import Certificate, certify, checker, verify
from peelverify.compress import compression_record
from peelverify.lean.theorems import find_theorem
from peelverify.models import load_tokenizer, save_model
from peelverify.models.small import byte_tokenizer, small_decoder, train_decoder
from peelverify.report.html import Pair, write_report
from peelverify.report.visible import visible
from peelverify.rho import measure_rho

BROWSER, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--disable-dev-shm-usage", "--force-color-profile=srgb",
)
TRAP = "document.title='owned';window.owned=1"
HOSTILE = f"<img src=x onerror={TRAP}>\u202e&quot;<b>bold<"
SECTIONS = [
    "Summary", "Training status", "Error propagation", "Compression", "What was checked", "What this does not say",
]


def _peel(name: str) -> dict[str, Any]:
    rows = [(0, 5.5, 3.9, "RED"), (20, 3.8, 3.6, "YELLOW"), (40, 3.2, 3.4, "GREEN")]
    return {
        "schema": "peelverify.peel/1", "unit": "nats_per_token",
        "about": {"solver": "closed-form", "fitted_tokens": 512, "deciding_tokens": 512,
                  "decided_on": "held-out tokens"},
        "checkpoints": [
            {
                "name": f"{name}{step}", "step": step, "loss": loss, "yes0": 4.25, "yes0_running": 4.25,
                "best": best, "best_running": best, "best_map": [1, 3, 3], "by_k": [best, best], "refit": best + 0.5,
                "status": status, "status_running": status, "gap_of_best": loss - best,
                "gap_of_best_standard_error": 0.0625,
                "per_layer_yes0": [0.75, 0.5, 0.25], "per_layer_model": [1.5, 0.5, 0.0],
                "per_layer_unit": "squared_distance_to_last_state_over_its_variance",
                "maps": [{"map": m, "loss": best + i / 4} for i, m in enumerate([[1, 3, 3], [1, 2, 3], [3, 3, 3]])],
            }
            for step, loss, best, status in rows
        ],
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two small models, one rounded to 16 levels and one with a block deleted, certified, verified and reported.

    The folder of the first compressed model has a hostile name, and so have its record and a checkpoint.
    """
    root = tmp_path_factory.mktemp("run")
    tokenizer, view = byte_tokenizer(), small_decoder(blocks=3, width=32, heads=4, length=32)
    text = "The quick brown fox jumps over the lazy dog. " * 80
    ids = torch.tensor(tokenizer(text)["input_ids"][:3200]).reshape(-1, 32)
    train_decoder(view, ids, steps=25, batch=8, learning_rate=5e-3)
    original = save_model(view, root / "base", tokenizer=tokenizer)
    rounded = copy.deepcopy(view)
    with torch.no_grad():
        for parameter in rounded.model.parameters():
            if parameter.ndim == 2:
                step = parameter.abs().amax(dim=1, keepdim=True) / 7
                parameter.copy_((parameter / step).round() * step)
    shorter = copy.deepcopy(view)
    del shorter.model.model.layers[1]
    shorter.model.config.num_hidden_layers = 2
    for index, layer in enumerate(shorter.model.model.layers):
        layer.self_attn.layer_idx = index
    pairs = []
    for name, model, kept in ((HOSTILE, rounded, None), ("without-1", shorter, [0, 2])):
        record = compression_record(name, depth=3, kept=kept, note=name)
        target = save_model(model, root / name.replace("/", "_"), tokenizer=load_tokenizer(original))
        certificate = certify(original, target, ids[:4], lean=False, kept=kept)
        path = certificate.save(root / f"{len(pairs)}.cert.json")
        recompute = {"original": original, "compressed": target} if kept is None else {}
        pairs.append(Pair(certificate, verify(path, lean=False, **recompute), record, f"../{path.name}"))
    named = {entry["name"] for pair in pairs for entry in pair.certificate.document["theorems"]}
    page = write_report(
        root, model={"name": "base", "family": "llama", "blocks": 3, "parameters": 12345}, peel=_peel(HOSTILE),
        rho=measure_rho(view, ids[:4], draws=3).to_json(), pairs=pairs, lean={"road": HOSTILE},
        ranking={"criterion": HOSTILE, "scores": [0.5, 0.125, 0.75], "order": [1, 0, 2]},
        theorems=[find_theorem(name) for name in sorted(named)],
    )
    return SimpleNamespace(page=page, pairs=pairs, url=page.as_uri())


class Browser:
    """Chromium with the page open; counts what the page logs and loads."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def run(self, script: str, *arguments: Any) -> Any:
        """Evaluate a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def open(self, url: str, *, width: int = 1280, dark: bool = False) -> None:
        """Open the page at a width and in a colour scheme."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        self.driver.get(url)

    def picture(self) -> bytes:
        """PNG of the window."""
        return base64.b64decode(self.driver.get_screenshot_as_base64())


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser of its own with an empty profile. A missing browser fails the tests: a skip would hide the page."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    for program in (BROWSER, DRIVER):
        assert program.is_file(), f"the browser tests need {program}; apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@pytest.fixture
def page(browser: Browser, made: SimpleNamespace) -> Browser:
    """The report, freshly opened in a wide light window."""
    browser.driver.get_log("browser")
    browser.driver.get_log("performance")
    browser.open(made.url)
    return browser


def _requests(driver: Any) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def test_page_opens_without_errors_and_loads_nothing_else(page: Browser, made: SimpleNamespace) -> None:
    """The console stays empty, and the only request is the file itself."""
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.run("window.scrollTo(0, document.body.scrollHeight)")
    assert page.driver.get_log("browser") == []
    assert _requests(page.driver) == [made.url]


def test_the_request_log_would_show_a_request(browser: Browser, tmp_path: Path) -> None:
    """The check above can fail: a page with a picture makes a second request and an error in the console."""
    browser.driver.get_log("browser")
    browser.driver.get_log("performance")
    (tmp_path / "a.html").write_text("<img src='missing.png'>")
    browser.open((tmp_path / "a.html").as_uri())
    assert len(_requests(browser.driver)) == 2
    assert browser.driver.get_log("browser")


def test_sections_come_in_order(page: Browser) -> None:
    """The six sections have their headings in order, below one title, and the navigation leads to each."""
    assert page.run("return [...document.querySelectorAll('h2')].map(h => h.innerText)") == SECTIONS
    assert page.run("return [...document.querySelectorAll('h1')].map(h => h.innerText)") == ["base"]
    links = page.run("return [...document.querySelectorAll('nav a')].map(a => [a.innerText, a.hash])")
    assert [text for text, _ in links] == SECTIONS
    for _, target in links:
        top = page.run("location.hash = arguments[0]; return document.querySelector(arguments[0]) !== null", target)
        assert top is True


@pytest.mark.parametrize("width", [400, 1280])
def test_every_plot_is_visible(page: Browser, made: SimpleNamespace, width: int) -> None:
    """Each of the 15 plots is drawn: it has a size, and so have text and lines inside it, all within its frame."""
    page.open(made.url, width=width)
    sizes = page.run(
        """return [...document.querySelectorAll('svg.plot')].map(s => {
            const box = e => e.getBoundingClientRect();
            const r = box(s), inside = [...s.querySelectorAll('text')].map(box);
            const lines = [...s.querySelectorAll('path, use')].filter(p => box(p).width > 5).length;
            const out = inside.filter(t => t.left < r.left - 12 || t.right > r.right + 12).length;
            return [s.getAttribute('aria-labelledby'), r.width, r.height, inside.length, lines, out];
        })"""
    )
    assert len(sizes) == 15  # 3 of peeling, 3 of rho, 1 ranking, 4 a pair
    for name, wide, high, texts, lines, out in sizes:
        assert wide >= min(300, width - 60), name
        assert high >= 130, name
        assert texts >= 4, name
        assert lines >= 3, name
        assert out == 0, f"{out} labels of {name} leave the frame"


@pytest.mark.parametrize("width", [320, 400, 768, 1280])
def test_page_never_scrolls_sideways(page: Browser, made: SimpleNamespace, width: int) -> None:
    """At no width does the page itself overflow, even with everything unfolded; wide tables scroll inside."""
    page.open(made.url, width=width)
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    wide, window = page.run("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert window == width
    assert wide <= width
    outside = page.run(
        """return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && !e.closest('svg')
            && e.getBoundingClientRect().right > window.innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert outside == []


def test_tables_that_scroll_can_be_reached_by_keyboard(page: Browser) -> None:
    """Every table stands in a labelled region that takes the focus."""
    assert page.run(
        """return [...document.querySelectorAll('table')].every(t => {
            const s = t.closest('.scroll');
            return s && s.tabIndex === 0 && s.getAttribute('role') === 'region' && s.getAttribute('aria-label');
        })"""
    )


def test_hostile_names_are_text(page: Browser, made: SimpleNamespace) -> None:
    """The name that tries to run code is shown letter by letter; nothing ran and no element came of it."""
    assert page.driver.title == "base: peelverify report"
    assert page.run("return window.owned === undefined")
    assert page.run("return document.querySelectorAll('img, script, b, iframe').length") == 0
    shown = page.run("return document.querySelector('#pair-1 h3').textContent")
    assert shown == visible(HOSTILE)
    assert "[U+202E]" in shown
    assert page.run("return document.body.textContent").count(visible(HOSTILE)) >= 6


def test_numbers_equal_those_of_the_certificates(page: Browser, made: SimpleNamespace) -> None:
    """Each number on the page that has a name is, exactly, the number of the certificate file."""
    shown = page.run(
        "return [...document.querySelectorAll('data[data-field]')].map(d => [d.dataset.field, d.value, d.innerText])"
    )
    found: dict[str, set[str]] = {}
    for name, value, text in shown:
        assert text
        found.setdefault(name, set()).add(value)
    assert all(len(values) == 1 for values in found.values())
    for number, pair in enumerate(made.pairs, start=1):
        certificate: Certificate = pair.certificate
        numbers = certificate.document["numbers"]
        same, positions = certificate.same_top
        expected = {
            "bound": numbers["portable"], "chain": numbers["blocks"][-1]["chain"],
            "direct": numbers["blocks"][-1]["error"][1], "direct_low": numbers["blocks"][-1]["error"][0],
            "loss_change_mean": numbers["units"]["loss_change_mean"],
            "loss_change_max": numbers["units"]["loss_change_max"], "same_top": f"{same}/{positions}",
            **{f"error.{i}": b["error"][1] for i, b in enumerate(numbers["blocks"], start=1)},
            **{f"chain.{i}": b["chain"] for i, b in enumerate(numbers["blocks"], start=1)},
        }
        for name, value in expected.items():
            assert found[f"pair-{number}.{name}"] == {value}, name
        assert checker.parse(expected["bound"]) == certificate.bound
    summary = page.run("return document.querySelector('#summary').innerText")
    for pair in made.pairs:
        percent = 100 * pair.certificate.same_top[0] / pair.certificate.same_top[1]
        assert f"{percent:.4g}"[:4] in summary


def test_verdicts_are_those_of_the_verification(page: Browser, made: SimpleNamespace) -> None:
    """The pair that was recomputed holds; the one that was not is only consistent, and both say so."""
    shown = page.run("return [...document.querySelectorAll('#summary .verdict .word')].map(e => e.textContent)")
    assert shown == ["holds", "consistent"]
    assert "not tied to any model" in page.run("return document.querySelector('#summary').innerText")
    assert "level recompute was not run" in page.run("return document.querySelector('#limits').innerText")


def test_dark_theme_reaches_page_and_plots(page: Browser, made: SimpleNamespace) -> None:
    """With a dark system theme the background is dark and the text light, in plots too; and the other way round."""
    script = """
        const parts = c => c.match(/[\\d.]+/g).map(Number);
        const light = c => 0.2126 * parts(c)[0] + 0.7152 * parts(c)[1] + 0.0722 * parts(c)[2];
        const style = e => getComputedStyle(e);
        return [light(style(document.querySelector('section')).backgroundColor), light(style(document.body).color),
                light(style(document.querySelector('svg.plot text')).fill)];
    """
    paper, ink, label = page.run(script)
    assert paper > 230
    assert ink < 70
    assert label < 120
    page.open(made.url, dark=True)
    paper, ink, label = page.run(script)
    assert paper < 50
    assert ink > 200
    assert label > 140


CONTRAST = """
const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
const over = (a, b) => a.slice(0, 3).map((v, i) => v * a[3] + b[i] * (1 - a[3]));
const lum = c => c.slice(0, 3).map(v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; })
    .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
function ground(e) {
  const layers = [];
  for (; e; e = e.parentElement) {
    layers.push(parse(getComputedStyle(e).backgroundColor));
    if (layers[layers.length - 1][3] === 1) break;
  }
  return layers.reverse().reduce((b, c) => over(c, b), [255, 255, 255]);
}
document.querySelectorAll('details').forEach(d => d.open = true);
const bad = []; let seen = 0;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
  const apart = 'style, title, desc, .sr, .skip, [id^="maps-"]';  // cells of the heat map: see the unit tests
  if (!text || e.closest(apart) || !e.getClientRects().length) continue;
  const s = getComputedStyle(e), svg = e.closest('svg');
  const back = ground(svg ? svg.parentElement : e), front = over(parse(svg ? s.fill : s.color), back);
  const [a, b] = [lum(front), lum(back)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
  const size = parseFloat(s.fontSize), large = size >= 24 || (size >= 18.66 && s.fontWeight >= 700);
  seen++;
  if (ratio < (large ? 3 : 4.5)) bad.push([text.slice(0, 40), ratio.toFixed(2), e.className.baseVal || e.className]);
}
return [seen, bad];
"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast(page: Browser, made: SimpleNamespace, dark: bool) -> None:
    """All text reaches WCAG AA, 4.5 to 1 (3 to 1 where large), in both themes, unfolded, plots included."""
    page.open(made.url, dark=dark)
    seen, bad = page.run(CONTRAST)
    assert seen > 400
    assert bad == []


def test_the_contrast_check_goes_red(page: Browser, made: SimpleNamespace) -> None:
    """The check above can fail: paler notes are found."""
    page.open(made.url)
    page.run("document.documentElement.style.setProperty('--muted', '#a0a8b4')")
    _, bad = page.run(CONTRAST)
    assert len(bad) > 20


def test_small_text_stays_readable(page: Browser, made: SimpleNamespace) -> None:
    """On a phone no text is smaller than 10 pixels and no label of a plot smaller than 7."""
    page.open(made.url, width=400)
    small = page.run(
        """const found = [];
        for (const e of document.querySelectorAll('main *, footer *')) {
          if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
          if (!e.getClientRects().length) continue;
          const svg = e.closest('svg');
          const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
          const size = parseFloat(getComputedStyle(e).fontSize) * scale;
          if (!e.closest('title, desc') && size < (svg ? 7 : 10)) found.push([e.textContent.slice(0, 30), size]);
        }
        return found;"""
    )
    assert small == []


def test_page_prints(page: Browser, made: SimpleNamespace) -> None:
    """The page prints to several pages of A4, without navigation, and no table is wider than the paper."""
    page.open(made.url, dark=True)
    printed = page.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
    document = base64.b64decode(printed["data"])
    assert document.startswith(b"%PDF")
    assert document.count(b"/Type /Page\n") >= 4
    page.open(made.url, width=687)  # 210 mm less two margins of 14 mm
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    hidden, wide = page.run(
        "return [getComputedStyle(document.querySelector('nav')).display, document.documentElement.scrollWidth]"
    )
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert hidden == "none"
    assert wide <= 687


MATHS = """
const box = e => e.getBoundingClientRect();
const found = [...document.querySelectorAll('math')].map(m => {
  const signs = [...m.querySelectorAll('mi, mo, mn')].filter(e => e.textContent.trim());
  const stacks = [...m.querySelectorAll('munderover')].map(e => {
    const [sign, under, over] = [...e.children].map(box);
    return under.top >= sign.top + sign.height / 2 && over.bottom <= sign.bottom - sign.height / 2;
  });
  return [box(m).width, box(m).height, signs.length, signs.filter(e => !(box(e).width * box(e).height)).length, stacks];
});
return [found, (document.body.innerText.match(/\\\\[A-Za-z]+|\\\\[{}]/g) || [])];
"""


@pytest.mark.parametrize("width", [400, 1280])
def test_formulas_are_laid_out(page: Browser, made: SimpleNamespace, width: int) -> None:
    """Every formula has a size, every sign in it too, limits stand above and below their sign, and no LaTeX is seen."""
    page.open(made.url, width=width)
    found, latex = page.run(MATHS)
    named = {entry["name"] for pair in made.pairs for entry in pair.certificate.document["theorems"]}
    assert len(found) == 4 + len(named)
    stacked = 0
    for wide, high, signs, flat, stacks in found:
        assert wide > 60
        assert high > 12
        assert signs >= 5
        assert flat == 0
        assert all(stacks)
        stacked += len(stacks)
    assert stacked >= 5
    assert latex == []


def test_the_check_of_formulas_goes_red(page: Browser, made: SimpleNamespace) -> None:
    """A hidden formula and a piece of LaTeX in the text are both found."""
    page.run("document.querySelector('math').style.display = 'none'")
    page.run("document.querySelector('h1').append('\\\\frac{a}{b}')")
    found, latex = page.run(MATHS)
    assert found[0][0] == 0
    assert latex == ["\\frac"]


def test_pictures_are_not_blank(page: Browser, made: SimpleNamespace) -> None:
    """What is on the screen at the top and at a plot has many colours, so something is really painted."""
    import io

    import numpy as np
    from matplotlib.image import imread

    for target in ("h1", "#training svg.plot", "#pair-1 svg.plot"):
        page.run("document.querySelector(arguments[0]).scrollIntoView({behavior: 'instant', block: 'center'})", target)
        pixels = (imread(io.BytesIO(page.picture()), format="png")[..., :3] * 255).astype(np.uint8)
        assert len(np.unique(pixels.astype(np.uint32) @ np.array([1, 256, 65536], dtype=np.uint32))) > 50
