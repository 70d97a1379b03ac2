"""Images in other color spaces equal their sRGB counterparts."""

import io
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from assay.image import Preprocess, color_management, decode, icc_profiles
from assay.inference.inputs import read_input
from assay.recipe import PreprocessSpec

Encode = Callable[..., bytes]
WithChunks = Callable[..., bytes]
Array = np.ndarray

# Linear sRGB to linear light of each space, from its primaries (CSS Color 4, 2022).
_TO = {
    "p3": np.array([[0.8224621, 0.177538, 0], [0.0331941, 0.9668058, 0], [0.0170827, 0.0723974, 0.9105199]]),
    "adobe": np.array([[0.7151256, 0.2848744, 0], [0, 1, 0], [0, 0.0411619, 0.9588381]]),
    "2020": np.array(
        [
            [0.6274039, 0.3292830, 0.0433131],
            [0.0690973, 0.9195404, 0.0113623],
            [0.0163914, 0.0880133, 0.8955953],
        ]
    ),
}
_PROFILES = {
    "p3": icc_profiles.cicp_profile(12, 13) or b"",
    "adobe": icc_profiles.rgb_profile(icc_profiles.ADOBE_RGB, icc_profiles.ADOBE_GAMMA),
    "2020": icc_profiles.cicp_profile(9, 13) or b"",
}


@pytest.fixture(scope="module")
def photo(photo: Image.Image) -> Image.Image:
    """Give colours of middling saturation: at the edge of sRGB a step of a wide space is many of sRGB's."""
    return Image.fromarray((40 + 0.7 * np.asarray(photo)).astype(np.uint8))


def _linear(levels: Array) -> Array:
    signal = levels / 255
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _signal(light: Array) -> Array:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


def _twin(photo: Image.Image, space: str) -> Image.Image:
    """Write an sRGB photo in a wider space."""
    light = _linear(np.asarray(photo).astype(float)) @ _TO[space].T
    signal = light ** (256 / 563) if space == "adobe" else _signal(light)
    return Image.fromarray(np.rint(signal * 255).astype(np.uint8))


def _apart(one: Array, other: Array) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("space", _TO)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_wide_gamut_image_equals_its_srgb_counterpart(encode: Encode, photo: Image.Image, space: str, kind: str):
    options = {"lossless": True} if kind == "WEBP" else {}
    wide = _twin(photo, space)
    data = encode(wide, kind, icc_profile=_PROFILES[space], **options)
    assert _apart(decode(data), np.asarray(photo)) <= 5  # rounding in the dark, where its steps are coarse
    assert np.abs(decode(data).astype(int) - np.asarray(photo)).mean() < 0.6
    assert _apart(np.asarray(wide), np.asarray(photo)) > 20


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
def test_lossy_formats(encode: Encode, photo: Image.Image, kind: str):
    data = encode(_twin(photo, "p3"), kind, quality=95, icc_profile=_PROFILES["p3"])
    assert np.abs(decode(data).astype(int) - decode(encode(photo, kind, quality=95))).mean() < 1


def test_profiles_of_bmp_and_jpeg_2000(encode: Encode, photo: Image.Image):
    wide, profile = _twin(photo, "p3"), _PROFILES["p3"]
    plain = encode(wide, "BMP")
    pixels = plain[54:]
    header = struct.pack("<I", 124) + plain[18:54] + bytes(16) + b"DEBM" + bytes(48)
    header += struct.pack("<IIII", 4, 124 + len(pixels), len(profile), 0)
    bmp = b"BM" + struct.pack("<IHHI", 14 + 124 + len(pixels) + len(profile), 0, 0, 138) + header + pixels + profile
    assert np.abs(decode(bmp).astype(int) - np.asarray(photo)).mean() < 0.6
    jp2 = encode(wide, "JPEG2000")
    start = jp2.index(b"colr") - 4
    size = int.from_bytes(jp2[start : start + 4])
    box = struct.pack(">I4s3B", 11 + len(profile), b"colr", 2, 0, 0) + profile
    jp2 = jp2[:start] + box + jp2[start + size :]
    grown = jp2.index(b"jp2h") - 4
    length = int.from_bytes(jp2[grown : grown + 4]) + len(box) - size
    jp2 = jp2[:grown] + length.to_bytes(4) + jp2[grown + 4 :]
    assert np.abs(decode(jp2).astype(int) - np.asarray(photo)).mean() < 0.6


