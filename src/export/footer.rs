//! The lines below a picture or a frame that say what made it.
//!
//! Enters: a picture and words. Leaves: the picture with a strip below it, of one height for pictures of one size and one
//! text, so that the frames of an animation stay alike.

use crate::viz::caption::{CaptionStyle, with_caption};
use image::{Rgb, RgbImage};

/// Characters of a prompt below a frame.
pub(super) const FOOTER_PROMPT: usize = 120;
/// The most lines, enough for two prompts as long as they may be here and all settings; longer text ends in `…`.
const MOST_LINES: u32 = 9;
/// Narrower pictures have no room for words.
const NARROWEST: u32 = 160;

/// The picture with `text` below it, in smaller and greyer letters than a caption's.
pub fn with_footer(picture: &RgbImage, text: &str) -> RgbImage {
    with_footer_of_panels(picture, text, picture.width())
}

/// The same for a picture of panels `panel` pixels wide, each with a caption of its own: smaller than those.
pub fn with_footer_of_panels(picture: &RgbImage, text: &str, panel: u32) -> RgbImage {
    if picture.width() < NARROWEST || text.is_empty() {
        return picture.clone();
    }
    let mut style = CaptionStyle::for_width(panel.min(640));
    style.text.px = (style.text.px * 0.8).round().max(11.0);
    style.text.colour = Rgb([165; 3]);
    let lines = style.text.wrap(text, picture.width().saturating_sub(2 * style.padding)).len() as u32;
    with_caption(picture, text, &CaptionStyle { lines: lines.clamp(1, MOST_LINES), ..style })
}
