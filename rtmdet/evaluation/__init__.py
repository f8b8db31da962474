"""From detections to numbers: COCO metrics, matches, F1 curves, confidence intervals."""
