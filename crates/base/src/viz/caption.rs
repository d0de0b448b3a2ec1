//! A strip of words under a picture: `step 12/25 · t 481 · σ 1.62`.
//!
//! Enters: a frame and its caption. Leaves: the frame with a strip below it. All strips of one style are equally high,
//! whatever they say, so that the frames of an animation stay of one size; and an even height is kept even, as video
//! wants it.

use image::{Rgb, RgbImage};

use super::pixels::{WHITE, fill, pad, stacked};
use super::text::{Align, TextStyle};

/// How a caption looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CaptionStyle {
    /// The letters.
    pub text: TextStyle,
    /// The strip.
    pub background: Rgb<u8>,
    /// Lines that the strip has room for; a longer caption ends in `…`.
    pub lines: u32,
    /// Pixels between the letters and the strip's edges.
    pub padding: u32,
}

impl CaptionStyle {
    /// White on near black, one line, legible when the picture is shown on a wall.
    pub fn for_width(width: u32) -> Self {
        let px = (width as f32 / 24.0).clamp(11.0, 32.0).round();
        let text = TextStyle::new(px, Rgb([240; 3]));
        CaptionStyle { text, background: Rgb([17; 3]), lines: 1, padding: (px / 3.0).ceil() as u32 }
    }

    /// The strip's height under a picture of this height: one pixel more where the sum would be odd.
    pub fn height(&self, picture: u32) -> u32 {
        let least = self.lines * self.text.line_height() + 2 * self.padding;
        least + (picture + least) % 2
    }
}

/// The picture with a heading above it on white, of `lines` lines at the most.
pub fn with_heading(picture: &RgbImage, heading: &str, style: &TextStyle, lines: usize, gap: u32) -> RgbImage {
    let words = style.wrap_to(heading, picture.width(), lines);
    let mut head = RgbImage::from_pixel(picture.width(), style.measure(&words).1 + gap, WHITE);
    style.draw(&mut head, (0, 0), Align::Left, &words);
    stacked(&[head, picture.clone()], gap, WHITE)
}

/// The picture with `caption` below it, centred, in as many lines as the style gives; longer captions end in `…`.
pub fn with_caption(picture: &RgbImage, caption: &str, style: &CaptionStyle) -> RgbImage {
    let (width, height) = picture.dimensions();
    let strip = style.height(height);
    let mut whole = pad(picture, [0, 0, 0, strip], style.background);
    let room = width.saturating_sub(2 * style.padding);
    let words = style.text.wrap_to(caption, room, style.lines as usize);
    let top = i64::from(height) + i64::from(strip.saturating_sub(style.text.measure(&words).1) / 2);
    style.text.draw(&mut whole, (i64::from(width / 2), top), Align::Centre, &words);
    whole
}

/// The picture with a bar of `share` (0..=1) of its width along its lower edge, `thickness` pixels high: how far the run
/// has come.
pub fn with_progress(picture: &RgbImage, share: f64, thickness: u32, colour: Rgb<u8>) -> RgbImage {
    let mut marked = picture.clone();
    let length = (f64::from(picture.width()) * share.clamp(0.0, 1.0)).round() as u32;
    let top = i64::from(picture.height()) - i64::from(thickness);
    fill(&mut marked, (0, top), (length, thickness), colour);
    marked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::viz::pixels::WHITE;

    #[test]
    fn the_strip_is_as_high_whatever_it_says() {
        for size in [(64, 64), (65, 33), (512, 512), (1, 1)] {
            let frame = RgbImage::from_pixel(size.0, size.1, WHITE);
            let style = CaptionStyle::for_width(size.0);
            let long = "step 12/25 · t 481 · σ 1.62 ".repeat(9);
            let sizes = ["", "step 1", &long].map(|caption| with_caption(&frame, caption, &style).dimensions());
            assert_eq!(sizes, [sizes[0]; 3]);
            assert_eq!((sizes[0].0, sizes[0].1 % 2), (size.0, 0));
        }
    }

    #[test]
    fn the_picture_is_untouched_and_the_words_are_there() {
        let frame = RgbImage::from_pixel(256, 100, WHITE);
        let style = CaptionStyle::for_width(256);
        let whole = with_caption(&frame, "step 12/25", &style);
        assert!((0..100).all(|y| (0..256).all(|x| *whole.get_pixel(x, y) == WHITE)));
        let lit = |range: std::ops::Range<u32>| range.flat_map(|x| (100..whole.height()).map(move |y| (x, y)));
        assert!(lit(90..166).filter(|&(x, y)| whole.get_pixel(x, y).0[0] > 200).count() > 40);
        assert!(lit(0..60).chain(lit(196..256)).all(|(x, y)| *whole.get_pixel(x, y) == style.background));
    }

    #[test]
    fn progress_grows() {
        let lengths = [0.0, 0.5, 2.0].map(|share| {
            let marked = with_progress(&RgbImage::new(10, 4), share, 2, WHITE);
            marked.pixels().filter(|pixel| **pixel == WHITE).count()
        });
        assert_eq!(lengths, [0, 10, 20]);
    }
}
