"""The same id for the same object from frame to frame, by ultralytics' ByteTrack or BoT-SORT."""

import numpy as np
from ultralytics.engine.results import Boxes
from ultralytics.utils import YAML, IterableSimpleNamespace
from ultralytics.utils.checks import check_yaml

from swin_yolo.engine.detector import Detections
from swin_yolo.engine.packages import nothing_installed, require
from swin_yolo.video.frames import Clip, Frame

TRACKERS = ("bytetrack", "botsort")
# The trackers' least score of a box that may carry on a track, though it may not start one.
LOW_SCORE = 0.1


class Tracker:
    """Gives detections their ids; to be called with the frames in order.

    Ids start from 1 in each video; images in a row count as one.

    Args:
        name: one of TRACKERS, with ultralytics' settings for it.
        conf_thres: least score of a box that starts a track.

    Raises:
        InputError: if the package that the trackers need is missing.
    """

    def __init__(self, name: str, *, conf_thres: float):
        require("--track", "lap")
        with nothing_installed():
            from ultralytics.trackers.track import TRACKER_MAP

        settings = YAML.load(check_yaml(f"{name}.yaml"))
        settings |= {"track_high_thresh": conf_thres, "new_track_thresh": conf_thres}
        settings["track_low_thresh"] = least_score(conf_thres)
        self._tracker = TRACKER_MAP[name](args=IterableSimpleNamespace(**settings))
        self._clip: Clip | None = None

    def update(self, frame: Frame, detections: Detections) -> Detections:
        """The tracked ones of a frame's detections, boxes smoothed over time, by falling score."""
        clip = frame.clip
        if self._clip is not None and clip != self._clip and (clip.fps is not None or self._clip.fps is not None):
            self._tracker.reset()
        self._clip = clip
        rows = np.column_stack((detections.boxes_xyxy, detections.scores, detections.class_indices))
        boxes = Boxes(rows.astype(np.float32), frame.image_bgr.shape[:2])
        tracks = self._tracker.update(boxes, frame.image_bgr).reshape(-1, 8)  # corners, id, score, class, index
        tracks = tracks[np.argsort(-tracks[:, 5], kind="stable")]
        height, width = frame.image_bgr.shape[:2]
        corners = tracks[:, :4].clip(0, [width, height, width, height]).astype(np.float32)
        return Detections(corners, tracks[:, 5], tracks[:, 6].astype(np.int64), tracks[:, 4].astype(np.int64))


def least_score(conf_thres: float) -> float:
    """The score from which on a tracker wants to see boxes, if those from `conf_thres` on start tracks."""
    return min(conf_thres, LOW_SCORE)
