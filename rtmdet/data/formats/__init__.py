"""Annotation formats besides COCO: recognized, turned into a COCO file, and some written."""
