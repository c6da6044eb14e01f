"""Validation during training: ultralytics' loop, COCOeval's numbers."""

from typing import Any

from torch import Tensor, nn
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.metrics import DetMetrics

from swin_yolo.engine.detections import batch_detections, suppressed
from swin_yolo.scoring.average_precision import METRIC_NAMES, Detection, score_detections

TABLE = ("AP", "AP50", "APs", "APm", "APl")  # printed for every epoch


class CocoMetrics(DetMetrics):
    """What ultralytics' trainer asks a validator's metrics for, under COCO's names."""

    @property
    def keys(self) -> list[str]:
        """Columns of results.csv."""
        return list(METRIC_NAMES)


class CocoValidator(DetectionValidator):
    """Scores the EMA model on the val split at original image sizes; fitness is AP."""

    def init_metrics(self, model: nn.Module) -> None:
        """Start a validation."""
        super().init_metrics(model)
        self.metrics = CocoMetrics(names=model.names)
        self.jdict: list[Detection] = []

    def get_desc(self) -> str:
        """Head of the table."""
        return ("%22s" + "%11s" * (1 + len(TABLE))) % ("", "images", *TABLE)

    def postprocess(self, preds: Tensor) -> list[dict[str, Tensor]]:
        """What NMS leaves of a batch's output."""
        return suppressed(
            preds,
            conf_thres=self.args.conf,
            iou_thres=self.args.iou,
            max_det=self.args.max_det,
            end2end=self.end2end,
        )

    def update_metrics(self, preds: list[dict[str, Tensor]], batch: dict[str, Any]) -> None:
        """Take a batch's detections."""
        self.seen += len(preds)
        dataset = self.dataloader.dataset
        self.jdict += batch_detections(preds, batch, dataset, dict(enumerate(dataset.index.category_ids)))

    def get_stats(self) -> dict[str, float]:
        """The twelve COCO numbers and the fitness that chooses best.pt."""
        # gather_stats has brought every rank's detections here. The index does not change between epochs.
        dataset = self.dataloader.dataset
        if getattr(self, "_truth_of", None) is not dataset.index:
            self._truth_of, self._truth = dataset.index, dataset.index.to_coco()
        score = score_detections(self._truth, self.jdict)
        self._printed = score.metrics
        # AP is -1 where the split has no boxes at all; as fitness that is 0.
        return {**score.metrics, "fitness": max(score.metrics["AP"], 0.0)}

    def finalize_metrics(self) -> None:
        """Nothing: pictures and curves are drawn once, after training, from best.pt."""

    def print_results(self) -> None:
        """The row of the table."""
        row = (self._printed[name] for name in TABLE)
        LOGGER.info(("%22s" + "%11i" + "%11.4g" * len(TABLE)) % ("val", self.seen, *row))

    def plot_val_samples(self, batch: dict[str, Any], ni: int) -> None:
        """Nothing, see `finalize_metrics`."""

    def plot_predictions(self, batch: dict[str, Any], preds: list, ni: int, max_det: int | None = None) -> None:
        """Nothing, see `finalize_metrics`."""

    def gather_stats(self) -> None:
        """Bring the detections of all processes together."""
        if RANK >= 0:
            super().gather_stats()
