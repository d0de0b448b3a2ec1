//! Text in pictures, with a font that travels in the program.
//!
//! Enters: words, a size and a colour. Leaves: antialiased letters (DejaVu Sans, which has σ, ᾱ and the signs of
//! arithmetic). A character that the font lacks is drawn as a box. Sizes are the em in pixels, as in CSS; text of 10 to
//! 48 pixels is what this is made for.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, GlyphId, PxScale, ScaleFont, point};
use image::{Rgb, RgbImage};

use super::pixels::fill;

/// DejaVu Sans, as a TrueType file.
pub const REGULAR_FONT: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans.ttf");
/// DejaVu Sans Bold, as a TrueType file.
pub const BOLD_FONT: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans-Bold.ttf");

static REGULAR: LazyLock<Option<FontRef<'static>>> = LazyLock::new(|| FontRef::try_from_slice(REGULAR_FONT).ok());
static BOLD: LazyLock<Option<FontRef<'static>>> = LazyLock::new(|| FontRef::try_from_slice(BOLD_FONT).ok());

/// What stands for what was left out.
const ELLIPSIS: char = '…';

/// How heavy the letters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weight {
    /// For labels and captions.
    #[default]
    Regular,
    /// For titles.
    Bold,
}

/// On which side of its place a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Align {
    /// It begins there.
    #[default]
    Left,
    /// Its middle is there.
    Centre,
    /// It ends there.
    Right,
}

/// Size, weight and colour of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextStyle {
    /// The em in pixels.
    pub px: f32,
    /// How heavy the letters are.
    pub weight: Weight,
    /// The colour of the letters.
    pub colour: Rgb<u8>,
}

impl TextStyle {
    /// A regular text.
    pub fn new(px: f32, colour: Rgb<u8>) -> Self {
        TextStyle { px, weight: Weight::Regular, colour }
    }

    /// The same in bold.
    pub fn bold(self) -> Self {
        TextStyle { weight: Weight::Bold, ..self }
    }

    /// Pixels from one line to the next.
    pub fn line_height(&self) -> u32 {
        (self.px * 1.25).ceil() as u32
    }

    /// Width in pixels of the longest line.
    pub fn width(&self, text: &str) -> u32 {
        text.lines().map(|line| self.lay_out(line).1.ceil() as u32).max().unwrap_or(0)
    }

    /// Width and height in pixels, lines parted by `\n`.
    pub fn measure(&self, text: &str) -> (u32, u32) {
        (self.width(text), self.line_height() * text.lines().count() as u32)
    }

    /// Draws `text` with its upper edge at `y` and, by `align`, its left edge, middle or right edge at `x`. What does
    /// not fit in the picture is cut.
    pub fn draw(&self, picture: &mut RgbImage, (x, y): (i64, i64), align: Align, text: &str) {
        for (number, line) in text.lines().enumerate() {
            let width = self.width(line);
            let left = match align {
                Align::Left => x,
                Align::Centre => x - i64::from(width / 2),
                Align::Right => x - i64::from(width),
            };
            self.draw_line(picture, left, y + number as i64 * i64::from(self.line_height()), line);
        }
    }

    /// The text in lines of at most `width` pixels, broken between words, and inside a word that is longer than a line.
    /// Line breaks in the text stay.
    pub fn wrap(&self, text: &str, width: u32) -> Vec<String> {
        let mut lines = Vec::new();
        for paragraph in text.lines() {
            let mut line = String::new();
            for word in paragraph.split_whitespace() {
                let longer = if line.is_empty() { word.to_string() } else { format!("{line} {word}") };
                if self.width(&longer) <= width {
                    line = longer;
                    continue;
                }
                if !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                line = self.break_word(word, width, &mut lines);
            }
            lines.push(line);
        }
        lines
    }

    /// Wraps to at most `count` lines; if the text is longer, the last one ends in `…`.
    pub fn wrap_to(&self, text: &str, width: u32, count: usize) -> String {
        let mut lines = self.wrap(text, width);
        if lines.len() > count {
            let rest = lines.split_off(count.max(1) - 1).join(" ");
            lines.push(self.ellipsize(&rest, width));
        }
        lines.join("\n")
    }

