"""The page of results: what is in it, and how it behaves in a browser."""

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pytorch_grad_cam.cli.report import write_report

RNG = np.random.default_rng(0)
HOSTILE = [
    "<img src=x onerror=window.hacked=1>.jpg",
    "</script><script>window.hacked=1</script>.jpg",
    "<!--<script>.jpg",
    "\"'`${window.hacked=1} &lt;b&gt;.jpg",
    "line\u2028separator\u2029and\u0085next.jpg",
    "Österreich 日本 🐕.jpg",
    "lone surrogate \udcff.jpg",  # as Python reads a file name that is no UTF-8
]


def row(path, class_name="cat", score=1.0, method="gradcam", **more):
    return {
        "path": path, "class": class_name, "index": 3, "score": score, "method": method, "layer": "features.3",
        "box": [10, 5, 30, 25], "overlay": None, "maps": None, "seconds": 0.25, "warnings": [], "error": None,
    } | more  # fmt: skip


def write_table(folder, rows):
    folder.mkdir(exist_ok=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))


def save_picture(path, size=(60, 40), colour=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    pixels = RNG.integers(0, 256, (height, width, 3), np.uint8) if colour is None else colour
    (Image.fromarray(pixels) if colour is None else Image.new("RGB", size, colour)).save(path)


class Page(HTMLParser):
    """Tags, attributes and the text of scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = attrs, text + data

    @property
    def rows(self):
        return next(json.loads(text) for attrs, text in self.scripts if attrs.get("id") == "rows")

    def thumbnail(self, reference):
        name = f"thumbnail-{reference['id']}"
        text = next(text for attrs, text in self.scripts if attrs.get("id") == name)
        return Image.open(io.BytesIO(base64.b64decode(text, validate=True)))


@pytest.fixture
def folders(tmp_path):
    """A folder of results, one of originals: two pictures with two methods, a broken one."""
    results, originals = tmp_path / "results", tmp_path / "originals"
    rows = []
    for name, class_name, score in (("b/one.png", "cat", 2.0), ("a/two.png", "dog", 7.5)):
        save_picture(originals / name, colour="green")
        for method in ("gradcam", "layercam"):
            save_picture(results / method / f"{name}.jpg", colour="red")
            rows.append(row(name, class_name, score, method, overlay=f"{method}/{name}.jpg"))
    rows[3]["warnings"] = ["1 of 1 maps are blank"]
    rows[3]["box"] = [0, 0, 0, 0]
    (originals / "broken.png").write_bytes(b"")
    rows.append({"path": "broken.png", "error": "the file is empty"})
    write_table(results, rows)
    return results, originals


def test_the_page_needs_nothing_else(folders):
    text = write_report(*folders).read_text("utf-8")
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base")
        assert attributes.get("href", "data:").startswith(("data:", "#"))
        assert "src" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
    assert "@import" not in text
    assert "url(" not in text
    policy = next(attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes)
    (code,) = [script for attributes, script in page.scripts if not attributes]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}';" in policy
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)", text)


def test_each_picture_has_its_rows_and_small_copies(folders):
    page = Page(write_report(*folders).read_text("utf-8"))
    assert page.rows["methods"] == {"gradcam": "GradCAM", "layercam": "LayerCAM"}
    one, two, broken = page.rows["images"]
    assert [one["path"], two["path"], broken["path"]] == ["b/one.png", "a/two.png", "broken.png"]
    assert [result["method"] for result in two["results"]] == ["gradcam", "layercam"]
    assert [result["blank"] for result in two["results"]] == [False, True]
    assert one["original"]["size"] == [60, 40]
    for reference, red, green in ((one["original"], 0, 128), (one["results"][1]["overlay"], 255, 0)):
        assert np.abs(np.asarray(page.thumbnail(reference)).mean((0, 1)) - (red, green, 0)).max() < 3
    assert broken["original"] is None
    assert broken["results"][0]["error"] == "the file is empty"
    assert broken["results"][0]["warnings"] == []


@pytest.mark.parametrize(("size", "small"), [((600, 300), (64, 32)), ((50, 20), (50, 20)), ((30000, 2), (64, 1))])
def test_copies_are_small(tmp_path, size, small):
    save_picture(tmp_path / "picture.png", size)
    write_table(tmp_path, [row("picture.png")])
    page = Page(write_report(tmp_path, tmp_path, side=64).read_text("utf-8"))
    original = page.rows["images"][0]["original"]
    assert tuple(original["size"]) == size
    assert page.thumbnail(original).size == small


def test_without_originals_or_overlays_the_rows_remain(folders):
    results, _ = folders
    shutil.rmtree(results / "layercam")
    one = Page(write_report(results).read_text("utf-8")).rows["images"][0]
    assert one["original"] is None
    assert one["results"][0]["overlay"] is not None
    assert one["results"][1]["overlay"] is None


def test_names_are_data(tmp_path):
    rows = [row(name, class_name=name, method=name, warnings=[name], error=name, layer=name) for name in HOSTILE]
    write_table(tmp_path, rows)
    page = Page(write_report(tmp_path).read_text("utf-8"))
    assert len(page.scripts) == 2
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert [entry["path"] for entry in page.rows["images"]] == HOSTILE
    assert [entry["results"][0]["class"] for entry in page.rows["images"]] == HOSTILE


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None])
def test_a_score_that_is_no_number(tmp_path, score):
    write_table(tmp_path, [row("a.png", score=score)])
    assert Page(write_report(tmp_path).read_text("utf-8")).rows["images"][0]["results"][0]["score"] is None


@pytest.mark.parametrize("line", ['{"path": "cut o', "[]", '{"error": "whose?"}', "", "7"])
def test_a_damaged_table_is_named(tmp_path, line):
    (tmp_path / "results.jsonl").write_text(json.dumps(row("a.png")) + f"\n{line}\n")
    with pytest.raises(ValueError, match=r"line 2 of '.*results\.jsonl' is"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="results.jsonl"):
        write_report(tmp_path)


def test_no_rows(tmp_path):
    write_table(tmp_path, [])
    assert Page(write_report(tmp_path).read_text("utf-8")).rows["images"] == []


def luminance(colour):
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back", "least"),
    [(front, back, 4.5) for front in ("text", "muted", "accent") for back in ("page", "card")]
    + [("text", "field", 4.5), ("muted", "empty", 4.5), ("warning", "card", 4.5), ("error", "card", 4.5)]
    + [("edge", "field", 3), ("edge", "page", 3), ("accent", "card", 3)],
)
def test_contrast_is_that_of_wcag_aa(tmp_path, scheme, front, back, least):
    write_table(tmp_path, [])
    blocks = re.findall(r":root \{(.*?)\}", write_report(tmp_path).read_text("utf-8"), re.S)
    colours = dict(re.findall(r"--(\w+): (#\w{6})", blocks[scheme]))
    low, high = sorted(luminance(colours[name]) for name in (front, back))
    assert (high + 0.05) / (low + 0.05) >= least


# ---- In a browser


in_browser = pytest.mark.xdist_group("chromium")  # with --dist loadgroup one worker starts it, and once


@pytest.fixture(scope="module")
def chromium():
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, which is not installed")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver), which are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as chromium:
        yield chromium


class Reader:
    """What a person does with a page that was moved to a place of its own."""

    def __init__(self, chromium, report, alone, width=1280, height=900, scheme="light"):
        self.chromium = chromium
        self.size(width, height)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        alone.mkdir(exist_ok=True)
        chromium.get(shutil.copy(report, alone / "page.html").as_uri())

    def size(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def js(self, code):
        return self.chromium.execute_script(f"return {code}")

    def until(self, code):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.chromium, 10).until(lambda _: self.js(code), code)

    def choose(self, element, value):
        self.js(
            f"byId('{element}').value = '{value}', byId('{element}').dispatchEvent(new Event('input', {{bubbles: 1}}))"
        )

    def press(self, *keys):
        from selenium.webdriver import ActionChains, Keys

        for key in keys:
            ActionChains(self.chromium).send_keys(getattr(Keys, key)).perform()

    @property
    def shown(self):
        titles = "[...document.querySelectorAll('.card h2')]"
        return self.js(titles + ".map((title) => title.textContent.toWellFormed())")

    @property
    def count(self):
        return self.js("byId('count').textContent")

    def picture(self):
        png = self.chromium.get_screenshot_as_png()
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.fixture
def reader(chromium, folders, tmp_path):
    return Reader(chromium, write_report(*folders), tmp_path / "alone")


@in_browser
def test_pictures_and_overlays_stand_side_by_side(reader):
    # an original, and two methods with the original beneath
    reader.until(
        "[...document.querySelectorAll('.card:nth-child(1) img')].filter((i) => i.naturalWidth == 60).length == 5"
    )
    assert reader.js("document.querySelector('.card').innerText").split("\n\n")[0].startswith("b/one.png")
    captions = reader.js("[...document.querySelectorAll('.card:nth-child(1) figcaption')].map((c) => c.textContent)")
    assert captions == ["Original", "GradCAM", "LayerCAM"]
    assert "cat" in reader.js("document.querySelector('.verdict').textContent")
    assert "score 2" in reader.js("document.querySelector('.verdict').textContent")
    reasons = reader.js("[...document.querySelectorAll('.note')].map((note) => note.textContent)")
    assert reasons == ["Warning: LayerCAM: 1 of 1 maps are blank", "Error: the file is empty"]
    assert reader.js("performance.getEntriesByType('resource').filter((r) => !r.name.startsWith('data:')).length") == 0
    assert reader.chromium.get_log("browser") == []


@in_browser
@pytest.mark.parametrize(
    ("others", "above", "beneath"),
    [
        ({"score": 2.0001}, "catscore 2", ["GradCAM", "LayerCAM"]),
        ({"score": 3}, "cat", ["GradCAM: cat, 2", "LayerCAM: cat, 3"]),
        ({"class_name": "dog"}, "cat / dog", ["GradCAM: cat, 2", "LayerCAM: dog, 2"]),
        ({"class_name": None, "score": None, "error": "out of memory"}, "catscore 2", ["GradCAM", "LayerCAM"]),
    ],
    ids=["rounding", "score", "class", "failed"],
)
def test_class_and_score_stand_above_what_shares_them(chromium, tmp_path, others, above, beneath):
    write_table(tmp_path, [row("a.png", score=2), row("a.png", method="layercam", **{"score": 2} | others)])
    reader = Reader(chromium, write_report(tmp_path), tmp_path / "alone")
    assert reader.js("document.querySelector('.verdict').textContent") == above
    assert reader.js("[...document.querySelectorAll('figcaption')].map((c) => c.textContent)") == beneath


@in_browser
def test_filters(reader):
    assert reader.count == "3 of 3 images"
    for element, value, expected in [
        ("class", "dog", ["a/two.png"]),
        ("state", "errors", ["broken.png"]),
        ("state", "warnings", ["a/two.png"]),
        ("state", "blank", ["a/two.png"]),
        ("state", "clean", ["b/one.png"]),
        ("search", "B/O", ["b/one.png"]),
        ("search", "nothing", []),
    ]:
        reader.choose(element, value)
        assert (element, value, reader.shown) == (element, value, expected)
        assert reader.count == f"{len(expected)} of 3 images"
        assert reader.js("!byId('none').hidden") == (not expected)
        reader.js("document.querySelector('[type=reset]').click()")
        reader.until("byId('count').textContent == '3 of 3 images'")


@in_browser
def test_a_method_that_is_not_chosen_hides_what_it_found(reader):
    reader.js("document.querySelector('[name=method][value=layercam]').click()")
    assert reader.js("[...document.querySelectorAll('.card:nth-child(2) figure:not([hidden])')].length") == 2
    reader.choose("state", "warnings")
    assert reader.shown == []


@in_browser
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("table", ["b/one.png", "a/two.png", "broken.png"]),
        ("path", ["a/two.png", "b/one.png", "broken.png"]),
        ("down", ["a/two.png", "b/one.png", "broken.png"]),
        ("up", ["b/one.png", "a/two.png", "broken.png"]),
    ],
)
def test_orders(reader, order, expected):
    reader.choose("order", order)
    assert reader.shown == expected


@in_browser
def test_the_slider_fades_by_arrow_keys(reader):
    opacity = "Number(getComputedStyle(document.querySelector('.heat')).opacity)"
    reader.until("document.querySelector('.heat')")
    assert reader.js(opacity) == 1
    reader.js("document.querySelector('.fade').focus()")
    reader.press("ARROW_LEFT", "ARROW_LEFT")
    reader.until(f"Math.abs({opacity} - 0.98) < 1e-4")
    reader.press("HOME")
    reader.until(f"{opacity} == 0")
    assert reader.js("document.querySelector('.fade').getAttribute('aria-valuetext')") == "0 percent heat map"


@in_browser
def test_where_the_original_is_missing_the_overlay_stays(chromium, folders, tmp_path):
    reader = Reader(chromium, write_report(folders[0]), tmp_path / "alone")
    reader.js("fade(0)")
    reader.until("document.querySelector('.heat')")
    assert reader.js("getComputedStyle(document.querySelector('.heat')).opacity") == "1"


@in_browser
def test_large_view_by_keyboard(reader):
    title = "byId('title').textContent"
    reader.js("document.querySelector('.card button').focus()")
    reader.press("ENTER")
    assert reader.until("document.querySelector('dialog').open")
    assert reader.js(title) == "b/one.png"
    assert "features.3" in reader.js("document.querySelector('.detail').textContent")
    reader.press("ARROW_RIGHT", "ARROW_RIGHT", "ARROW_RIGHT", "ARROW_LEFT")
    assert reader.until(f"{title} === 'a/two.png'")
    reader.press("ESCAPE")
    reader.until("!document.querySelector('dialog').open")
    assert reader.until("document.activeElement.textContent === 'a/two.png'")


@in_browser
def test_boxes_lie_where_the_rows_say(reader):
    reader.until("document.querySelector('.frame rect')")
    reader.js("byId('boxes').click()")
    found = reader.js("""(() => {
        const frame = document.querySelector('.frame:has(rect)');
        const [outer, inner] = [frame, frame.querySelector('rect')].map((one) => one.getBoundingClientRect());
        return [inner.left - outer.left, inner.top - outer.top, inner.width, inner.height].map((x) => x / outer.width);
    })()""")
    # a picture of 60 x 40 in the middle of a square of 60 x 60
    np.testing.assert_allclose(found, np.array([10, 15, 20, 20]) / 60, atol=0.02)
    assert len(reader.js("[...document.querySelectorAll('rect')]")) == 3  # a blank map has no region


@in_browser
def test_names_are_shown_and_never_run(chromium, tmp_path):
    rows = [row(name, class_name=name, method=name, warnings=[name], error=name, layer=name) for name in HOSTILE]
    write_table(tmp_path / "results", rows)
    reader = Reader(chromium, write_report(tmp_path / "results"), tmp_path / "alone")
    assert reader.shown[:-1] == HOSTILE[:-1]
    assert reader.shown[-1] == HOSTILE[-1].replace("\udcff", "\ufffd")
    for position in range(len(HOSTILE)):
        reader.js(f"document.querySelectorAll('.card button')[{position}].click()")
    assert reader.js("window.hacked") is None
    assert reader.js("document.querySelectorAll('script').length") == 2
    assert reader.chromium.get_log("browser") == []


@in_browser
def test_thumbnails_come_and_go_with_their_cards(chromium, tmp_path):
    for number in range(300):
        save_picture(tmp_path / f"{number}.png", (20, 20))
    write_table(tmp_path, [row(f"{number}.png") for number in range(300)])
    reader = Reader(chromium, write_report(tmp_path, tmp_path), tmp_path / "alone")
    first, last = (f"document.querySelector('.card:{end}-child img')?.naturalWidth > 0" for end in ("first", "last"))
    reader.until(first)
    assert reader.js("document.images.length") < 150
    reader.js("scrollTo(0, document.body.scrollHeight)")
    reader.until(last)
    reader.until(f"!({first})")
    assert reader.js("document.images.length") < 150


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(chromium, folders, tmp_path, scheme):
    reader = Reader(chromium, write_report(*folders), tmp_path / "alone", 360, 740, scheme)
    reader.until("document.querySelector('.heat')?.naturalWidth > 0")
    assert reader.js("document.documentElement.scrollWidth") == 360
    assert not reader.js("document.querySelector('details').open")
    reader.js("document.querySelector('summary').click()")
    assert reader.js("document.documentElement.scrollWidth") == 360
    reader.js("document.querySelector('.card button').click()")
    assert reader.js("document.querySelector('dialog').scrollWidth <= 344")


@in_browser
@pytest.mark.parametrize(("scheme", "background"), [("light", (244, 245, 247)), ("dark", (15, 19, 24))])
def test_a_screenshot(chromium, folders, tmp_path, scheme, background):
    reader = Reader(chromium, write_report(*folders), tmp_path / "alone", scheme=scheme)
    reader.until("document.querySelectorAll('.heat').length == 4")
    reader.until("[...document.images].every((image) => image.complete)")
    pixels = reader.picture().reshape(-1, 3).astype(int)
    share = {
        name: (np.abs(pixels - colour).max(1) < 12).mean()
        for name, colour in {"background": background, "original": (0, 128, 0), "overlay": (255, 0, 0)}.items()
    }
    assert share["background"] > 0.2
    assert share["original"] > 0.02
    assert share["overlay"] > 1.5 * share["original"]


def test_a_row_of_a_blank_map_as_a_folder_run_writes_it(folders):
    """Without a box, and with the cause alone as its warning."""
    results, _ = folders
    rows = [json.loads(line) for line in (results / "results.jsonl").read_text("utf-8").split("\n") if line]
    rows[0] |= {"box": None, "warnings": ["the score's gradient is 0 everywhere at layer 'conv5'"]}
    write_table(results, rows)
    one, _, broken = Page(write_report(*folders).read_text("utf-8")).rows["images"]
    assert [result["blank"] for result in one["results"]] == [True, False]
    assert [result["blank"] for result in broken["results"]] == [False]
