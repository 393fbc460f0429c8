"""Pictures as they come: turned, of other modes, too large."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from fillgap.encoders import load_picture
from fillgap.errors import InputError


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def test_the_orientation_of_a_camera_is_applied():
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter, clockwise, to be upright
    found = load_picture(encoded(Image.fromarray(pixels), exif=exif))
    np.testing.assert_array_equal(np.asarray(found), np.rot90(pixels, -1))


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "expected"),
    [
        ("L", 90, "PNG", (90, 90, 90)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (255, 0, 0)),
        ("RGBA", (10, 200, 30, 0), "PNG", (10, 200, 30)),
        ("LA", (90, 20), "PNG", (90, 90, 90)),
        ("1", 1, "PNG", (255, 255, 255)),
        ("I;16", 0x8000, "PNG", (128, 128, 128)),
    ],
)
def test_every_mode_becomes_rgb(mode, colour, kind, expected):
    found = load_picture(encoded(Image.new(mode, (3, 2), colour), kind))
    assert (found.mode, found.size) == ("RGB", (3, 2))
    assert found.getpixel((1, 1)) == expected


def test_a_palette_becomes_its_colours():
    picture = Image.new("RGB", (3, 2), (10, 200, 30)).quantize(4)
    assert load_picture(encoded(picture)).getpixel((0, 0)) == (10, 200, 30)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("height", [9_000, 20_000])  # where Pillow warns, and where it refuses
def test_a_picture_that_claims_too_many_pixels_is_refused(height):
    bomb = encoded(Image.new("1", (10_000, height)))
    assert len(bomb) < 100_000
    with pytest.raises(InputError, match=r"at most 89478485 pixels, got .*Scale it down first"):
        load_picture(bomb)


def test_a_picture_that_broke_off_is_refused():
    with pytest.raises(InputError, match="must be a picture that can be decoded"):
        load_picture(encoded(Image.new("L", (9, 9)))[:40])
