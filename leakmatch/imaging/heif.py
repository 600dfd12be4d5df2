"""HEIC and HEIF for Pillow: the only module that knows pillow-heif."""

from __future__ import annotations

import pillow_heif
from PIL import Image

FORMAT = "HEIF"


def register() -> None:
    """Make Pillow read HEIF. One thread, and none of the pictures beside the picture (thumbnail, depth, mask).

    Pillow is told to accept whatever reaches it under this name: the signature was looked at before, and with more
    brands than the plugin's own list.
    """
    if FORMAT not in Image.OPEN:
        pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
        Image.register_open(FORMAT, pillow_heif.HeifImageFile)
