"""Image files of every format."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pytorch_grad_cam.utils.image_files import PictureError, encode_jpeg, open_picture, write_whole

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 30, 3), np.uint8)
GRAY = RNG.integers(0, 256, (20, 30), np.uint8)


def reopened(tmp_path, image, suffix=".png", **options):
    image.save(tmp_path / f"picture{suffix}", **options)
    image = open_picture(tmp_path / f"picture{suffix}")
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_rgb_is_unchanged(tmp_path, suffix):
    np.testing.assert_array_equal(reopened(tmp_path, Image.fromarray(PIXELS), suffix), PIXELS)


def test_gray_has_three_equal_channels(tmp_path):
    np.testing.assert_array_equal(reopened(tmp_path, Image.fromarray(GRAY)), np.stack([GRAY] * 3, -1))


def test_one_bit_is_black_and_white(tmp_path):
    expected = np.where(GRAY[..., None] > 127, 255, 0).repeat(3, -1)
    np.testing.assert_array_equal(reopened(tmp_path, Image.fromarray(GRAY > 127)), expected)


@pytest.mark.parametrize(("suffix", "dtype"), [(".png", "<u2"), (".tif", "<u2"), (".tif", "<i4")])
def test_16_bit_gray_is_scaled_not_clipped(tmp_path, suffix, dtype):
    values = (GRAY.astype(dtype) * 257).astype(dtype)
    np.testing.assert_array_equal(reopened(tmp_path, Image.fromarray(values), suffix), np.stack([GRAY] * 3, -1))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_shows_white_behind(tmp_path, mode):
    alpha = RNG.integers(0, 256, (20, 30), np.uint8)
    image = Image.fromarray(PIXELS).convert(mode)
    opaque = np.asarray(image.convert("RGB"), float)
    image.putalpha(Image.fromarray(alpha))
    share = alpha[..., None] / 255
    got = reopened(tmp_path, image)
    np.testing.assert_allclose(got, share * opaque + (1 - share) * 255, atol=1)


def test_palette(tmp_path):
    image = Image.fromarray(PIXELS).quantize(16)
    np.testing.assert_array_equal(reopened(tmp_path, image), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_transparent_palette_shows_white_behind(tmp_path, suffix):
    image = Image.new("P", (30, 20), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 0, 15, 20))
    got = reopened(tmp_path, image, suffix, transparency=0)
    assert (got[:, :15] == (0, 0, 255)).all()
    assert (got[:, 15:] == 255).all()


def test_transparent_color_of_rgb(tmp_path):
    pixels = PIXELS.copy()
    pixels[:5] = (1, 2, 3)
    assert (reopened(tmp_path, Image.fromarray(pixels), transparency=(1, 2, 3))[:5] == 255).all()


def test_cmyk(tmp_path):
    image = Image.new("CMYK", (30, 20), (255, 0, 0, 0))
    got = reopened(tmp_path, image, ".jpg", quality=100)
    np.testing.assert_allclose(got, np.broadcast_to((0, 255, 255), got.shape), atol=4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(tmp_path, orientation):
    upright = Image.fromarray(PIXELS)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # to the transposition that the flag undoes
    stored = upright.transpose(Image.Transpose(back[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(reopened(tmp_path, stored, exif=exif), PIXELS)


def test_name_with_spaces_and_letters(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "größe 写真.png")
    assert open_picture(str(tmp_path / "größe 写真.png")).size == (30, 20)


def test_missing_file(tmp_path):
    with pytest.raises(PictureError, match=r"no such file: .*none\.png"):
        open_picture(tmp_path / "none.png")


def test_folder(tmp_path):
    with pytest.raises(PictureError, match="is a folder"):
        open_picture(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"Hello, world", "not an image"), (b"\x89PNG\r\n\x1a\n", "not an image")],
)
def test_no_picture(tmp_path, content, reason):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=reason) as error:
        open_picture(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".tif", ".webp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated(tmp_path, suffix, share):
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(np.kron(PIXELS, np.ones((9, 9, 1), np.uint8))).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(PictureError, match="picture"):
        open_picture(path)


def test_decompression_bomb(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(PictureError, match="bomb"):
        open_picture(path)


@pytest.mark.filterwarnings("error")
def test_large_photographs_are_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    np.testing.assert_array_equal(reopened(tmp_path, Image.fromarray(PIXELS)), PIXELS)


@pytest.mark.parametrize("values", [np.full((4, 4), 0.5, np.float32), np.full((4, 4), 70000, np.int32)])
def test_ranges_that_cannot_be_guessed(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "picture.tif")
    with pytest.raises(PictureError, match="expected .*16 bits"):
        open_picture(tmp_path / "picture.tif")


def test_jpeg_has_quality_95(tmp_path):
    (tmp_path / "ours.jpg").write_bytes(encode_jpeg(PIXELS))
    Image.fromarray(PIXELS).save(tmp_path / "pillow.jpg", quality=95)
    with Image.open(tmp_path / "ours.jpg") as ours, Image.open(tmp_path / "pillow.jpg") as pillow:
        assert ours.quantization == pillow.quantization
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(pillow))


def test_more_than_a_jpeg_can_hold():
    with pytest.raises(PictureError, match="70000 x 1"):
        encode_jpeg(np.zeros((1, 70000, 3), np.uint8))


def test_write_whole_replaces(tmp_path):
    path = tmp_path / "größe.jpg"
    write_whole({path: b"old"})
    write_whole({path: b"new"})
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["größe.jpg"]
    assert path.stat().st_mode & 0o444 == 0o444 & ~_umask()


def test_a_file_in_pieces_is_written_whole_or_not_at_all(tmp_path):
    def pieces(count):
        yield from (b"piece " for _ in range(count))
        if count > 2:
            raise KeyboardInterrupt

    write_whole({tmp_path / "page": pieces(2)})
    with pytest.raises(KeyboardInterrupt):
        write_whole({tmp_path / "page": pieces(3)})
    assert (tmp_path / "page").read_bytes() == b"piece piece "
    assert os.listdir(tmp_path) == ["page"]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        write_whole({tmp_path / "free": b"data", tmp_path / "taken": b"data"})
    assert os.listdir(tmp_path) == ["taken"]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
