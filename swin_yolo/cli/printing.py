"""What train and val print when they are done."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swin_yolo.engine.evaluate import Evaluation


def print_evaluation(evaluation: "Evaluation", *, per_class: bool = True) -> None:
    """The twelve numbers, and where everything was written."""
    from swin_yolo.report.metrics_table import format_metrics

    print(format_metrics(evaluation.score, per_class=per_class))
    print(f"\nWritten to {evaluation.save_dir}")
    for picture in evaluation.pictures:
        print(f"  {picture}")