def test_profile_in_several_jpeg_segments(encode: Encode, photo: Image.Image):
    padded = _padded(_PROFILES["p3"], 150_000)
    data = encode(_twin(photo, "p3"), "JPEG", quality=95, icc_profile=padded)
    assert data.count(b"ICC_PROFILE\0") == 3
    plain = encode(_twin(photo, "p3"), "JPEG", quality=95, icc_profile=_PROFILES["p3"])
    np.testing.assert_array_equal(decode(data), decode(plain))


def test_large_profile_in_a_png(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    wide = _twin(photo, "p3")
    chunk = (b"iCCP", b"P3\0\0" + zlib.compress(_padded(_PROFILES["p3"], 3 << 20)))
    expected = decode(encode(wide, "PNG", icc_profile=_PROFILES["p3"]))
    np.testing.assert_array_equal(decode(with_chunks(encode(wide, "PNG"), chunk)), expected)


def _padded(profile: bytes, size: int) -> bytes:
    return struct.pack(">I", size) + profile[4:] + os.urandom(size - len(profile))


def test_reduced_and_cropped_jpeg_have_the_same_colors(encode: Encode, photo: Image.Image):
    options = {"quality": 95, "icc_profile": _PROFILES["p3"]}
    large = photo.resize((1080, 1920))
    wide = encode(_twin(large, "p3"), "JPEG", **options)
    plain = encode(large, "JPEG", quality=95)
    for spec in (PreprocessSpec(size=64), PreprocessSpec(size=64, roi=(0.1, 0.1, 0.9, 0.3))):
        read = Preprocess(spec).read
        assert np.abs(read(wide).astype(int) - read(plain)).mean() < 1
        assert np.abs(read(encode(_twin(large, "p3"), "JPEG", quality=95)).astype(int) - read(plain)).mean() > 4


def test_transparent_and_palette_images(encode: Encode, photo: Image.Image):
    wide = _twin(photo, "p3")
    alpha = Image.linear_gradient("L").resize(photo.size)
    wide.putalpha(alpha)
    clear = photo.copy()
    clear.putalpha(alpha)
    got = decode(encode(wide, "PNG", icc_profile=_PROFILES["p3"]))
    assert _apart(got, decode(encode(clear, "PNG"))) <= 5
    few = photo.quantize(64)
    twin = few.copy()
    colours = np.array(few.getpalette(), np.uint8).reshape(1, -1, 3)
    twin.putpalette(np.asarray(_twin(Image.fromarray(colours), "p3")).tobytes())
    got = decode(encode(twin, "PNG", icc_profile=_PROFILES["p3"]))
    assert _apart(got, np.asarray(few.convert("RGB"))) <= 5


def _gray_profile(gamma: float) -> bytes:
    """A gray profile of one power, as image editors embed it ("Gray Gamma 1.8")."""
    rgb = icc_profiles.rgb_profile(icc_profiles.REC709, gamma)
    tags = {rgb[132 + 12 * n : 136 + 12 * n]: struct.unpack(">II", rgb[136 + 12 * n : 144 + 12 * n]) for n in range(9)}
    content = {b"wtpt": b"wtpt", b"desc": b"desc", b"cprt": b"cprt", b"kTRC": b"rTRC"}
    table, body = struct.pack(">I", 4), b""
    for name, source in content.items():
        start, size = tags[source]
        table += struct.pack(">4sII", name, 128 + 52 + len(body), size)
        body += rgb[start : start + size] + bytes(-size % 4)
    head = bytearray(rgb[:128])
    head[16:20] = b"GRAY"
    head[:4] = struct.pack(">I", 180 + len(body))
    return bytes(head) + table + body


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_gray_profiles(encode: Encode, mode: str):
    levels = np.arange(256, dtype=np.uint8)[None]
    image = Image.fromarray(levels.astype(np.uint16) * 257 if mode == "I;16" else levels)
    image = image.convert("LA") if mode == "LA" else image
    got = decode(encode(image, "PNG", icc_profile=_gray_profile(1.8)))
    expected = np.rint(_signal((levels / 255) ** 1.8) * 255)
    assert np.abs(got[0, 3:, 0] - expected[0, 3:]).max() <= 2
    assert _apart(got, got[:, :, :1].repeat(3, axis=2)) <= 1
    assert np.abs(expected - levels).max() > 15


def test_gray_image_with_an_rgb_profile(encode: Encode):
    levels = np.arange(256, dtype=np.uint8)[None]
    got = decode(encode(Image.fromarray(levels), "PNG", icc_profile=icc_profiles.rgb_profile(icc_profiles.REC709, 1.8)))
    assert np.abs(got[0, 3:, 1] - np.rint(_signal((levels / 255) ** 1.8) * 255)[0, 3:]).max() <= 2


def _cmyk_profile() -> bytes:
    """A press whose inks are all gray: lightness is what K and half of M leave."""
    corners = np.array([[c, m, y, k] for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)])
    light = (1 - corners[:, 3]) * (1 - corners[:, 1] / 2)
    lab = np.stack([light * 255, np.full(16, 128), np.full(16, 128)], axis=1).astype(np.uint8)
    ramp = bytes(range(256))
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit + ramp * 4 + lab.tobytes() + ramp * 3
    rgb = icc_profiles.rgb_profile(icc_profiles.REC709, 1.8)
    head = bytearray(rgb[:128])
    head[:4] = struct.pack(">I", 144 + len(lut))
    head[8:24] = struct.pack(">I4s4s4s", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    return bytes(head) + struct.pack(">I4sII", 1, b"A2B0", 144, len(lut)) + lut


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_profiles(encode: Encode, kind: str):
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[:, 4:, 1] = 255
    image = Image.fromarray(inks, "CMYK")
    got = decode(encode(image, kind, icc_profile=_cmyk_profile())).astype(int)
    assert (got[:, :3] >= 253).all()
    assert np.abs(got[:, 6:] - 119).max() <= 3  # L* 50
    assert (decode(encode(image, kind))[:, 6:, 1] < 5).all()  # magenta without the profile


def test_profile_of_another_color_space_is_ignored(encode: Encode, photo: Image.Image):
    for image, profile in (
        (photo, _cmyk_profile()),
        (photo, _gray_profile(1.8)),
        (photo.convert("L"), _cmyk_profile()),
        (photo.convert("CMYK"), _PROFILES["p3"]),
    ):
        np.testing.assert_array_equal(decode(encode(image, "TIFF", icc_profile=profile)), decode(encode(image, "TIFF")))


def _srgb_variants() -> dict[str, bytes]:
    levels = np.linspace(0, 1, 1024)
    curve = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    points = np.linspace(0, 1, 26)  # the smallest that are embedded
    few = np.where(points <= 0.04045, points / 12.92, ((points + 0.055) / 1.055) ** 2.4)
    return {
        "curve": icc_profiles.rgb_profile(icc_profiles.REC709, None),
        "table": icc_profiles.rgb_profile(icc_profiles.REC709, curve),
        "few points": icc_profiles.rgb_profile(icc_profiles.REC709, few),
        "lcms": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "primaries rounded": icc_profiles.rgb_profile(
            ((0.3127, 0.329), (0.6401, 0.33), (0.2999, 0.6), (0.15, 0.0601)), None
        ),
    }


@pytest.mark.parametrize("name", _srgb_variants())
def test_srgb_profiles_change_no_pixel(encode: Encode, photo: Image.Image, name: str):
    profile = _srgb_variants()[name]
    np.testing.assert_array_equal(decode(encode(photo, "PNG", icc_profile=profile)), np.asarray(photo))
    assert color_management.srgb_transform_of_profile(profile, "RGB") is None


def test_other_profile_called_srgb_is_applied(encode: Encode, photo: Image.Image):
    linear = icc_profiles.rgb_profile(icc_profiles.REC709, 1.0).replace(
        "Assay".encode("utf-16-be"), "sRGB!".encode("utf-16-be")
    )
    assert decode(encode(photo, "PNG", icc_profile=linear)).mean() > np.asarray(photo).mean() + 20


def _broken() -> dict[str, bytes]:
    p3 = _PROFILES["p3"]
    noise = np.random.default_rng(0).integers(0, 256, 600, dtype=np.uint8).tobytes()
    return {
        "short": p3[:100],
        "cut": p3[:-60],
        "noise": noise,
        "zeros": bytes(600),
        "no tags": p3[:128] + bytes(4) + p3[132:],
        "many tags": p3[:128] + b"\xff\xff\xff\xff" + p3[132:],
        "device link": p3[:12] + b"link" + p3[16:],
        "named colours": p3[:12] + b"nmcl" + p3[16:],
        "space": p3[:16] + b"Luv " + p3[20:],
        "curve of a thousand million": p3.replace(b"para\0\0\0\0\0\3", b"curv\0\0\0\0\x3b\x9a"),
    }


@pytest.mark.parametrize("name", _broken())
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_broken_profile_is_ignored(encode: Encode, photo: Image.Image, name: str, kind: str):
    with_it = decode(encode(photo, kind, icc_profile=_broken()[name]))
    np.testing.assert_array_equal(with_it, decode(encode(photo, kind)))


def test_mutated_profiles_are_fast_and_never_raise(encode: Encode, photo: Image.Image):
    generator = np.random.default_rng(5)
    sources = [_PROFILES["p3"], _cmyk_profile(), _gray_profile(1.8), icc_profiles.cicp_profile(9, 16) or b""]
    started = time.thread_time()
    for number in range(100):
        profile = bytearray(sources[number % 4])
        for place in generator.integers(0, min(len(profile), 700), 6):
            profile[place] = generator.choice([0, 1, 127, 255, generator.integers(256)])
        image = photo.convert("CMYK") if number % 4 == 1 else photo.convert("L") if number % 4 == 2 else photo
        decode(encode(image, "TIFF", icc_profile=bytes(profile)))
    assert time.thread_time() - started < 20


def test_png_color_chunks(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    wide, plain = _twin(photo, "p3"), np.asarray(photo)
    data = encode(wide, "PNG")
    cicp = (b"cICP", bytes([12, 13, 0, 1]))
    assert _apart(decode(with_chunks(data, cicp)), plain) <= 5
    assert _apart(decode(with_chunks(encode(wide, "PNG", icc_profile=_PROFILES["adobe"]), cicp)), plain) <= 5
    numbers = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
    chrm = (b"cHRM", struct.pack(">8I", *(round(number * 100_000) for number in numbers)))
    gama = (b"gAMA", struct.pack(">I", 45455))
    assert _apart(decode(with_chunks(data, chrm, gama)), plain) <= 5
    assert _apart(decode(with_chunks(data, (b"sRGB", b"\0"), chrm, gama)), np.asarray(wide)) == 0
    profiled = encode(photo, "PNG", icc_profile=_srgb_variants()["curve"])
    assert _apart(decode(with_chunks(profiled, chrm, gama)), plain) == 0


def test_png_gamma(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    light = Image.fromarray(np.rint(_linear(np.asarray(photo).astype(float)) * 255).astype(np.uint8))
    got = decode(with_chunks(encode(light, "PNG"), (b"gAMA", struct.pack(">I", 100_000))))
    bright = np.asarray(photo) > 100
    assert np.abs(got.astype(int) - np.asarray(photo))[bright].max() <= 3
    for value in (45454, 45455, 45460, 0, 1, 2**31):
        data = with_chunks(encode(photo, "PNG"), (b"gAMA", struct.pack(">I", value)))
        np.testing.assert_array_equal(decode(data), np.asarray(photo))


@pytest.mark.parametrize("numbers", [[0] * 8, [2**32 - 1] * 8, [31270, 32900, *[30000] * 6], [0.3] * 3])
def test_invalid_chunks_are_ignored(encode: Encode, photo: Image.Image, with_chunks: WithChunks, numbers: list[int]):
    chrm = (b"cHRM", b"".join(struct.pack(">I", int(number)) for number in numbers))
    data = with_chunks(encode(photo, "PNG"), chrm, (b"gAMA", struct.pack(">I", 45455)), (b"cICP", b"\1"))
    np.testing.assert_array_equal(decode(data), np.asarray(photo))


@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (1, 1), (2, 2), (99, 13), (1, 6), (0, 0)])
def test_code_points_of_srgb_or_unknown(primaries: int, transfer: int):
    assert icc_profiles.cicp_profile(primaries, transfer) is None


def test_code_points_in_avif(encode: Encode, photo: Image.Image):
    wide = encode(_twin(photo, "p3"), "AVIF", quality=95)
    place = wide.index(b"colrnclx") + 8
    marked = wide[:place] + struct.pack(">HH", 12, 13) + wide[place + 4 :]
    assert np.abs(decode(marked).astype(int) - decode(encode(photo, "AVIF", quality=95))).mean() < 1.2
    assert np.abs(decode(wide).astype(int) - decode(encode(photo, "AVIF", quality=95))).mean() > 4


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_diffuse_white_is_white_and_black_is_black(transfer: int):
    way = color_management.srgb_transform_of_profile(icc_profiles.cicp_profile(9, transfer) or b"", "RGB")
    assert way is not None
    white = {16: 0.5807, 18: 0.75}[transfer]  # ITU-R BT.2408
    levels = np.array([[[0] * 3, [round(white * 255)] * 3, [255] * 3]], np.uint8)
    black, diffuse, bright = np.asarray(way(Image.fromarray(levels)))[0, :, 1].tolist()
    assert black <= 1
    assert diffuse >= 250
    assert bright == 255


def test_adobe_rgb_by_exif(encode: Encode, photo: Image.Image):
    wide = _twin(photo, "adobe")

    def written(index: str) -> bytes:
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0xA001] = 0xFFFF
        exif.get_ifd(0x8769)[0xA005] = {1: index}
        return encode(wide, "JPEG", quality=95, exif=exif)

    plain = decode(encode(photo, "JPEG", quality=95)).astype(int)
    assert np.abs(decode(written("R03")) - plain).mean() < 1
    np.testing.assert_array_equal(decode(written("R98")), decode(encode(wide, "JPEG", quality=95)))


