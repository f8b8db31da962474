"""Weight files: our checkpoints, OpenMMLab's, timm's; read without running any code from them."""
