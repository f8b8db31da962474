"""From annotated images to batches: annotation formats, the COCO data set, augmentation and the loader."""