    /// The text as it is if it fits in `width` pixels; else as much of its beginning as fits before a `…`.
    pub fn ellipsize(&self, text: &str, width: u32) -> String {
        if self.width(text) <= width {
            return text.to_string();
        }
        let mut kept = text.to_string();
        while kept.pop().is_some() {
            let shorter = format!("{}{ELLIPSIS}", kept.trim_end());
            if self.width(&shorter) <= width {
                return shorter;
            }
        }
        String::new()
    }

    /// Adds the full lines of a word that is too long for one to `lines`; gives the rest.
    fn break_word(&self, word: &str, width: u32, lines: &mut Vec<String>) -> String {
        let mut line = String::new();
        for letter in word.chars() {
            line.push(letter);
            if self.width(&line) > width && line.chars().count() > 1 {
                line.pop();
                lines.push(std::mem::replace(&mut line, letter.to_string()));
            }
        }
        line
    }

    fn font(&self) -> Option<&'static FontRef<'static>> {
        match self.weight {
            Weight::Regular => REGULAR.as_ref(),
            Weight::Bold => BOLD.as_ref(),
        }
    }

    /// ab_glyph's scale: it measures from ascent to descent, we by the em.
    fn scale(&self, font: &FontRef<'_>) -> PxScale {
        PxScale::from(self.px * font.height_unscaled() / font.units_per_em().unwrap_or(1000.0))
    }

    /// The glyphs of a line, each with its place from the line's beginning, and the line's width.
    fn lay_out(&self, line: &str) -> (Vec<(GlyphId, f32)>, f32) {
        let Some(font) = self.font() else { return (Vec::new(), 0.0) };
        let scaled = font.as_scaled(self.scale(font));
        let mut caret = 0.0;
        let mut glyphs: Vec<(GlyphId, f32)> = Vec::new();
        for letter in line.chars() {
            let letter = if letter == '\t' { ' ' } else { letter };
            if letter.is_control() {
                continue;
            }
            let id = scaled.glyph_id(letter);
            if let Some((before, _)) = glyphs.last() {
                caret += scaled.kern(*before, id);
            }
            glyphs.push((id, caret));
            caret += if id == GlyphId(0) { self.box_size().0 + self.px * 0.1 } else { scaled.h_advance(id) };
        }
        (glyphs, caret)
    }

    /// Width and height of the box that stands for a missing character.
    fn box_size(&self) -> (f32, f32) {
        ((self.px * 0.5).round(), (self.px * 0.73).round())
    }

    fn draw_line(&self, picture: &mut RgbImage, left: i64, top: i64, line: &str) {
        let Some(font) = self.font() else { return };
        let scale = self.scale(font);
        let scaled = font.as_scaled(scale);
        // Whole pixels for the line's start and its base, or horizontal strokes would blur over two rows.
        let extra = (self.line_height() as f32 - scaled.height()) / 2.0;
        let base = top + (extra + scaled.ascent()).round() as i64;
        for (id, at) in self.lay_out(line).0 {
            if id == GlyphId(0) {
                self.draw_box(picture, left + at.round() as i64, base);
                continue;
            }
            let glyph = Glyph { id, scale, position: point(at, 0.0) };
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            let (x0, y0) = (left + corner.x as i64, base + corner.y as i64);
            outline.draw(|x, y, coverage| self.blend(picture, x0 + i64::from(x), y0 + i64::from(y), coverage));
        }
    }

    fn draw_box(&self, picture: &mut RgbImage, left: i64, base: i64) {
        let (width, height) = (self.box_size().0 as u32, self.box_size().1 as u32);
        let line = (self.px / 16.0).round().max(1.0) as u32;
        let top = base - i64::from(height);
        fill(picture, (left, top), (width, line), self.colour);
        fill(picture, (left, base - i64::from(line)), (width, line), self.colour);
        fill(picture, (left, top), (line, height), self.colour);
        fill(picture, (left + i64::from(width) - i64::from(line), top), (line, height), self.colour);
    }

