"""From scored runs to the files of a comparison: compare.json, compare.md, compare.csv and report.html."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_yolo.data.coco import CocoIndex
from swin_yolo.files import write_json, written_whole
from swin_yolo.report.comparison_page import write_comparison_page
from swin_yolo.report.comparison_table import comparison_csv, comparison_markdown

from .findings import find
from .gallery import gallery, shown
from .measured import with_costs
from .plan import Training
from .progress import Display
from .results import ModelResult
from .scores import Settings
from .summary import summary


@dataclass(frozen=True)
class Comparison:
    """What came out: the content of compare.json, and the files written."""

    content: dict[str, Any]
    files: list[Path]


def conclude(
    models: Sequence[ModelResult],
    controls: Mapping[str, str],
    *,
    save_dir: Path,
    index: CocoIndex,
    settings: Settings,
    training: Training | None,
    commands: Sequence[str],
    resamples: int,
    display: Display,
) -> Comparison:
    """Measure costs, work out differences and write all files, each whole or not at all.

    Args:
        models: the baseline first.
        controls: name of the control by the candidate's.
        save_dir: folder of the comparison.
        index: the split.
        settings: of scoring.
        training: how the models were trained; None for finished ones.
        commands: that were typed.
        resamples: of the bootstrap.
        display: shows how far it is.
    """
    models = with_costs(models, save_dir / "costs.json", settings=settings, training=training, display=display)
    display.say(f"comparing: {resamples} resamples of {len(index)} images")
    findings = find(models, controls, index.to_coco(), resamples=resamples, display=display)
    display.close()
    content = summary(models, findings, settings=settings, training=training, commands=commands, images=len(index))
    files = [save_dir / name for name in ("compare.json", "compare.md", "compare.csv", "report.html")]
    write_json(files[0], content, indent=1)
    for file, text in zip(files[1:3], (comparison_markdown(content), comparison_csv(content)), strict=True):
        with written_whole(file) as unfinished:
            unfinished.write_text(text, encoding="utf-8", newline="")
    first_runs = {model.name: shown(model.runs[0].scored.detections()) for model in models}
    pictures = gallery(index, first_runs, models[0].name)
    write_comparison_page(content, pictures, files[3])
    return Comparison(content, files)
