from swin_yolo.benchmark import intervals as benchmarked
from swin_yolo.benchmark.drawn_detections import DrawnSet
from swin_yolo.benchmark.intervals import ALL, MATCHING, RESAMPLING, IntervalSettings, intervals

DRAWN = DrawnSet(images=8, nc=3, boxes=4, found=20)


def test_every_run_is_matched_and_every_model_compared_with_the_first(monkeypatch):
    seen, compared = [], []

    def match(truth, found):
        seen.append(found)
        return len(seen)

    monkeypatch.setattr(benchmarked, "match", match)
    monkeypatch.setattr(benchmarked, "paired_bootstrap", lambda *args, **kwargs: compared.append((args, kwargs)))
    table = intervals(IntervalSettings((DRAWN,), models=3, seeds=2, resamples=7))
    assert compared == [(([1, 2], {"1": [3, 4], "2": [5, 6]}), {"resamples": 7})]
    assert len({str(found) for found in seen}) == 6  # no run is like another
    assert [row[0] for row in table.rows] == ["8 images, 3 classes"] and "3 models of 2 runs each" in table.remarks[0]


def test_its_parts_are_the_whole():
    table = intervals(IntervalSettings((DRAWN, DrawnSet(images=5, nc=2)), models=2, seeds=2, resamples=5))
    for seconds in table.figures.values():
        assert min(seconds.values()) > 0 and abs(seconds[ALL] - seconds[MATCHING] - seconds[RESAMPLING]) < 1e-9
    assert list(table.figures) == ["8 images, 3 classes", "5 images, 2 classes"]
