"""Makes the fonts that are not shipped as they come: subsets for Chinese, Japanese, Korean, and for emoji.

    pip install fonttools==4.68.0
    apt-get download fonts-noto-cjk && dpkg-deb -x fonts-noto-cjk_*.deb cjk      # Debian 12's 1:20220127+repack1-1
    npm pack @expo-google-fonts/noto-emoji@0.4.7 && tar xzf expo-google-fonts-noto-emoji-0.4.7.tgz
    python scripts/make_fonts.py \
        cjk/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc \
        package/400Regular/NotoEmoji_400Regular.ttf crates/base/fonts

What is in them: every character of GB 2312 (6,763 Chinese signs, kana, punctuation), the 5,401 common signs of Big5, the
2,965 of JIS X 0208's first level and its kana, the 2,350 syllables of KS X 1001, and every emoji of the emoji font.
Hinting, layout features and what is for vertical text are left out: figures use none of them.
"""

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTCollection, TTFont

# The same signs differ in detail between countries; the collection has one font for each.
FACE = "Noto Sans CJK SC"


def two_bytes(codec, leads, trails):
    """The characters of a two-byte encoding in a range of lead bytes."""
    found = set()
    for lead in leads:
        for trail in trails:
            text = bytes([lead, trail]).decode(codec, errors="ignore")
            if len(text) == 1:
                found.add(ord(text))
    return found


def east_asian():
    rows = range(0xA1, 0xFF)
    characters = two_bytes("gb2312", rows, rows)
    characters |= two_bytes("big5", range(0xA4, 0xC7), range(0x40, 0xFF))
    # The first level of JIS X 0208 ends in row 47; KS X 1001 has its syllables in rows 16 to 40.
    characters |= two_bytes("euc_jp", range(0xA1, 0xA0 + 48), rows)
    characters |= two_bytes("euc_kr", range(0xA0 + 16, 0xA0 + 41), rows)
    # Punctuation, kana, the bopomofo, and what is as wide as a Chinese sign.
    for first, last in [(0x3000, 0x30FF), (0x3105, 0x312F), (0xFF00, 0xFFEF)]:
        characters |= set(range(first, last + 1))
    # What DejaVu Sans has is drawn with it.
    return {c for c in characters if c >= 0x2E80}


def make(font, characters, out):
    options = subset.Options()
    options.layout_features = []
    options.hinting = False
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14]
    options.drop_tables += ["vhea", "vmtx", "VORG", "BASE", "GDEF", "GPOS", "GSUB", "STAT", "DSIG"]
    options.notdef_outline = True
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=characters)
    subsetter.subset(font)
    # The same bytes each time.
    font.recalcTimestamp = False
    font.save(out)
    print(f"{out}: {len(font.getBestCmap())} characters, {Path(out).stat().st_size} bytes")


def main():
    cjk, emoji, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    fonts = TTCollection(cjk).fonts
    face = next(font for font in fonts if font["name"].getDebugName(1) == FACE)
    make(face, east_asian(), folder / "NotoSansCJKsc-subset.otf")
    font = TTFont(emoji)
    # Digits and the like are drawn with DejaVu Sans, joiners and selectors with nothing.
    make(font, {c for c in font.getBestCmap() if c > 0x2000}, folder / "NotoEmoji-subset.ttf")


if __name__ == "__main__":
    main()
