"""Names the package to install where one that this package requires is missing, as after `pip install --no-deps`."""

from rtmdet.core.errors import InputError

PACKAGES = {  # name in Python -> name for pip
    **{name: name for name in ("albumentations", "hotcoco", "matplotlib", "numpy", "pycocotools")},
    **{name: name for name in ("safetensors", "timm", "torch", "torchvision", "tqdm")},
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "pytorch_grad_cam": "grad-cam",
    "yaml": "pyyaml",
}


def missing_package(error: ModuleNotFoundError) -> InputError | None:
    """The line for a required package that is missing; None for other modules, whose absence is a fault."""
    if error.name not in PACKAGES:
        return None
    name = PACKAGES[error.name]
    return InputError(f"this command needs the package {name}, which is missing: pip install {name}")
