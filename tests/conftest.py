"""Settings that must be in place before torch and ultralytics are imported."""

import os
import tempfile

# ultralytics writes a settings file where this points, at import.
os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="swin_yolo_tests_")
# Nothing of the tests goes into the user's cache.
os.environ["SWIN_YOLO_CACHE"] = tempfile.mkdtemp(prefix="swin_yolo_tests_")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_OFFLINE", "true")
# Threads that spin while they wait take the cores from the other processes of a shared machine: 20 times slower there.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