    /// Mixes the text's colour into a pixel, if it is in the picture.
    fn blend(&self, picture: &mut RgbImage, x: i64, y: i64, coverage: f32) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        if x >= picture.width() || y >= picture.height() {
            return;
        }
        let pixel = picture.get_pixel_mut(x, y);
        for (under, over) in pixel.0.iter_mut().zip(self.colour.0) {
            let mixed = f32::from(*under) + (f32::from(over) - f32::from(*under)) * coverage.clamp(0.0, 1.0);
            *under = mixed.round() as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::viz::pixels::{BLACK, WHITE};

    fn ink(text: &str, px: f32) -> (RgbImage, u32) {
        let style = TextStyle::new(px, BLACK);
        let (width, height) = style.measure(text);
        let mut picture = RgbImage::from_pixel(width + 8, height, WHITE);
        style.draw(&mut picture, (4, 0), Align::Left, text);
        let dark = picture.pixels().filter(|pixel| pixel.0[0] < 128).count() as u32;
        (picture, dark)
    }

    #[test]
    fn the_signs_we_need_are_in_both_fonts() {
        for font in [&REGULAR, &BOLD] {
            let font = font.as_ref().unwrap();
            for letter in "σᾱα·×−≤≥→°ñß…–—∞Δε½²".chars() {
                assert_ne!(font.glyph_id(letter), GlyphId(0), "{letter}");
            }
        }
    }

    #[test]
    fn a_missing_character_is_a_box() {
        let (_, dark) = ink("\u{4e2d}", 20.0);
        assert_eq!(dark, 2 * 10 + 2 * 13, "the outline of 10 × 15 pixels");
        // Nor does anything else panic.
        for text in ["", "\n", "a\u{0}b\tc", "é\u{301}", "👩‍🔬"] {
            ink(text, 0.0);
            ink(text, 1.0);
            ink(text, 300.0);
        }
    }

    #[test]
    fn the_em_is_what_is_asked() {
        // DejaVu Sans: H is 0.729 em high, and the em dash 1 em wide.
        let (picture, _) = ink("H", 40.0);
        let rows = (0..picture.height()).filter(|&y| (0..picture.width()).any(|x| picture.get_pixel(x, y).0[0] < 128));
        assert_eq!(rows.count(), 29);
        assert_eq!(TextStyle::new(40.0, BLACK).width("—"), 40);
    }

    #[test]
    fn nothing_is_drawn_outside_the_measured_width() {
        for px in [10.0, 17.0, 48.0] {
            let (picture, dark) = ink("step 12/25 · σ 1.62 ≤ ᾱ × −3", px);
            assert!(dark > 50);
            let left = (0..3).flat_map(|x| (0..picture.height()).map(move |y| (x, y)));
            let right = left.clone().map(|(x, y)| (picture.width() - 1 - x, y));
            assert!(left.chain(right).all(|(x, y)| *picture.get_pixel(x, y) == WHITE), "{px}");
        }
    }

    #[test]
    fn alignment_moves_by_the_width() {
        let style = TextStyle::new(16.0, BLACK);
        let width = i64::from(style.width("guidance"));
        let draw = |x, align| {
            let mut picture = RgbImage::from_pixel(200, 24, WHITE);
            style.draw(&mut picture, (x, 0), align, "guidance");
            picture
        };
        assert_eq!(draw(20, Align::Left), draw(20 + width, Align::Right));
        assert_eq!(draw(20, Align::Left), draw(20 + width / 2, Align::Centre));
        // Half outside is cut, not refused.
        assert_ne!(draw(-30, Align::Left), draw(-300, Align::Left));
    }

    #[test]
    fn long_text_is_wrapped_or_cut() {
        let style = TextStyle::new(14.0, BLACK);
        let text = "a photograph of an astronaut riding a horse-drawn supercalifragilisticexpialidocious cart";
        let lines = style.wrap(text, 120);
        assert!(lines.len() > 5 && lines.iter().all(|line| style.width(line) <= 120), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        assert_eq!(style.wrap("one\n\ntwo", 500), ["one", "", "two"]);
        let cut = style.ellipsize(text, 120);
        assert!(cut.ends_with('…') && style.width(&cut) <= 120 && cut.len() > 10, "{cut}");
        assert_eq!(style.ellipsize("short", 120), "short");
        assert_eq!(style.ellipsize(text, 2), "");
        let two = style.wrap_to(text, 120, 2);
        assert!(two.lines().count() == 2 && two.ends_with('…') && style.width(&two) <= 120, "{two}");
    }
}
