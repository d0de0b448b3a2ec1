//! Text in pictures, with fonts that travel in the program.
//!
//! Enters: words, a size and a colour. Leaves: antialiased letters, each drawn with the first font that has it (see
//! [`super::fonts`]). A character that no font has is drawn as a box. Sizes are the em in pixels, as in CSS; text of 10
//! to 48 pixels is what this is made for.

use ab_glyph::{Font, Glyph, GlyphId, PxScale, ScaleFont, point};
use image::{Rgb, RgbImage};

pub use super::fonts::Weight;
use super::fonts::{self, Face};
use super::pixels::fill;

/// What stands for what was left out.
const ELLIPSIS: char = '…';
/// Between the parts of a list of settings: a line rather ends here than inside of one.
const BETWEEN_PARTS: &str = " · ";
/// What does not begin a line, and what does not end one, in scripts without blanks.
const NOT_FIRST: &str = "、。，．：；！？）」』】〉》〕”’…・ーぁぃぅぇぉっゃゅょァィゥェォッャュョ";
const NOT_LAST: &str = "（「『【〈《〔“‘";

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
        // What lies behind so many letters fits on no picture, and would only take its time.
        let end = text.char_indices().nth(20_000).map_or(text.len(), |(at, _)| at);
        for paragraph in text[..end].lines() {
            let mut line = String::new();
            for part in paragraph.split_inclusive(BETWEEN_PARTS) {
                let stays_whole = || self.width(part.trim()) <= width;
                if !line.is_empty() && self.width(&format!("{line} {}", part.trim())) > width && stays_whole() {
                    lines.push(std::mem::take(&mut line));
                }
                for (blank, word) in breakable(part) {
                    let space = if blank && !line.is_empty() { " " } else { "" };
                    let longer = format!("{line}{space}{word}");
                    if self.width(&longer) <= width {
                        line = longer;
                        continue;
                    }
                    if !line.is_empty() {
                        lines.push(std::mem::take(&mut line));
                    }
                    line = self.break_word(word, width, &mut lines);
                }
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
        // By halves: a text may be very long.
        let shorter = |end: usize| format!("{}{ELLIPSIS}", text[..end].trim_end());
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let fitting = ends.partition_point(|end| self.width(&shorter(*end)) <= width);
        fitting.checked_sub(1).map(|last| shorter(ends[last])).unwrap_or_default()
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

    /// ab_glyph's scale: it measures from ascent to descent, we by the em.
    fn scale(&self, face: &Face) -> PxScale {
        let font = &face.font;
        PxScale::from(self.px * face.size * font.height_unscaled() / font.units_per_em().unwrap_or(1000.0))
    }

    /// The glyphs of a line, each with its place from the line's beginning, and the line's width.
    fn lay_out(&self, line: &str) -> (Vec<Placed>, f32) {
        let mut caret = 0.0;
        let mut glyphs: Vec<Placed> = Vec::new();
        for letter in line.chars() {
            let letter = if letter == '\t' { ' ' } else { letter };
            if fonts::is_silent(letter) {
                continue;
            }
            let found = fonts::face(self.weight, letter);
            let Some((face, id)) = &found else {
                glyphs.push(Placed { glyph: None, at: caret });
                caret += self.box_size().0 + self.px * 0.1;
                continue;
            };
            let scaled = face.font.as_scaled(self.scale(face));
            if let Some(Placed { glyph: Some((before, last)), .. }) = glyphs.last()
                && before.number == face.number
            {
                caret += scaled.kern(*last, *id);
            }
            let advance = scaled.h_advance(*id);
            glyphs.push(Placed { glyph: found, at: caret });
            caret += advance;
        }
        (glyphs, caret)
    }

    /// Width and height of the box that stands for a missing character.
    fn box_size(&self) -> (f32, f32) {
        ((self.px * 0.5).round(), (self.px * 0.73).round())
    }

    fn draw_line(&self, picture: &mut RgbImage, left: i64, top: i64, line: &str) {
        let Some(letters) = fonts::letters(self.weight) else { return };
        let scaled = letters.font.as_scaled(self.scale(letters));
        // Whole pixels for the line's start and its base, or horizontal strokes would blur over two rows.
        let extra = (self.line_height() as f32 - scaled.height()) / 2.0;
        let base = top + (extra + scaled.ascent()).round() as i64;
        for Placed { glyph, at } in self.lay_out(line).0 {
            let Some((face, id)) = glyph else {
                self.draw_box(picture, left + at.round() as i64, base);
                continue;
            };
            // A font that is there in one weight only is drawn twice, a little apart.
            let thin = self.weight == Weight::Bold && face.number != letters.number;
            for shift in [0.0, self.px / 24.0].into_iter().take(1 + usize::from(thin)) {
                let glyph = Glyph { id, scale: self.scale(&face), position: point(at + shift, 0.0) };
                let Some(outline) = face.font.outline_glyph(glyph) else { continue };
                let corner = outline.px_bounds().min;
                let (x0, y0) = (left + corner.x as i64, base + corner.y as i64);
                outline.draw(|x, y, coverage| self.blend(picture, x0 + i64::from(x), y0 + i64::from(y), coverage));
            }
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

/// A glyph of a line, none for a box, and its place from the line's beginning.
struct Placed {
    glyph: Option<(Face, GlyphId)>,
    at: f32,
}

/// The parts between which a line may break: words, and each sign of a script that is written without blanks. Each with
/// whether a blank stands before it.
fn breakable(paragraph: &str) -> Vec<(bool, &str)> {
    let mut parts = Vec::new();
    for word in paragraph.split_whitespace() {
        let (mut start, mut before, mut blank) = (0, None, true);
        for (at, letter) in word.char_indices() {
            let between = before.is_some_and(|before| may_break(before, letter));
            if between {
                parts.push((blank, &word[start..at]));
                (start, blank) = (at, false);
            }
            before = Some(letter);
        }
        parts.push((blank, &word[start..]));
    }
    parts
}

/// Whether a line may end between two letters that no blank parts.
fn may_break(before: char, after: char) -> bool {
    let sign = |letter| matches!(letter, '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff01}'..='\u{ff60}' | '\u{20000}'..='\u{3ffff}');
    (sign(before) || sign(after)) && !NOT_LAST.contains(before) && !NOT_FIRST.contains(after)
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
    fn a_missing_character_is_a_box() {
        let (_, dark) = ink("\u{378}", 20.0);
        assert_eq!(dark, 2 * 10 + 2 * 13, "the outline of 10 × 15 pixels");
        // Nor does anything else panic.
        for text in ["", "\n", "a\u{0}b\tc", "é\u{301}", "👩‍🔬"] {
            ink(text, 0.0);
            ink(text, 1.0);
            ink(text, 300.0);
        }
    }

    #[test]
    fn scripts_without_blanks_are_wrapped_between_their_signs() {
        let style = TextStyle::new(20.0, BLACK);
        let text = "一只红色的苹果，放在木桌上。oil painting 的风格";
        let lines = style.wrap(text, 130);
        assert!(lines.len() >= 3 && lines.iter().all(|line| style.width(line) <= 130), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        assert!(lines.iter().all(|line| !line.starts_with(['，', '。'])), "{lines:?}");
        assert_eq!(breakable("a 红（苹），b"), [(true, "a"), (true, "红"), (false, "（苹），"), (false, "b")]);
        // A sign of an East Asian script is one em wide.
        assert_eq!(style.width("苹果"), 40);
        // A selector of a variant and a joiner leave no mark.
        assert_eq!(style.width("❤\u{fe0f}\u{200d}"), style.width("❤"));
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
    fn settings_are_wrapped_whole() {
        let style = TextStyle::new(14.0, BLACK);
        let text = "“a red apple” · DDIM · 25 steps · guidance 5 · seed 0";
        // A line that would hold the number of the steps, but not the word.
        let width = style.width("“a red apple” · DDIM · 25 st");
        assert_eq!(style.wrap(text, width), ["“a red apple” · DDIM ·", "25 steps · guidance 5 ·", "seed 0"]);
        // One that fits on no line is broken between words.
        assert_eq!(style.wrap("one · two three", style.width("three")), ["one ·", "two", "three"]);
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
