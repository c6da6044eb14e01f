"""A COCO split as an ultralytics dataset: its mosaic, mixup, HSV, letterbox, caches and loaders, our labels."""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from ultralytics.cfg import IterableSimpleNamespace
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils import DEFAULT_CFG, LOGGER

from swin_yolo.data.coco import CocoIndex
from swin_yolo.data.image_files import check_size, undecodable
from swin_yolo.data.image_lists import CachedImageFiles, ImageFiles, Kept, Labels, Rows, SizeList
from swin_yolo.data.image_tensor import PlanarFormat
from swin_yolo.errors import InputError

CHECKED_AT_ONCE = 2000  # images; a larger set's headers are read as its images are loaded


class CocoDataset(YOLODataset):
    """The images of a `CocoIndex` with their boxes, for ultralytics' loaders.

    Nothing is written beside the images (ultralytics would put a .cache file there) except by `cache="disk"`, which
    asks for it. Without it a .npy file beside an image is the user's and is not touched.
    """

    format_class = PlanarFormat
    im_files: Any
    labels: Any
    ims: Any
    im_hw0: Any
    im_hw: Any

    def __init__(
        self,
        index: CocoIndex,
        *,
        imgsz: int = 640,
        augment: bool = False,
        hyp: IterableSimpleNamespace = DEFAULT_CFG,
        rect: bool = False,
        batch_size: int = 16,
        stride: int = 32,
        pad: float = 0.0,
        cache: bool | str | None = None,
        single_cls: bool = False,
        classes: list[int] | None = None,
        fraction: float | int = 1.0,
        prefix: str = "",
    ):
        """Check the image files and set up ultralytics' dataset.

        Args:
            index: the split.
            imgsz: longer side of the images in pixels.
            augment: train-time augmentation, as `hyp` says.
            hyp: ultralytics' settings (mosaic, mixup, hsv_h, ...).
            rect: batches of like shape instead of squares.
            batch_size: images per batch; with `rect`, images are grouped by it.
            stride: largest stride of the model, which batch shapes are multiples of.
            pad: strides that a `rect` batch is padded by (ultralytics: 0 in training, 0.5 in validation).
            cache: False or None, True or "ram", or "disk" (.npy files beside the images).
            single_cls: make every class 0.
            classes: class indices to keep; None keeps all.
            fraction: part (0..1] or number (int > 1) of the images to use, spread evenly over the JSON's order.
            prefix: put before log lines.

        Raises:
            InputError: an image is missing, does not decode, or has not the size that the JSON says. Sets of more than
                2000 images are checked for missing files here and for the rest when an image is loaded.
        """
        self.index = index
        self._by_file: NDArray[np.int64] | None = None  # places of the images by their paths; made when asked for
        self._npy_asked_for = isinstance(cache, str) and cache.lower() == "disk"
        index.check_files()
        if len(index) <= CHECKED_AT_ONCE:
            index.check_images()
        if self._npy_asked_for:
            LOGGER.warning(f"{prefix}cache='disk' writes one .npy file per image into {index.images_dir}")
        super().__init__(
            img_path=str(index.images_dir),
            imgsz=imgsz,
            augment=augment,
            hyp=hyp,
            rect=rect,
            batch_size=batch_size,
            stride=stride,
            pad=pad,
            cache=cache,
            single_cls=single_cls,
            classes=classes,
            fraction=fraction,
            prefix=prefix,
            task="detect",
            data={"names": dict(enumerate(index.names)), "nc": len(index.names), "channels": 3},
        )
        if self.cache == "ram":
            self.im_hw0, self.im_hw = SizeList(self.im_hw0), SizeList(self.im_hw)
        else:
            self.ims, self.im_hw0, self.im_hw = Kept(), Kept(), Kept()

    def image_id_of(self, im_file: str) -> int:
        """The COCO image id of a batch's `im_file`.

        Raises:
            KeyError: the file is not of this dataset.
        """
        if self._by_file is None:
            self._by_file = np.array(sorted(range(self.ni), key=self.im_files.__getitem__))
        place = bisect_left(self._by_file, im_file, key=self.im_files.__getitem__)
        i = self._by_file[min(place, self.ni - 1)]
        if self.im_files[i] != im_file:
            raise KeyError(f"{im_file} is no image of {self.index.annotations_file}")
        return int(self.index.image_ids[self._rows[i]])

    def get_img_files(self, img_path: str | list[str]) -> ImageFiles:
        """Paths of the images in use, in the JSON's order; `img_path` is not read, the index has them."""
        self._rows: Rows = evenly_spaced(len(self.index), self.fraction)
        return ImageFiles(self.index, self._rows)

    def get_labels(self) -> Labels:
        """One dict per image."""
        return Labels(self.index, self._rows)

    def update_labels(self, include_class: list[int] | None) -> None:
        """Leave boxes of some classes only, and make all classes 0 if `single_cls`."""
        self.labels = Labels(self.index, self._rows, classes=include_class, single_cls=self.single_cls)

    def set_rectangle(self) -> None:
        """Sort images by aspect ratio and set the batches' shapes, as ultralytics does."""
        labels = self.labels
        # It wants lists and sorts them: of shapes, and of places to read the order from.
        self.labels = [{"shape": (height, width)} for width, height in self.index.sizes_wh[self._rows].tolist()]
        self.im_files = range(self.ni)
        super().set_rectangle()
        self._rows = np.asarray(self._rows)[self.im_files]
        self.im_files, self.labels = ImageFiles(self.index, self._rows), labels.reordered(self._rows)

    def load_image(
        self, i: int, rect_mode: bool = True, resize_short: bool = False
    ) -> tuple[NDArray[np.uint8], tuple[int, int], tuple[int, int]]:
        """The image (H, W, 3) BGR, its original (h, w) and its resized (h, w).

        Raises:
            InputError: the file is gone, does not decode, or has not the size that the JSON says.
        """
        annotations_file = self.index.annotations_file
        try:
            image, original_hw, resized_hw = super().load_image(i, rect_mode, resize_short)
        except (OSError, cv2.error) as error:
            image_file = Path(self.im_files[i])
            if not image_file.is_file():
                raise InputError(f"{image_file}: the image is no longer there; {annotations_file} lists it") from error
            why = "OpenCV cannot read it"
            raise undecodable(image_file, annotations_file=annotations_file, why=why) from error
        width, height = self.index.sizes_wh[self._rows[i]].tolist()
        if (height, width) != tuple(original_hw):
            file_wh = (original_hw[1], original_hw[0])
            image_file, json_wh = Path(self.im_files[i]), (width, height)
            check_size(file_wh, image_file=image_file, json_wh=json_wh, annotations_file=annotations_file)
        return image, original_hw, resized_hw

    @property
    def npy_files(self) -> CachedImageFiles:
        """Where ultralytics looks for, and puts, decoded images; a path that cannot exist unless they were asked for.

        Without this it loads, rewrites or deletes whatever .npy lies beside an image.
        """
        return self._npy_files

    @npy_files.setter
    def npy_files(self, files: Sequence[Path]) -> None:
        """Take the place of ultralytics' list of what is beside the images."""
        self._npy_files = CachedImageFiles(self.index, self._rows, beside_images=self._npy_asked_for)


def evenly_spaced(n: int, fraction: float | int) -> Rows:
    """Which of n images to use: all for 1.0, that part of them for a float, that many for an int; at least one."""
    count = fraction if isinstance(fraction, int) else round(n * fraction)
    count = min(max(count, 1), n)
    return range(n) if count == n else np.arange(count, dtype=np.int64) * n // count
