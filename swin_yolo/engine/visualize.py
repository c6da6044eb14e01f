"""What the Swin blocks of a model do with an image: one public function, from weights to a picture for each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.patches import imread

from swin_yolo.engine.attention_maps import AttentionInput, attention_weights, bias_by_offset, recorded_inputs
from swin_yolo.engine.backend import exported_format
from swin_yolo.engine.device import choose_device
from swin_yolo.engine.model import check_imgsz, load_model
from swin_yolo.engine.network_image import NetworkImage, letterboxed
from swin_yolo.engine.receptive_field import effective_receptive_field
from swin_yolo.errors import InputError
from swin_yolo.nn import SwinBlock
from swin_yolo.nn.window_layout import window_layout
from swin_yolo.report.window_plots import plot_row
from swin_yolo.report.window_views import BlockView, RowView
from swin_yolo.video.click import clicked_pixel
from swin_yolo.video.screen import check_screen
from swin_yolo.video.sources import find_sources


@dataclass(frozen=True)
class Visualization:
    """Pictures drawn: their folder, the pixel (x, y) they are about, and a file for each row."""

    save_dir: Path
    at: tuple[int, int]
    pictures: dict[int, Path]


def visualize(
    weights: str | Path,
    source: str | Path,
    *,
    save_dir: Path,
    at: tuple[int, int] | None = None,
    click: bool = False,
    imgsz: int | tuple[int, int] = 640,
    rows: Sequence[int] | None = None,
    device: str = "",
    trust: bool = False,
) -> Visualization:
    """Draw windows, masks, biases, attention and receptive field of each row that has Swin blocks.

    Args:
        weights: .pt or .safetensors; an exported model has no layers to look into.
        source: an image.
        save_dir: folder to write to; made if missing.
        at: (x, y) of the pixel whose attention is shown, in pixels of the image; None takes the middle.
        click: let the user choose the pixel in a window.
        imgsz: longer side, or (H, W), that the image is scaled to, in pixels.
        rows: numbers of the rows to draw; None draws all that have Swin blocks.
        device: as ultralytics names devices; "" takes the first GPU, or the CPU.
        trust: run whatever code the checkpoint holds.

    Raises:
        InputError: if weights, image, pixel, rows or imgsz cannot be used, there is no Swin block, or no screen to
            click on.
    """
    if exported_format(weights) is not None:
        raise InputError(
            f"--weights {weights}: expected a checkpoint, .pt or .safetensors, got an exported model, which has no "
            "layers to look into; take the checkpoint that it was exported from"
        )
    file = find_image(source)
    image_bgr = read_image(file)
    height, width = image_bgr.shape[:2]
    if at is not None and not (0 <= at[0] < width and 0 <= at[1] < height):
        raise InputError(
            f"--at {at[0]},{at[1]}: expected a pixel of {file}, x from 0 to {width - 1} and y from 0 to {height - 1}"
        )
    if click:
        check_screen("--click", "choose the pixel by --at X,Y")
    model = load_model(weights, trust=trust).to(choose_device(device)).eval()
    check_imgsz(imgsz, model)
    layers = choose_rows(rows, model, weights)
    if click:
        at = clicked_pixel(image_bgr)
    at = at or (width // 2, height // 2)
    image = letterboxed(image_bgr, imgsz=imgsz, stride=max(int(model.stride.max()), 32))
    save_dir.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for number in layers:
        pictures[number] = save_dir / f"row{number}.png"
        plot_row(view_row(model, number, image, at, image_name=file.name), pictures[number])
    return Visualization(save_dir, at, pictures)


def find_image(source: str | Path) -> Path:
    """The one image that `--source` names.

    Raises:
        InputError: if there is no such file, or it names something else, or more.
    """
    found = find_sources(source)
    if len(found) != 1 or found[0].kind != "image":
        got = f"a {found[0].kind}" if len(found) == 1 else f"{len(found)} images and videos"
        raise InputError(f"--source {source}: expected one image, got {got}")
    return Path(str(found[0].address))


def read_image(file: Path) -> np.ndarray:
    """The (H, W, 3) uint8 BGR pixels of an image.

    Raises:
        InputError: if it cannot be decoded.
    """
    try:
        image_bgr = imread(str(file), cv2.IMREAD_COLOR)
    except Exception as e:  # each decoder behind it has exceptions of its own
        raise InputError(f"--source {file}: cannot be decoded as an image ({type(e).__name__})") from e
    if image_bgr is None:
        raise InputError(f"--source {file}: cannot be decoded as an image")
    return image_bgr


def swin_blocks(layer: nn.Module) -> list[SwinBlock]:
    """The Swin blocks in a layer, in the order in which they run."""
    return [module for module in layer.modules() if isinstance(module, SwinBlock)]


def choose_rows(rows: Sequence[int] | None, model: DetectionModel, weights: str | Path) -> list[int]:
    """Numbers of the rows to draw, in the order of the model.

    Raises:
        InputError: if the model has no Swin blocks, or one of `rows` has none.
    """
    having = [i for i, layer in enumerate(model.model) if swin_blocks(layer)]
    if not having:
        raise InputError(
            f"--weights {weights}: no row of this model has Swin blocks, so there is nothing to draw; take one trained "
            "with rows SwinStage or C3STR, such as --cfg yolov5n-swin.yaml"
        )
    if rows is None:
        return having
    if wrong := [number for number in rows if number not in having]:
        raise InputError(
            f"--rows {' '.join(map(str, wrong))}: no Swin blocks there; the rows that have some are "
            f"{', '.join(map(str, having))}"
        )
    return [number for number in having if number in rows]


def view_row(
    model: DetectionModel, number: int, image: NetworkImage, at: tuple[int, int], *, image_name: str
) -> RowView:
    """Run a model on an image and look at the token of a row that lies under a pixel.

    Args:
        model: in eval mode.
        number: of a row that has Swin blocks.
        image: as the network takes it.
        at: (x, y) of the pixel, in the image before it was letterboxed.
        image_name: for the picture.
    """
    layer: Any = model.model[number]
    blocks = swin_blocks(layer)
    images = image.tensor(next(model.parameters()).device)
    with torch.no_grad(), recorded_inputs(blocks) as inputs:
        model(images)
    map_hw = inputs[0].map_hw
    stride = round(images.shape[3] / map_hw[1])
    x, y = image.place(*at)
    token = int(y // stride), int(x // stride)
    field = effective_receptive_field(model, layer, images, token=token)
    return RowView(
        number=number,
        layer=type(layer).__name__,
        network_rgb=image.rgb,
        stride=stride,
        token=token,
        image_name=image_name,
        at=at,
        blocks=[view_block(block, given, token) for block, given in zip(blocks, inputs, strict=True)],
        receptive_field=_numpy(field),
    )


def view_block(block: SwinBlock, given: AttentionInput, token: tuple[int, int]) -> BlockView:
    """What a block does for the token at (row, column) of its map, of the first image that it was given."""
    layout = window_layout(*given.map_hw, block.attn.window_size, block.shift_size)
    window, place = layout.find(*token)
    mask = given.mask if given.mask is None else given.mask[window][None]
    weights = attention_weights(block.attn, given.windows[window][None], mask)
    return BlockView(
        layout=layout,
        shift_size=block.shift_size,
        mask=None if given.mask is None else _numpy(given.mask),
        window=window,
        token=place,
        attention=_numpy(weights[0, :, place]),
        bias=_numpy(bias_by_offset(block.attn)),
    )


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()
