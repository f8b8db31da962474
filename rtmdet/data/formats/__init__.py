"""Other annotation formats, each turned into a COCO file by one function."""
