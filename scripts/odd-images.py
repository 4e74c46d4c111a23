"""Makes the images of tests/fixtures/images, good and bad, and expected.csv beside them: what Pillow makes of each, or why it is refused.

Needs Pillow 13 and libjpeg-turbo's cjpeg:

    python3 scripts/odd-images.py tests/fixtures/images
    cargo test --test data odd_images
"""

import csv
import io
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

from PIL import Image, ImageCms, ImageOps

# Side to side and top to bottom of the image, which no turn leaves as it was.
WIDTH, HEIGHT = 45, 33
# Places across and down at which the pixels are written down.
GRID = 5
if len(sys.argv) != 2:
    sys.exit(__doc__)
OUT = Path(sys.argv[1])
ROWS = []


def colour(x, y):
    """A smooth image, with a corner of its own."""
    if x < WIDTH // 3 and y < HEIGHT // 3:
        return (230, 40, 30)
    return (40 + 4 * x, 60 + 5 * y, 200 - 2 * x - 2 * y)


def photo(width=WIDTH, height=HEIGHT):
    image = Image.new("RGB", (width, height))
    image.putdata([colour(x * WIDTH // width, y * HEIGHT // height) for y in range(height) for x in range(width)])
    return image


def srgb():
    """A colour profile, without the time at which it was made."""
    return patched(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), 24, bytes(12))


def over_white(image):
    """What is transparent becomes white."""
    if image.mode.startswith("I"):
        image = image.point(lambda value: value / 257).convert("L")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def shown(content):
    image = Image.open(io.BytesIO(content))
    upright = ImageOps.exif_transpose(image)
    return over_white(upright)


def good(name, content, within, expected=None):
    """A file that shows what Pillow shows, or `expected`, up to so many grey levels."""
    (OUT / name).write_bytes(content)
    image = expected or shown(content)
    width, height = image.size
    places = [(x * (width - 1) // (GRID - 1), y * (height - 1) // (GRID - 1)) for y in range(GRID) for x in range(GRID)]
    pixels = " ".join("%02x%02x%02x" % image.getpixel(place) for place in places)
    ROWS.append([name, width, height, within, pixels, ""])


def bad(name, content, reason):
    """A file that is refused for a reason that begins so."""
    (OUT / name).write_bytes(content)
    ROWS.append([name, "", "", "", "", reason])


def saved(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


# JPEG.


def cjpeg(*options, image=None):
    source = saved(image or photo(), "PPM")
    return subprocess.run(["cjpeg", "-quality", "92", *options], input=source, capture_output=True, check=True).stdout


def segment(code, content):
    return bytes([0xFF, code]) + struct.pack(">H", len(content) + 2) + content


def with_segments(jpeg, *segments):
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def exif(orientation, order=">", count=1):
    tag = struct.pack(order + "HHI", 0x112, 3, count) + struct.pack(order + "HH", orientation, 0)
    return {">": b"MM", "<": b"II"}[order] + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", 1) + tag + bytes(4)


def frame_at(jpeg):
    """Where the frame header begins."""
    return next(at for at in range(len(jpeg)) if jpeg[at] == 0xFF and jpeg[at + 1] in (0xC0, 0xC1, 0xC2))


def scan_at(jpeg):
    """Where the data of the first scan begin."""
    at = jpeg.index(b"\xff\xda")
    return at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]


def patched(content, at, new):
    return content[:at] + new + content[at + len(new) :]


def jpegs():
    plain = cjpeg("-sample", "1x1")
    usual = cjpeg("-sample", "2x2")
    grey = cjpeg("-grayscale")
    progressive = cjpeg("-progressive", "-sample", "2x2")
    good("baseline.jpg", plain, 4)
    good("baseline-420.jpg", usual, 14)
    good("optimised.jpg", cjpeg("-optimize"), 14)
    good("grey.jpg", grey, 4)
    good("progressive.jpg", progressive, 14)
    good("progressive-444.jpg", cjpeg("-progressive", "-sample", "1x1"), 4)
    good("progressive-grey.jpg", cjpeg("-progressive", "-grayscale"), 4)
    for factors in ["2x1", "1x2", "4x1", "1x4", "4x2", "3x1", "2x4"]:
        good(f"sampled-{factors}.jpg", cjpeg("-sample", f"{factors},1x1,1x1"), 24)
    good("sampled-chroma-more.jpg", cjpeg("-sample", "1x1,2x2,2x2"), 24)
    good("sampled-unequal.jpg", cjpeg("-sample", "2x2,2x1,1x2"), 24)
    good("sampled-all-alike.jpg", cjpeg("-sample", "2x1,2x1,2x1"), 4)
    good("restart-each-block.jpg", cjpeg("-restart", "1B"), 14)
    good("restart-each-row.jpg", cjpeg("-restart", "1"), 14)
    good("restart-progressive.jpg", cjpeg("-restart", "2B", "-progressive"), 14)
    good("rgb.jpg", cjpeg("-rgb"), 4)
    good("rgb-adobe.jpg", saved(photo(), "JPEG", quality=92, keep_rgb=True), 4)
    good("quality-1.jpg", cjpeg("-quality", "1", "-sample", "1x1"), 8)
    good("quality-100.jpg", cjpeg("-quality", "100", "-sample", "1x1"), 2)
    good("one-pixel.jpg", cjpeg(image=photo(1, 1)), 4)
    good("one-row.jpg", cjpeg("-sample", "1x1", image=photo(64, 1)), 4)
    good("one-column.jpg", cjpeg("-sample", "1x1", image=photo(1, 64)), 4)

    cmyk = saved(photo().convert("CMYK"), "JPEG", quality=95)
    good("cmyk-adobe.jpg", cmyk, 6)
    # The same inks as luma and chroma, with black beside them: only the marker says so. Pillow writes inks inverted.
    channels = [channel.point(lambda value: 255 - value) for channel in ImageOps.invert(photo()).convert("YCbCr").split()]
    ycck = saved(Image.merge("CMYK", (*channels, Image.new("L", (WIDTH, HEIGHT), 0))), "JPEG", quality=95)
    good("ycck-adobe.jpg", patched(ycck, ycck.index(b"Adobe") + 11, b"\x02"), 6)
    good("cmyk-progressive.jpg", saved(photo().convert("CMYK"), "JPEG", quality=95, progressive=True), 6)
    good("adobe-ycbcr.jpg", with_segments(plain, segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01")), 4)
    bad("adobe-cut.jpg", with_segments(plain, segment(0xEE, b"Adobe")), "cannot be decoded")
    profile = srgb()
    good("icc.jpg", with_segments(plain, segment(0xE2, b"ICC_PROFILE\0\x01\x01" + profile)), 4)
    good("icc-no-profile.jpg", with_segments(plain, segment(0xE2, b"ICC_PROFILE\0\x02\x01" + bytes(range(256)))), 4)
    good("comment.jpg", with_segments(plain, segment(0xFE, b"\x1b[2J\xff\xd9\xff\xda<script>")), 4)
    good("many-segments.jpg", with_segments(plain, *[segment(0xE0 + n % 16, b"\xff\xd8" * n) for n in range(1, 40)]), 4)
    good("no-jfif.jpg", plain[:2] + plain[2 + 18 :], 4)
    good("padded-markers.jpg", plain.replace(b"\xff\xda", b"\xff\xff\xff\xff\xda", 1), 4)

    for orientation in range(1, 9):
        turned = with_segments(plain, segment(0xE1, b"Exif\0\0" + exif(orientation)))
        good(f"exif-{orientation}.jpg", turned, 4)
    good("exif-6-little-endian.jpg", with_segments(plain, segment(0xE1, b"Exif\0\0" + exif(6, "<"))), 4)
    good("exif-6-420.jpg", with_segments(usual, segment(0xE1, b"Exif\0\0" + exif(6))), 14)
    good("exif-6-progressive.jpg", with_segments(progressive, segment(0xE1, b"Exif\0\0" + exif(6))), 14)
    uncommon = cjpeg("-sample", "1x1,2x2,2x2")
    good("exif-6-uncommon.jpg", with_segments(uncommon, segment(0xE1, b"Exif\0\0" + exif(6))), 24)
    for number in [0, 9, 0xFFFF]:
        good(f"exif-{number}.jpg", with_segments(plain, segment(0xE1, b"Exif\0\0" + exif(number))), 4, shown(plain))
    for name, broken in [("cut", exif(6)[:12]), ("far", patched(exif(6), 4, b"\xff\xff\xff\xf0")), ("empty", b""), ("noise", bytes(60))]:
        good(f"exif-{name}.jpg", with_segments(plain, segment(0xE1, b"Exif\0\0" + broken)), 4, shown(plain))
    good("exif-thumbnail.jpg", with_segments(plain, segment(0xE1, b"Exif\0\0" + exif(1) + cjpeg(image=photo(8, 8)))), 4)

    good("trailing-zeros.jpg", plain + bytes(2000), 4)
    good("trailing-html.jpg", plain + b"<html>", 4)
    good("two-images.jpg", plain + cjpeg(image=photo(8, 8)), 4)
    for name, whole in [("baseline", plain), ("baseline-420", usual), ("grey", grey)]:
        start = scan_at(whole)
        for share in [0.0, 0.3, 0.6, 0.95]:
            at = start + int(share * (len(whole) - start))
            bad(f"cut-{name}-{int(100 * share)}.jpg", whole[:at], "is cut short")
            bad(f"cut-{name}-{int(100 * share)}-ended.jpg", whole[:at] + b"\xff\xd9", "is cut short")
    for share in [0.1, 0.5]:
        bad(f"cut-progressive-{int(100 * share)}.jpg", progressive[: int(share * len(progressive))], "is cut short")
    bad("cut-in-header.jpg", plain[:100], "is cut short")
    bad("cut-in-marker.jpg", plain[:3], "is cut short")
    bad("only-markers.jpg", b"\xff\xd8\xff\xd9", "is damaged")
    middle = (scan_at(plain) + len(plain)) // 2
    bad("garbage-ones.jpg", patched(plain, middle, b"\xff\x00" * 40), "is damaged")
    bad("garbage-markers.jpg", patched(plain, middle, b"\xff\xd9" * 4), "is cut short")
    # Zeros are a code of their own, so that this is a JPEG of another image, and a short one.
    bad("garbage-zeros.jpg", patched(plain, scan_at(plain), bytes(len(plain) - scan_at(plain) - 60)), "is")
    restarted = cjpeg("-restart", "1B", "-sample", "1x1")
    bad("restart-missing.jpg", restarted.replace(b"\xff\xd3", b"", 1), "is")
    frame = frame_at(plain)
    for name, side in [("huge", b"\xff\xff\xff\xff"), ("large", b"\x40\x01\x00\x10")]:
        bad(f"bomb-{name}.jpg", patched(plain, frame + 5, side), "is too large")
    bad("bomb-progressive.jpg", patched(progressive, frame_at(progressive) + 5, b"\x3f\xff\x3f\xff"), "is too large")
    bad("claims-more-rows.jpg", patched(plain, frame + 5, struct.pack(">H", 400)), "is cut short")
    bad("no-height.jpg", patched(plain, frame + 5, b"\0\0"), "is a JPEG whose size is not in its header")
    bad("no-width.jpg", patched(plain, frame + 7, b"\0\0"), "is a JPEG whose size is not in its header")
    bad("twelve-bits.jpg", patched(plain, frame + 4, b"\x0c"), "is a JPEG of 12 bits a colour")
    bad("sixteen-bits.jpg", patched(plain, frame + 4, b"\x10"), "is a JPEG of 16 bits a colour")
    bad("arithmetic.jpg", cjpeg("-arithmetic"), "is a JPEG with arithmetic coding")
    bad("arithmetic-progressive.jpg", cjpeg("-arithmetic", "-progressive"), "is a JPEG with arithmetic coding")
    bad("lossless.jpg", patched(plain, frame + 1, b"\xc3"), "is a lossless JPEG")
    bad("hierarchical.jpg", patched(plain, frame + 1, b"\xc5"), "is a hierarchical JPEG")
    bad("two-colours.jpg", patched(plain, frame + 9, b"\x02"), "is a JPEG of 2 colours")
    bad("no-huffman-tables.jpg", plain.replace(b"\xff\xc4", b"\xff\xed"), "is damaged")
    bad("no-quantisation.jpg", plain.replace(b"\xff\xdb", b"\xff\xed"), "")
    bad("segment-of-no-length.jpg", with_segments(plain, b"\xff\xe5\0\0"), "is cut short")
    bad("segment-too-long.jpg", with_segments(plain, b"\xff\xe5\xff\xff"), "is cut short")


# PNG.

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def header(width, height, depth, kind, interlaced=False):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced)))


def packed(rows, depth):
    """Rows of samples as bytes, each behind the number of its filter."""
    data = b""
    for row in rows:
        bits = "".join(f"{sample:0{depth}b}" for pixel in row for sample in pixel)
        bits += "0" * (-len(bits) % 8)
        data += b"\0" + bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    return data


PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(rows, depth, kind, before=b"", between=b"", after=b"", interlaced=False):
    width, height = len(rows[0]), len(rows)
    if interlaced:
        parts = [[row[x::dx] for row in rows[y::dy]] for x, y, dx, dy in PASSES]
        data = b"".join(packed(part, depth) for part in parts if part and part[0])
    else:
        data = packed(rows, depth)
    data = zlib.compress(data, 9)
    half = len(data) // 2
    parts = chunk(b"IDAT", data[:half]) + between + chunk(b"IDAT", data[half:])
    return SIGNATURE + header(width, height, depth, kind, interlaced) + before + parts + after + chunk(b"IEND", b"")


def samples(kind, depth):
    """The image in the samples of a kind and depth, and as it must be shown."""
    most = (1 << depth) - 1
    rows, image = [], photo()
    for y in range(HEIGHT):
        row = []
        for x in range(WIDTH):
            red, green, blue = [round(value / 255 * most) for value in colour(x, y)]
            # Of 16 bits those that are exactly one of 8.
            red, green, blue = [value // 257 * 257 if depth == 16 else value for value in (red, green, blue)]
            opaque = round(min(1.0, (x + y) / 50) * 255) * (257 if depth == 16 else 1)
            row.append({GREY: (green,), RGB: (red, green, blue), GREY_ALPHA: (green, opaque), RGBA: (red, green, blue, opaque)}[kind])
        rows.append(row)
    for y, row in enumerate(rows):
        for x, pixel in enumerate(row):
            alpha = pixel[-1] / most if kind in (GREY_ALPHA, RGBA) else 1.0
            colours = pixel[:3] if kind in (RGB, RGBA) else pixel[:1] * 3
            image.putpixel((x, y), tuple(round(value / most * 255 * alpha + 255 * (1 - alpha)) for value in colours))
    return rows, image


def pngs():
    for kind, name, depths in [(GREY, "grey", (1, 2, 4, 8, 16)), (RGB, "rgb", (8, 16)), (GREY_ALPHA, "grey-alpha", (8, 16)), (RGBA, "rgba", (8, 16))]:
        for depth in depths:
            rows, expected = samples(kind, depth)
            for interlaced in [False, True]:
                content = png(rows, depth, kind, interlaced=interlaced)
                # Pillow's values and those of the definition agree but for rounding.
                pairs = zip(shown(content).get_flattened_data(), expected.get_flattened_data())
                assert max(abs(a - b) for one, other in pairs for a, b in zip(one, other)) <= 1, (name, depth)
                good(f"{name}-{depth}{'-interlaced' if interlaced else ''}.png", content, 1, expected)
    for depth in [1, 2, 4, 8]:
        colours = [(37 * n % 256, 91 * n % 256, 255 - 53 * n % 256) for n in range(1 << depth)]
        rows = [[((x // 5 + y // 4) % (1 << depth),) for x in range(WIDTH)] for y in range(HEIGHT)]
        palette = chunk(b"PLTE", bytes(value for entry in colours for value in entry))
        some_clear = chunk(b"tRNS", bytes([0, 128][: 1 << depth]))
        good(f"palette-{depth}.png", png(rows, depth, PALETTE, palette), 0)
        good(f"palette-{depth}-interlaced.png", png(rows, depth, PALETTE, palette, interlaced=True), 0)
        good(f"palette-{depth}-clear.png", png(rows, depth, PALETTE, palette + some_clear), 1)
    grey, rgb = samples(GREY, 8)[0], samples(RGB, 8)[0]
    flat = [[(90,) if x < 20 else (200,) for x in range(WIDTH)] for _ in range(HEIGHT)]
    good("clear-grey.png", png(flat, 8, GREY, chunk(b"tRNS", struct.pack(">H", 90))), 1)
    flat = [[(90, 10, 20) if x < 20 else (200, 1, 2) for x in range(WIDTH)] for _ in range(HEIGHT)]
    good("clear-rgb.png", png(flat, 8, RGB, chunk(b"tRNS", struct.pack(">HHH", 90, 10, 20))), 1)
    deep = [[tuple(257 * value for value in pixel) for pixel in row] for row in flat]
    white = Image.new("RGB", (WIDTH, HEIGHT), "white")
    white.paste((200, 1, 2), (20, 0, WIDTH, HEIGHT))
    clear = chunk(b"tRNS", struct.pack(">HHH", 257 * 90, 257 * 10, 257 * 20))
    good("clear-rgb-16.png", png(deep, 16, RGB, clear), 1, white)
    whole = png(rgb, 8, RGB)
    plain = shown(whole)
    profile = zlib.compress(srgb())
    for name, before in [
        ("gamma", chunk(b"gAMA", struct.pack(">I", 100_000))),
        ("icc", chunk(b"iCCP", b"sRGB\0\0" + profile)),
        ("icc-bomb", chunk(b"iCCP", b"bomb\0\0" + zlib.compress(bytes(100 << 20), 9))),
        ("icc-broken", chunk(b"iCCP", b"broken\0\0nonsense")),
        ("text", chunk(b"tEXt", b"Title\0\x1b[2J<script>")),
        ("text-bomb", chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(16 << 20), 9))),
        ("chunk-of-its-own", chunk(b"prVt", bytes(100))),
        ("physical-size", chunk(b"pHYs", struct.pack(">IIB", 0, 0xFFFFFFFF, 9))),
    ]:
        good(f"with-{name}.png", png(rgb, 8, RGB, before), 0, plain)
    for orientation in [3, 6, 8]:
        good(f"exif-{orientation}.png", png(rgb, 8, RGB, chunk(b"eXIf", exif(orientation))), 0)
    good("exif-broken.png", png(rgb, 8, RGB, chunk(b"eXIf", exif(6)[:9])), 0, plain)
    good("trailing.png", whole + b"<html>" + bytes(500), 0)
    good("one-pixel.png", png([[(9, 8, 7)]], 8, RGB), 0)
    frame = struct.pack(">IIIIIHHBB", 0, WIDTH, HEIGHT, 0, 0, 1, 10, 0, 0)
    other = zlib.compress(packed([[(0, 0, 0)] * WIDTH] * HEIGHT, 8))
    animation = chunk(b"acTL", struct.pack(">II", 2, 0))
    later = chunk(b"fcTL", patched(frame, 0, struct.pack(">I", 1))) + chunk(b"fdAT", struct.pack(">I", 2) + other)
    good("animated.png", png(rgb, 8, RGB, animation + chunk(b"fcTL", frame), after=later), 0, plain)
    good("animated-still-apart.png", png(rgb, 8, RGB, animation, after=chunk(b"fcTL", frame) + chunk(b"fdAT", struct.pack(">I", 1) + other)), 0, plain)

    at = whole.index(b"IDAT")
    bad("wrong-crc.png", patched(whole, whole.index(b"IDAT", at + 4) - 8, b"\0\0\0\0"), "cannot be decoded")
    bad("wrong-crc-of-header.png", patched(whole, 29, b"\0\0\0\0"), "cannot be decoded")
    bad("wrong-data.png", patched(whole, at + 20, b"\xff" * 9), "cannot be decoded")
    for share in [0.1, 0.5, 0.9]:
        bad(f"cut-{int(100 * share)}.png", whole[: int(share * len(whole))], "cannot be decoded")
    bad("cut-before-image.png", whole[: at - 4], "cannot be decoded")
    bad("cut-in-signature.png", whole[:5], "is no JPEG or PNG image")
    bad("only-signature.png", SIGNATURE, "cannot be decoded")
    few = zlib.compress(packed(rgb[:10], 8))
    bad("too-few-rows.png", SIGNATURE + header(WIDTH, HEIGHT, 8, RGB) + chunk(b"IDAT", few) + chunk(b"IEND", b""), "cannot be decoded")
    bad("no-palette.png", png(grey, 8, PALETTE), "cannot be decoded")
    bad("no-such-depth.png", SIGNATURE + header(4, 4, 3, GREY) + chunk(b"IDAT", few) + chunk(b"IEND", b""), "cannot be decoded")
    bad("no-size.png", SIGNATURE + header(0, 4, 8, GREY) + chunk(b"IDAT", few) + chunk(b"IEND", b""), "cannot be decoded")
    small = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    for name, sides in [("huge", (0x7FFFFFFF, 0x7FFFFFFF)), ("large", (16_384, 16_384)), ("wide", (70_000, 1))]:
        bad(f"bomb-{name}.png", SIGNATURE + header(*sides, 16, RGBA) + small, "")
    bad("bomb-interlaced.png", SIGNATURE + header(16_384, 16_384, 1, GREY, True) + small, "is too large")


def others():
    image = photo()
    for kind, name in [("GIF", "GIF"), ("BMP", "BMP"), ("WEBP", "WEBP"), ("TIFF", "TIFF"), ("ICO", "ICO"), ("AVIF", "AVIF")]:
        options = {"sizes": [(16, 16)]} if kind == "ICO" else {}
        bad(f"{kind.lower()}.jpg", saved(image, kind, **options), f"is a {name}, only JPEG and PNG are read")
    bad("animated-gif.png", saved(image, "GIF", save_all=True, append_images=[image.rotate(90)]), "is a GIF")
    bad("pnm.jpg", saved(photo(4, 4), "PPM"), "is a PNM")
    bad("jpeg2000.jpg", saved(image, "JPEG2000"), "is no JPEG or PNG image")
    bad("heic.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "is no JPEG or PNG image")
    bad("svg.jpg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no JPEG or PNG image")
    bad("pdf.jpg", b"%PDF-1.7\n", "is no JPEG or PNG image")
    bad("text.jpg", b"just words\n", "is no JPEG or PNG image")
    bad("html.jpg", b"<!doctype html><title>404</title>", "is no JPEG or PNG image")
    bad("zeros.jpg", bytes(100), "is no JPEG or PNG image")
    bad("one-byte.jpg", b"\xff", "is no JPEG or PNG image")
    bad("empty.jpg", b"", "is empty (0 bytes)")
    good("a-png.jpg", saved(image, "PNG"), 0)
    good("a-jpeg.png", cjpeg("-sample", "1x1"), 4)


shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir(parents=True)
jpegs()
pngs()
others()
with open(OUT / "expected.csv", "w", newline="") as file:
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["file", "width", "height", "within", "pixels", "reason"])
    table.writerows(ROWS)
print(f"{len(ROWS)} files, {sum(path.stat().st_size for path in OUT.iterdir())} bytes")
