"""What detections are worth against ground truth: numbers from pycocotools objects, no model and no file of images."""
