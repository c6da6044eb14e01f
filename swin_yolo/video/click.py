"""A pixel that the user points at."""

import cv2
import numpy as np

WINDOW = "swin-yolo: click on a pixel, then press a key"
LARGEST_WH = (1280, 720)  # so that the whole image is on the screen
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def clicked_pixel(image_bgr: np.ndarray) -> tuple[int, int]:
    """Show an image until a pixel was clicked and a key pressed; (x, y) of the last click. Main thread only.

    Raises:
        KeyboardInterrupt: q, Esc or the closing of the window, before or after a click.
    """
    height, width = image_bgr.shape[:2]
    scale = min(LARGEST_WH[0] / width, LARGEST_WH[1] / height, 1.0)
    shown = cv2.resize(image_bgr, (max(round(width * scale), 1), max(round(height * scale), 1)))
    clicks: list[tuple[int, int]] = []

    def note(event: int, x: int, y: int, flags: int, data: object) -> None:
        if event == cv2.EVENT_LBUTTONDOWN:
            clicks.append((x, y))

    cv2.namedWindow(WINDOW, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)  # without Qt's toolbar
    try:
        cv2.setMouseCallback(WINDOW, note)
        while True:
            marked = shown.copy()
            if clicks:
                for colour, thickness in ((BLACK, 5), (WHITE, 2)):
                    cv2.drawMarker(marked, clicks[-1], colour, cv2.MARKER_CROSS, 24, thickness)
            cv2.imshow(WINDOW, marked)
            key = cv2.waitKey(30) & 0xFF
            if key in (ord("q"), 27) or cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) < 1:
                raise KeyboardInterrupt
            if key != 0xFF and clicks:
                x, y = clicks[-1]
                return min(int((x + 0.5) / scale), width - 1), min(int((y + 0.5) / scale), height - 1)
    finally:
        cv2.destroyAllWindows()
