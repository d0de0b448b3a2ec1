//! A contact sheet: some pictures of a data set with their captions.

use super::manifest::{Dataset, pictures};
use crate::error::{Error, Result};
use crate::viz::caption::{CaptionStyle, with_caption, with_heading};
use crate::viz::pixels::{WHITE, pad};
use crate::viz::text::TextStyle;
use image::{Rgb, RgbImage, imageops};
use std::path::Path;

/// Pixels between pictures.
const GAP: u32 = 6;

/// Draws the first `count` pictures of a data set, `columns` in a row. Their order is a shuffled one already.
///
/// # Errors
/// When it has none, or one cannot be read.
pub fn sheet(dir: &Path, data: &Dataset, count: usize, columns: usize) -> Result<RgbImage> {
    let shown = &data.rows[..count.min(data.rows.len())];
    let captions = shown.iter().map(|row| row.text.clone());
    let cards: Vec<_> = pictures(dir, shown)?.into_iter().zip(captions).collect();
    if cards.is_empty() {
        return Err(Error::invalid("there are no pictures to show", "ask for at least one with `--count`"));
    }
    Ok(captioned(&cards, columns, 2, None))
}

/// Pictures of one size with words below each, `lines` at the most; `columns` in a row, below a heading if there is one.
pub fn captioned(cards: &[(RgbImage, String)], columns: usize, lines: u32, heading: Option<&str>) -> RgbImage {
    let columns = columns.clamp(1, cards.len().max(1));
    let style = CaptionStyle { text: TextStyle::new(11.0, Rgb([30; 3])), background: WHITE, lines, padding: 2 };
    let cards: Vec<RgbImage> = cards.iter().map(|(picture, words)| with_caption(picture, words, &style)).collect();
    let cell = cards.iter().fold((0, 0), |(w, h), card| (card.width().max(w), card.height().max(h)));
    let rows = cards.len().div_ceil(columns) as u32;
    let size = (columns as u32 * (cell.0 + GAP) - GAP, rows * (cell.1 + GAP) - GAP);
    let mut page = RgbImage::from_pixel(size.0, size.1, WHITE);
    for (number, card) in cards.iter().enumerate() {
        let (x, y) = ((number % columns) as u32 * (cell.0 + GAP), (number / columns) as u32 * (cell.1 + GAP));
        imageops::replace(&mut page, card, i64::from(x), i64::from(y));
    }
    let style = TextStyle::new(14.0, style.text.colour).bold();
    let page = heading.map_or(page.clone(), |heading| with_heading(&page, heading, &style, 6, GAP));
    pad(&page, [GAP; 4], WHITE)
}