def test_pillow_image_equals_its_file(encode: Encode, photo: Image.Image):
    data = encode(_twin(photo, "p3"), "PNG", icc_profile=_PROFILES["p3"])
    preprocess = Preprocess(PreprocessSpec(size=32))
    with Image.open(io.BytesIO(data)) as image:
        before = np.asarray(image).copy()
        np.testing.assert_array_equal(read_input(image, preprocess), preprocess.read(data))
        np.testing.assert_array_equal(np.asarray(image), before)


def test_threads_convert_the_same(encode: Encode, photo: Image.Image):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    files = [encode(image, "PNG", icc_profile=_PROFILES[space]) for image in (photo, noise) for space in _TO]
    alone = [decode(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        for pixels, expected in zip(pool.map(decode, files * 20), alone * 20, strict=True):
            np.testing.assert_array_equal(pixels, expected)


def test_transforms_are_cached_and_bounded(monkeypatch: pytest.MonkeyPatch):
    built: list[int] = []
    build = ImageCms.buildTransform
    monkeypatch.setattr(ImageCms, "buildTransform", lambda *given: (built.append(1), build(*given))[1])
    profiles = [icc_profiles.rgb_profile(icc_profiles.REC709, 1.5 + number / 100) for number in range(40)]
    for profile in profiles[:10] * 3:
        assert color_management.srgb_transform_of_profile(profile, "RGB") is not None
    assert len(built) == 10
    before = threading.active_count()
    for profile in profiles:
        color_management.srgb_transform_of_profile(profile, "RGB")
    assert len(built) == 40
    assert len(color_management._transforms._cached) <= 16
    assert threading.active_count() == before
