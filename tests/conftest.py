"""Settings that must be in place before ultralytics is imported."""

import os
import tempfile

# ultralytics writes a settings file where this points, at import.
os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="swin_yolo_tests_")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_OFFLINE", "true")
