"""From detections to numbers: COCO metrics, matches, curves over the score, intervals."""
