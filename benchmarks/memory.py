"""Whether a detector that is called many times holds on to memory: the process's memory after 100 to 10,000 calls.

    OMP_WAIT_POLICY=passive python benchmarks/memory.py data/balloon/val --weights rtmdet-nano-person --input 320
    python benchmarks/memory.py data/balloon/val --weights FILE.pth --calls 1000 --json memory.json

Half of the calls read one of the photos, half take an array whose size changes with every call. Linux with glibc
only: the memory is the resident set of /proc, after free memory was given back.
"""

import argparse
import ctypes
import json
import os
import time
from pathlib import Path

import numpy as np

from rtmdet import Detector
from rtmdet.core.files import files_below
from rtmdet.images.reading import IMAGE_SUFFIXES

STOPS = (100, 1000, 2000, 5000, 10_000)  # calls after which the memory is printed
PHOTOS = 5
SIDES = (64, 1280)  # pixels: the range of the arrays' sides


def main() -> None:
    """Call one detector, print a table."""
    parser = argparse.ArgumentParser(description="Memory of a process whose detector is called many times.")
    parser.add_argument("photos", type=Path, help=f"a folder, whose first {PHOTOS} photos are used")
    parser.add_argument("--weights", required=True, help="checkpoint file or published name")
    parser.add_argument("--input", type=int, default=320, help="input size in pixels")
    parser.add_argument("--calls", type=int, default=STOPS[-1])
    parser.add_argument("--json", type=Path, help="write the measurements here")
    arguments = parser.parse_args()
    photos = files_below(arguments.photos, IMAGE_SUFFIXES, levels=0)[:PHOTOS]
    detector = Detector(arguments.weights, input_size=(arguments.input, arguments.input), device="cpu")
    resident = measure(detector, photos, arguments.calls)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(resident, indent=2) + "\n")


def measure(detector: Detector, photos: list[Path], calls: int) -> dict[int, float]:
    """Megabytes after each number of calls in STOPS and after the last one, printed as they are known."""
    rng = np.random.default_rng(0)
    resident: dict[int, float] = {}
    objects, began = 0, time.perf_counter()
    for call in range(1, calls + 1):
        image = photos[call // 2 % len(photos)] if call % 2 else random_array(rng)
        objects += len(detector(image))
        del image  # of another size at each line
        if call in STOPS or call == calls:
            resident[call] = resident_megabytes()
            growth = resident[call] - next(iter(resident.values()))  # since the first line: then all is loaded
            done = f"{objects} objects, {time.perf_counter() - began:.0f} s"
            print(f"{call:>6} calls   {resident[call]:7.1f} MB   {growth:+6.1f} MB   {done}", flush=True)
    return resident


def random_array(rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 noise of a random size."""
    height, width = rng.integers(*SIDES, size=2)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def resident_megabytes() -> float:
    """The memory that this process has in use now, in 10^6 bytes."""
    ctypes.CDLL(None).malloc_trim(0)  # free memory that the C library keeps for later would hide a small leak
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
