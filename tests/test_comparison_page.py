import copy
import itertools
import math
from pathlib import Path

import chromium
import numpy as np
import pytest
from comparisons import comparison, gallery
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from swin_yolo.report import comparison_page
from swin_yolo.report.comparison_page import write_comparison_page

HOSTILE = "<img src=x onerror=window.broken=1></script><script>window.broken=1</script>"
LINK = '<a href="javascript:window.broken=1">press</a> &lt;b&gt; %{x} $policy'
LONG = "anexceedinglylongnamewithoutasinglespace" * 6
FOREIGN = "ÄÖ 白血球 \u202eabc"
NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"

FIRST_PANELS = "#cards .card:first-child .panel"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = chromium.start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(autouse=True)
def light_and_wide(request):
    if "browser" in request.fixturenames:
        browser = request.getfixturevalue("browser")
        chromium.resize(browser, 1280, 900)
        chromium.prefer(browser, "light")


@pytest.fixture(scope="module")
def compared():
    return comparison()


@pytest.fixture(scope="module")
def pictures(compared):
    return gallery(compared, images=10, size_wh=(320, 240))


@pytest.fixture(scope="module")
def written(compared, pictures, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "report.html"
    write_comparison_page(compared, pictures, file)
    return file


@pytest.fixture
def page(browser, written):
    """The page to look at, as it opens."""
    return browser if browser.current_url == written.as_uri() else opened(browser, written)


@pytest.fixture
def fresh(browser, written):
    """The page to press things on."""
    yield opened(browser, written)
    browser.get("about:blank")


def opened(browser, file):
    """The browser at `file`, its logs emptied of what was before."""
    browser.get("about:blank")
    chromium.console(browser), chromium.requests(browser)
    browser.get(file.as_uri())
    return browser


def show(browser, folder, compared, images=()):
    file = folder / "report.html"
    write_comparison_page(compared, images, file)
    return opened(browser, file)


def until(browser, holds):
    return WebDriverWait(browser, 15, 0.05).until(lambda _: holds())


def texts(page, selector):
    """Text content of the elements, also of those that are not on the screen."""
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
    return page.execute_script(script, selector)


def press(page, selector):
    page.execute_script("document.querySelector(arguments[0]).click()", selector)


def bring(page, selector):
    page.execute_script("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)


def shown_boxes(page, panel):
    """Scores of the detections in a panel of the first card, 0 being ground truth; empty until they are drawn."""
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => Number(e.dataset.score))"
    return sorted(page.execute_script(script, f"{FIRST_PANELS}:nth-child({panel + 1}) .box[data-score]"))


def scores(image, model, least, hidden=()):
    found = image["detections"][model]
    return sorted(d["score"] for d in found if d["score"] >= least and d["class"] not in hidden)


def sideways(page):
    return page.execute_script("return document.scrollingElement.scrollWidth - innerWidth")


def focused(page):
    return page.execute_script("return document.activeElement.getAttribute('aria-label') ?? document.activeElement.id")


# What it says


def test_the_verdict_and_the_numbers_are_the_comparison_s(page, compared):
    first, second, third = compared["models"]
    assert texts(page, "#words") == [compared["verdict"]] and page.title == compared["title"]
    ap = first["metrics"]["AP"]
    row = texts(page, "#summary tbody tr:first-child > *")
    assert row[:6] == ["yolov5nbaseline", f"{ap['mean']:.3f} ± {ap['spread']:.3f}", NONE, "2.51 M", "1.9", "12.1 ms"]
    d = third["difference"]["metrics"]["AP"]
    interval = f"{d['mean']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]".replace("-", MINUS)
    assert d["low"] < 0 < d["high"]
    assert texts(page, ".interval-text")[1] == interval == texts(page, "#summary tbody tr:nth-child(3) td")[1]
    assert texts(page, ".word") == ["▲ better", "◦ cannot tell"]
    assert second["verdict"]["sentence"] not in texts(page, ".sentence")  # it is the verdict already
    assert third["verdict"]["sentence"] in texts(page, ".sentence")


def test_a_control_is_called_one_wherever_models_are_listed(page):
    for place in ("#intervals", "#summary", "#cost", "#sizes", "#precision", "#training", "#errors"):
        assert "parameter-matched control" in " ".join(texts(page, place)), place


LABELS = """return [...document.querySelectorAll('#cost .chart')].map((chart) => {
  const within = (node) => { const r = node.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
  return [within(chart), [...chart.querySelectorAll('.textpoint text')].map(within)];
});"""


@pytest.mark.parametrize("parameters", [(2.509, 3.676, 3.689), (2.5, 2.51, 2.52), (3.0, 3.0, 2.0), (1.0, 2.0, 3.0)])
def test_names_beside_marks_stay_within_the_chart_and_clear_of_each_other(browser, tmp_path, parameters):
    near = comparison(models=[("yolov5n", "baseline"), ("yolov5n-swin", "candidate"), ("yolov5n-w0.3", "control")])
    for model, millions, ap in zip(near["models"], parameters, (0.583, 0.585, 0.586), strict=True):
        model["parameters"], model["metrics"]["AP"]["mean"] = round(millions * 1e6), ap
    page = show(browser, tmp_path, near)
    bring(page, "#cost")
    (_, parameter_chart) = page.execute_script(LABELS)
    chart, names = parameter_chart
    assert len(names) == 3
    for name in names:
        assert chart[0] <= name[0] and name[2] <= chart[2] and chart[1] <= name[1] and name[3] <= chart[3]
    for a, b in itertools.combinations(names, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_commands_versions_and_hashes_are_all_there(page, compared):
    method = " ".join(texts(page, "#method"))
    runs = [run for model in compared["models"] for run in model["runs"]]
    wanted = [*compared["commands"], *compared["versions"].values(), compared["data"]["sha256"]]
    assert all(text in method for text in [*wanted, *(run["sha256"] for run in runs)])


def test_a_model_has_one_look_in_every_chart_and_shapes_tell_models_apart(page):
    marks = "return [...document.querySelectorAll('#summary .mark path')].map((p) => p.getAttribute('fill'))"
    colours = page.execute_script(marks)
    looks = "return document.querySelector(arguments[0]).data.map((t) => [t.marker.line.color, t.marker.symbol])"
    errors = page.execute_script(looks, "#errors-chart .chart")
    assert [colour for colour, _ in errors] == colours and len({symbol for _, symbol in errors}) == 3
    assert page.execute_script(looks, "#sizes-chart .chart") == errors[1:]
    lines = "return document.querySelector('#precision-chart .chart').data.map((t) => [t.line.color, t.line.dash])"
    curves = page.execute_script(lines)
    assert [colour for colour, _ in curves] == colours and len({dash for _, dash in curves}) == 3


def test_marks_are_hollow_where_the_interval_includes_zero(page, compared):
    fills = page.execute_script("return document.querySelector('#sizes-chart .chart').data[0].marker.color")
    intervals = compared["models"][1]["difference"]["metrics"].values()
    solid = [d["low"] > 0 or d["high"] < 0 for d in intervals]
    assert [fill == "#d55e00" for fill in fills] == solid and {*solid} == {True, False}


# What is not there


def test_several_seeds_have_bands_and_one_seed_has_none(browser, page, tmp_path):
    fills = "return document.querySelector('#training .chart').data.filter((t) => t.fill === 'tonexty').length"
    assert page.execute_script(fills) == 3
    page = show(browser, tmp_path, comparison(seeds=(0,)))
    assert page.execute_script(fills) == 0 and "±" not in texts(page, "#summary tbody")[0]
    assert "no band" in texts(page, "#training-lead")[0]
    assert chromium.console(page) == []


def test_one_model_alone_has_no_differences_and_an_empty_gallery_says_so(browser, tmp_path):
    page = show(browser, tmp_path, comparison(models=[("yolov5n", "baseline")]))
    leads = texts(page, "#sizes-lead, #classes-lead")
    assert leads == 2 * ["There is one model, so there is nothing to compare it with."]
    assert texts(page, "#gallery-lead") == leads[:1] and not texts(page, "#controls *")
    assert texts(page, "#method .hash") and chromium.console(page) == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A page of models that were trained elsewhere, at different image sizes."""
    compared = comparison(finished=True)
    values = {"yolov5n": "320", "yolov5n-swin": "640", "yolov5n-wide": "320"}
    compared["fairness"][1] = {"what": "image size", "same": False, "values": values}
    file = tmp_path_factory.mktemp("finished") / "report.html"
    write_comparison_page(compared, [], file)
    return file


def test_unequal_conditions_are_named_and_shown_first(browser, finished):
    page = opened(browser, finished)
    assert page.find_element(By.CSS_SELECTOR, "#fairness details").get_attribute("open")
    assert texts(page, "#fairness summary") == ["⚠ Not a like-for-like comparison: image size"]
    row = "image size⚠ differsyolov5n: 320yolov5n-swin: 640yolov5n-wide: 320"
    assert texts(page, "#fairness tbody tr:first-child") == [row]


def test_finished_models_have_no_training_and_unknown_parameters_are_a_dash(browser, finished):
    page = opened(browser, finished)
    assert "nothing was trained" in texts(page, "#training-lead")[0] and not texts(page, "#training .chart")
    assert texts(page, "#summary tbody tr:nth-child(3) td")[2:4] == [NONE, NONE]
    assert texts(page, "#cost .notice") == ["Not known, so not drawn: yolov5n-wide"]
    points = "return [...document.querySelectorAll('#cost .chart')].map((c) => c.data.length)"
    assert page.execute_script(points) == [3, 2]
    bring(page, "#summary")
    for _ in range(2):  # what is not known comes last either way
        head(page, "Parameters").find_element(By.TAG_NAME, "button").click()
        assert order(page)[-1] == "yolov5n-wide"
    assert chromium.console(page) == []


def test_what_coco_calls_minus_one_is_a_dash_and_not_drawn(browser, compared, tmp_path):
    small = copy.deepcopy(compared)
    for model in small["models"]:
        model["metrics"]["APl"] = {"mean": -1, "spread": None, "values": [-1, -1, -1]}
        model["pr"]["classes"]["RBC"] = [-1] * 101
        if model["difference"]:
            model["difference"]["metrics"]["APl"] = {"mean": 0.0, "low": None, "high": None}
    page = show(browser, tmp_path, small)
    rows = texts(page, "#sizes tbody tr")
    assert rows[5] == f"AP, large{5 * NONE}" and NONE not in rows[4]
    labels = texts(page, "#sizes-chart .ytick text")
    assert len(labels) == 11 and not any("large" in label for label in labels if label.startswith("AP"))
    Select(page.find_element(By.CSS_SELECTOR, "#precision select")).select_by_visible_text("RBC")
    assert texts(page, "#precision .notice") == ["No ground truth of this class."]
    assert chromium.console(page) == []


def test_of_many_classes_the_extremes_are_drawn_until_all_are_asked_for(browser, tmp_path):
    compared = comparison(names=[f"class {i}" for i in range(80)])
    page = show(browser, tmp_path, compared)
    drawn = [text.strip() for text in texts(page, "#classes-chart .ytick text")]
    differences = compared["models"][1]["difference"]["per_class"]
    ordered = sorted(differences, key=lambda name: -differences[name]["mean"])
    assert drawn == [*ordered[:10], "60 between", *ordered[-10:]]
    press(page, "#all-classes")
    assert [text.strip() for text in texts(page, "#classes-chart .ytick text")] == ordered
    assert texts(page, "#all-classes") == ["Show the 10 best and worst"] and chromium.console(page) == []


# The table


def order(page):
    return [text.removesuffix("baseline") for text in texts(page, "#summary tbody tr > th .name")]


def head(page, label):
    (found,) = [h for h in page.find_elements(By.CSS_SELECTOR, "#summary thead th") if h.text.strip(" ↑↓") == label]
    return found


def test_a_head_sorts_the_table_and_sorts_it_back(fresh, compared):
    page = fresh
    best_first = sorted(compared["models"], key=lambda model: -model["metrics"]["AP"]["mean"])
    names = [model["name"] for model in best_first]
    assert order(page) != names
    bring(page, "#summary")
    head(page, "AP").find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert order(page) == names and head(page, "AP").get_attribute("aria-sort") == "descending"
    head(page, "AP").find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert order(page) == names[::-1] and head(page, "AP").get_attribute("aria-sort") == "ascending"
    head(page, "Latency").find_element(By.TAG_NAME, "button").click()
    assert order(page) == ["yolov5n", "yolov5n-swin", "yolov5n-wide"]
    assert head(page, "AP").get_attribute("aria-sort") == "none"


# The gallery


def test_the_slider_decides_which_boxes_are_shown(fresh, pictures):
    page = fresh
    bring(page, "#cards .card")
    model, image = "yolov5n-swin", pictures[0]
    until(page, lambda: shown_boxes(page, 2) == scores(image, model, 0.25))
    slider = page.find_element(By.ID, "confidence")
    slider.send_keys(Keys.HOME)
    until(page, lambda: shown_boxes(page, 2) == scores(image, model, 0.0))
    assert len(scores(image, model, 0.0)) > len(scores(image, model, 0.25))
    slider.send_keys(Keys.END)
    until(page, lambda: shown_boxes(page, 2) == scores(image, model, 1.0) == [])
    assert texts(page, "output") == ["1.00"]


def test_classes_can_be_taken_out_and_labels_too(fresh, pictures):
    page = fresh
    bring(page, "#cards .card")
    until(page, lambda: shown_boxes(page, 1) == scores(pictures[0], "yolov5n", 0.25))
    press(page, ".class-filter input[value='2']")
    until(page, lambda: shown_boxes(page, 1) == scores(pictures[0], "yolov5n", 0.25, hidden={2}))
    assert 0 < len(scores(pictures[0], "yolov5n", 0.25, hidden={2})) < len(scores(pictures[0], "yolov5n", 0.25))
    assert texts(page, f"{FIRST_PANELS} .tag")
    press(page, "#labels")
    until(page, lambda: texts(page, f"{FIRST_PANELS} .tag") == [])
    (none,) = [b for b in page.find_elements(By.CSS_SELECTOR, ".class-filter button") if b.text == "None"]
    none.click()
    until(page, lambda: texts(page, f"{FIRST_PANELS} .box") == [])


def test_boxes_are_right_wrong_in_a_crowd_or_missed_as_coco_matches_them(browser, compared, pictures, tmp_path):
    far, square, beside = [10, 10, 20, 20], [100, 100, 40, 40], [120, 100, 40, 40]
    truth = [
        {"box": square, "class": 0, "crowd": False},
        {"box": far, "class": 0, "crowd": False},
        {"box": [200, 0, 100, 100], "class": 0, "crowd": True},
    ]
    found = [
        {"box": square, "class": 0, "score": 0.6},  # a double: the next one is surer
        {"box": [102, 100, 40, 40], "class": 0, "score": 0.9},
        {"box": beside, "class": 0, "score": 0.5},  # IoU 1/3
        {"box": far, "class": 1, "score": 0.8},  # of another class
        {"box": [210, 10, 20, 20], "class": 0, "score": 0.7},
        {"box": far, "class": 0, "score": 0.2},  # too unsure to be shown
    ]
    image = {**pictures[0], "truth": truth, "detections": {"yolov5n": found}}
    page = show(browser, tmp_path, compared, [image])
    bring(page, "#cards .card")
    until(page, lambda: texts(page, f"{FIRST_PANELS} .count")[-1])
    assert texts(page, f"{FIRST_PANELS} .count")[:3] == [
        "2 objects, 1 crowd",
        "1 right, 3 wrong, 1 missed",
        "0 right, 0 wrong, 2 missed",
    ]
    kinds = "return [...document.querySelectorAll(arguments[0])].map((e) => e.getAttribute('class').split(' ')[1])"
    drawn = page.execute_script(kinds, f"{FIRST_PANELS}:nth-child(2) .box")
    assert drawn == ["missed", "wrong", "wrong", "ignored", "wrong", "right"]  # the surest on top
    dashes = "return getComputedStyle(document.querySelector('.box.crowd .edge')).strokeDasharray"
    assert page.execute_script(dashes) == "12px, 6px"


def test_an_image_opens_turns_and_closes_by_keyboard(fresh, pictures):
    page = fresh
    bring(page, "#cards .card:nth-child(2)")
    card = page.find_elements(By.CSS_SELECTOR, "button.panels")[1]
    card.send_keys(Keys.ENTER)
    dialog = page.find_element(By.ID, "enlarged")
    name = page.find_element(By.ID, "enlarged-name")
    assert dialog.get_attribute("open") and name.text == pictures[1]["file_name"] and focused(page) == "close"
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert name.text == pictures[2]["file_name"]
    until(page, lambda: texts(page, "#enlarged-panels .box"))
    for _ in range(3):
        page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert name.text == pictures[9]["file_name"] and texts(page, "#enlarged-place") == ["10 of 10"]
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(page, lambda: not dialog.get_attribute("open"))
    assert focused(page) == f"Enlarge {pictures[1]['file_name']}"
    assert texts(page, "#controls-place #confidence") == [""]  # the controls are back


def test_an_enlarged_image_keeps_the_focus_and_has_the_controls(fresh, pictures):
    page = fresh
    press(page, "button.panels")
    inside = "const at = document.activeElement; return at === document.body || at.closest('dialog') !== null"
    for _ in range(12):
        page.switch_to.active_element.send_keys(Keys.TAB)
        assert page.execute_script(inside)
    name = page.find_element(By.ID, "enlarged-name").text
    page.find_element(By.ID, "confidence").send_keys(Keys.ARROW_RIGHT)
    until(page, lambda: texts(page, "output") == ["0.26"])
    assert page.find_element(By.ID, "enlarged-name").text == name  # an arrow on the slider is the slider's
    page.find_element(By.ID, "close").click()
    assert not page.find_element(By.ID, "enlarged").get_attribute("open")


def test_the_other_images_come_when_they_are_asked_for(fresh, pictures):
    page = fresh
    assert len(texts(page, ".card")) == 8
    press(page, "#all-images")
    assert texts(page, ".card h3") == [image["file_name"] for image in pictures]
    assert focused(page) == f"Enlarge {pictures[8]['file_name']}"


# How it looks


def test_dark_mode_follows_the_system_and_the_button_reaches_page_and_charts(fresh):
    page = fresh
    ground = "return getComputedStyle(document.body).backgroundColor"
    letters = "return document.querySelector('#sizes-chart .ytick text').style.fill"
    light = page.execute_script(ground), page.execute_script(letters)
    chromium.prefer(page, "dark")
    until(page, lambda: page.execute_script(ground) != light[0])
    dark = page.execute_script(ground), page.execute_script(letters)
    assert light == ("rgb(255, 255, 255)", "rgb(20, 23, 28)") and dark == ("rgb(17, 20, 24)", "rgb(233, 235, 238)")
    page.find_element(By.ID, "theme").click()
    assert (page.execute_script(ground), page.execute_script(letters)) == light
    assert texts(page, "#theme") == ["Dark mode"]


def test_it_prints_in_light_colours_with_every_picture(fresh):
    page = fresh
    page.find_element(By.ID, "theme").click()
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script("return document.documentElement.dataset.theme") == "light"
    assert page.execute_script("return document.querySelectorAll('.panel img:not([src])').length") == 0
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert page.execute_script("return document.documentElement.dataset.theme") == "dark"


def test_a_phone_scrolls_down_only_even_with_long_names(browser, tmp_path):
    compared = comparison(models=[(LONG, "baseline"), (LONG + "b", "candidate")], names=[LONG, "RBC"])
    compared["data"]["source"] = compared["title"] = LONG
    compared["fairness"][0]["values"] = {LONG: LONG, LONG + "b": "1"}
    images = gallery(compared, images=2, size_wh=(160, 120))
    images[0]["file_name"] = LONG
    chromium.resize(browser, 390, 844)
    page = show(browser, tmp_path, compared, images)
    page.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert sideways(page) <= 0
    press(page, "button.panels")
    until(page, lambda: texts(page, "#enlarged-panels .box"))
    assert sideways(page) <= 0
    overflow = "const d = document.getElementById('enlarged'); return d.scrollWidth - d.clientWidth"
    assert page.execute_script(overflow) == 0


# What it must not do


def test_it_opens_from_disk_asks_for_nothing_and_says_nothing(browser, written):
    page = opened(browser, written)
    bring(page, "#cards")
    until(page, lambda: texts(page, f"{FIRST_PANELS} .box"))
    asked = chromium.requests(page)
    assert asked[0] == written.as_uri()
    assert all(url.startswith(("data:", "blob:")) for url in asked[1:]), asked
    assert chromium.console(page) == []


def test_names_from_the_data_do_nothing_and_are_shown_as_they_are(browser, tmp_path):
    names = [HOSTILE, LINK, "<b>bold</b> &amp;", "__proto__", "constructor", FOREIGN]
    compared = comparison(models=[(HOSTILE, "baseline"), (LINK, "candidate")], names=names)
    compared["title"] = compared["verdict"] = HOSTILE
    compared["data"]["source"] = compared["fairness"][0]["what"] = LINK
    compared["commands"] = [HOSTILE]
    images = gallery(compared, images=1, size_wh=(320, 240))
    images[0]["file_name"] = HOSTILE
    page = show(browser, tmp_path, compared, images)
    bring(page, "#cards")
    until(page, lambda: texts(page, f"{FIRST_PANELS} .box"))
    assert page.title.startswith("<img src=x") and texts(page, "#words") == [HOSTILE]
    assert texts(page, "#summary .name") == [HOSTILE, LINK] and texts(page, ".card h3") == [HOSTILE]
    assert texts(page, "#classes tbody th") == names and texts(page, ".class-filter .name") == names
    assert texts(page, "#method pre") == [HOSTILE]
    ticks = [text.strip() for text in texts(page, "#classes-chart .ytick text")]
    assert sorted(ticks) == sorted([*(f"{n[:29]}…" for n in names[:2]), *names[2:]])
    rows = texts(page, "#classes tbody tr")
    boxes = [compared["models"][0]["per_class"][name]["boxes"] for name in names]
    assert all(row.startswith(f"{name}{count}0.") for row, name, count in zip(rows, names, boxes, strict=True))
    page.execute_script("document.querySelectorAll('.chart').forEach((c) => c.scrollIntoView())")
    assert page.execute_script("return window.broken") is None
    assert texts(page, "a[href^='javascript']") == [] and len(texts(page, "img")) == 3  # the panels' own
    assert chromium.console(page) == []


def test_scripts_that_the_page_did_not_come_with_do_not_run(fresh):
    page = fresh
    inject = """const script = document.createElement('script');
    script.textContent = 'window.injected = 1';
    document.body.append(script);
    return window.injected ?? null"""
    assert page.execute_script(inject) is None
    assert any("Content Security Policy" in message for message in chromium.console(page))


def test_forty_photographs_stay_under_15_megabytes(browser, compared, tmp_path):
    images = 10 * gallery(compared, images=4)
    page = show(browser, tmp_path, compared, images)
    assert (tmp_path / "report.html").stat().st_size < 15_000_000
    press(page, "#all-images")
    assert len(texts(page, ".card")) == 40 and chromium.console(page) == []


def test_a_page_of_forty_pictures_of_noise_with_all_that_can_be_found_stays_under_15_megabytes(tmp_path):
    compared = comparison(models=[(f"model {i}", "candidate" if i else "baseline") for i in range(6)])
    noise = np.random.default_rng(0).integers(0, 255, (640, 640, 3), dtype=np.uint8)
    box = {"box": [123.4, 234.5, 345.6, 45.7], "class": 2, "score": 0.123}
    detections = {model["name"]: [box] * 100 for model in compared["models"]}
    images = [{**gallery(compared, images=1)[0], "picture": noise, "detections": detections} for _ in range(40)]
    write_comparison_page(compared, images, tmp_path / "report.html")
    assert 12e6 < (tmp_path / "report.html").stat().st_size <= 15e6


def test_a_number_that_json_has_not_is_an_error(compared, tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        write_comparison_page({**compared, "title": math.nan}, [], tmp_path / "report.html")


def test_a_page_that_cannot_be_finished_leaves_the_older_one_alone(compared, tmp_path, monkeypatch):
    def fill_the_disk(self, *_args, **_options):
        self.write_bytes(b"half")
        raise OSError("No space left on device")

    file = tmp_path / "report.html"
    file.write_text("older")
    monkeypatch.setattr(Path, "write_text", fill_the_disk)
    with pytest.raises(OSError, match="No space"):
        write_comparison_page(compared, [], file)
    assert file.read_text() == "older" and [f.name for f in tmp_path.iterdir()] == ["report.html"]


def test_every_script_beside_the_page_is_in_it():
    parts = {file.name for file in comparison_page._PARTS.iterdir()}
    assert parts == {*comparison_page._SCRIPTS, "page.html", "page.css"}
