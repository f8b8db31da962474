"""What the commands do, for Python; each name is imported on first use as `rtmdet.NAME`.

    rtmdet.convert_data("balloon/via_region_data.json", "balloon/train.json", format="via", class_name="balloon")
    run = rtmdet.train("data/balloon", weights="rtmdet-tiny-coco", epochs=40, output="runs/balloon")
    print(rtmdet.evaluate(run.last, "data/balloon", split="val"))

Like the commands, the functions print their choices and their progress. Bad input raises InputError.
"""
