"""Ground truth and raw model outputs of a set as large as COCO's val2017, drawn from a seed.

`B` images, `nc` classes, `A` anchor points of the network.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from torch import Tensor

from swin_yolo.scoring.coco_objects import coco_object, quiet

SIZE_WH = (640, 480)
INPUT = 640  # side of the network's input: the image with 80 rows of padding above and below it
PADDING = ((1.0, 1.0), (0.0, (INPUT - SIZE_WH[1]) / 2))  # of each image: scale, and what is before it on each axis
DUPLICATES = 5  # raw boxes of one detection, of which NMS leaves one
A = 8400  # of an input of 640 at strides 8, 16 and 32


@dataclass(frozen=True)
class DrawnSet:
    """A seeded set: COCO val2017 has 5,000 images of 80 classes with 36,781 boxes.

    Attributes:
        images: number of images; their ids are 1 .. images.
        nc: number of classes; their ids are 1 .. nc.
        boxes: objects an image, on average.
        found: detections an image before duplicates.
        seed: of everything.
    """

    images: int = 5000
    nc: int = 80
    boxes: float = 7.3
    found: int = 100
    seed: int = 0

    def truth(self) -> COCO:
        """The objects, as pycocotools has them."""
        annotations: list[dict[str, Any]] = []
        for image in range(self.images):
            classes, boxes_xywh = self._objects(image)
            for class_index, box in zip(classes.tolist(), boxes_xywh.tolist(), strict=True):
                number = len(annotations) + 1
                of = {"id": number, "image_id": image + 1, "category_id": class_index + 1}
                annotations.append({**of, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
        bare = COCO()
        bare.dataset = {
            "info": {},
            "images": [{"id": i + 1, "width": SIZE_WH[0], "height": SIZE_WH[1]} for i in range(self.images)],
            "categories": [{"id": k + 1, "name": f"class {k + 1}"} for k in range(self.nc)],
        }
        with quiet():
            return coco_object(bare, annotations)

    def outputs(self, first: int, end: int) -> Tensor:
        """(B, 4 + nc, A) what a model would give for the images from `first` to before `end`: cxcywh, class scores."""
        output = torch.zeros(end - first, 4 + self.nc, A)
        for row, image in enumerate(range(first, end)):
            rng = np.random.default_rng((self.seed, 1, image))
            classes, boxes_xywh, scores = self._found(image, rng)
            classes, scores = np.repeat(classes, DUPLICATES), np.repeat(scores, DUPLICATES)
            boxes_xywh = np.repeat(boxes_xywh, DUPLICATES, axis=0)
            boxes_xywh = boxes_xywh + boxes_xywh[:, [2, 3, 2, 3]] * rng.uniform(-0.03, 0.03, boxes_xywh.shape)
            scores = scores * rng.uniform(0.5, 1, len(scores))
            centres = boxes_xywh[:, :2] + boxes_xywh[:, 2:] / 2 + PADDING[1]
            places = torch.from_numpy(rng.permutation(A)[: len(classes)])
            output[row, :4, places] = torch.from_numpy(np.hstack((centres, boxes_xywh[:, 2:]))).float().T
            output[row, 4 + torch.from_numpy(classes), places] = torch.from_numpy(scores).float()
        return output

    def _objects(self, image: int) -> tuple[np.ndarray, np.ndarray]:
        """Class indices and xywh boxes of the objects of an image: few classes an image, and boxes of any size."""
        rng = np.random.default_rng((self.seed, 0, image))
        present = rng.integers(0, self.nc, 3)
        classes = rng.choice(present, rng.poisson(self.boxes))
        return classes, _boxes(rng, len(classes))

    def _found(self, image: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Class indices, xywh boxes and scores of detections: most objects, and else what is not there."""
        classes, boxes_xywh = self._objects(image)
        seen = rng.random(len(classes)) < 0.8
        classes, boxes_xywh = classes[seen], boxes_xywh[seen]
        right = boxes_xywh + boxes_xywh[:, [2, 3, 2, 3]] * rng.normal(0, 0.06, boxes_xywh.shape)
        wrong = max(self.found - len(classes), 0)
        anywhere = rng.integers(0, self.nc, wrong)
        likely = rng.choice(classes, wrong) if len(classes) else anywhere
        guessed = np.where(rng.random(wrong) < 0.5, likely, anywhere)
        scores = np.concatenate((rng.beta(4, 2, len(classes)), 0.003 + 0.5 * rng.beta(0.5, 8, wrong)))
        return np.concatenate((classes, guessed)), np.concatenate((right, _boxes(rng, wrong))), scores


def _boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    """(N, 4) xywh inside an image, sides from 8 pixels to most of it."""
    wh = np.exp(rng.uniform(np.log(8), np.log(400), (number, 2)))
    return np.hstack((rng.uniform(0, 1, (number, 2)) * (np.array(SIZE_WH) - wh), wh))
