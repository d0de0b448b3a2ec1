//! Which head looks where: a word's map in every head of every layer, in the mean over the steps.
//!
//! Enters: the heads' means. Leaves: a sheet with a row for each layer and a column for each head, each map in its own
//! size with hard pixels, all in one range.

use super::maps::{HeadMaps, Merge, merged};
use super::paint::Colours;
use super::track::{ends, mean};
use super::words::Word;
use crate::error::Result;
use crate::export::words;
use crate::record::attention::AttendedText;
use crate::viz::caption::{CaptionStyle, with_caption};
use crate::viz::grid::{Axis, Grid, GridCell, GridStyle};
use crate::viz::normalise::{Normalisation, RangeFinder, Ranges};
use crate::viz::pixels::{WHITE, fit};
use crate::viz::text::TextStyle;
use image::{Rgb, RgbImage};
use ndarray::Array2;

/// The side of a map on the sheet, in pixels.
const CELL: u32 = 160;

/// The maps of a word in all heads: its share in each place, by layer and head.
pub fn maps(layers: &[HeadMaps], columns: &[usize], merge: Merge) -> Vec<Vec<Array2<f32>>> {
    let of = |layer: &HeadMaps| layer.heads.iter().map(|head| merged(head.view(), columns, merge)).collect();
    layers.iter().map(of).collect()
}

/// A layer's name for people: `down 0.1 · 16×16`, the block and its attention.
pub fn layer_name(site: &str, (height, width): (usize, usize)) -> String {
    let parts: Vec<&str> = site.split('.').collect();
    let after = |name: &str| parts.iter().position(|part| *part == name).and_then(|at| parts.get(at + 1)).copied();
    let block = match (after("down_blocks"), after("up_blocks")) {
        (Some(number), _) => format!("down {number}"),
        (_, Some(number)) => format!("up {number}"),
        _ => "mid".into(),
    };
    let attention = after("attentions").map(|number| format!(".{number}")).unwrap_or_default();
    let inner = after("transformer_blocks").filter(|number| *number != "0");
    format!("{block}{attention}{}\n{width}×{height}", inner.map(|number| format!(".{number}")).unwrap_or_default())
}

/// The sheet, and the range that all maps are seen in where they have one.
///
/// # Errors
/// When no map has a number.
pub fn sheet(
    (layers, text): (&[HeadMaps], &AttendedText),
    word: &Word,
    (merge, normalise, colours): (Merge, Normalisation, &Colours),
    (about, captions): (&str, bool),
) -> Result<(RgbImage, Ranges)> {
    let all = maps(layers, &word.columns(text), merge);
    let mut finder = RangeFinder::new(normalise);
    all.iter().flatten().for_each(|map| finder.push(map.iter().copied()));
    let ranges = finder.finish()?;
    let most = all.iter().map(Vec::len).max().unwrap_or(0);
    let mut cells = vec![];
    for layer in &all {
        for head in 0..most {
            cells.push(match layer.get(head) {
                Some(map) => GridCell::Picture(cell(map, &ranges, colours, captions)),
                None => GridCell::Missing("no such head".into()),
            });
        }
    }
    let size = |layer: &HeadMaps| layer.heads.first().map_or((0, 0), |head| (head.dim().1, head.dim().2));
    let rows = layers.iter().map(|layer| layer_name(&layer.site, size(layer)));
    let (rows, columns) = (Axis::new("layer", rows), Axis::new("head", (0..most).map(|head| head.to_string())));
    let range = match ranges {
        Ranges::Whole(range) => format!("colours {}", ends(range)),
        Ranges::PerFrame => "colours from the least to the greatest of each".into(),
    };
    let title = format!("“{}” in each head, mean over the steps · {range} · {about}", word.label(text));
    let title = if captions { title } else { String::new() };
    let style = GridStyle { least_cell: 1, ..GridStyle::default() };
    let mut pages = Grid { title, rows, columns, cells }.draw(&style)?;
    Ok((pages.swap_remove(0), ranges))
}

/// A map with its mean below.
fn cell(map: &Array2<f32>, ranges: &Ranges, colours: &Colours, captions: bool) -> RgbImage {
    let picture = fit(&colours.alone(map.view(), ranges.for_frame(map.iter().copied())), (CELL, CELL));
    if !captions {
        return picture;
    }
    let text = TextStyle::new(15.0, Rgb([20; 3]));
    let style = CaptionStyle { text, background: WHITE, lines: 1, padding: 3 };
    with_caption(&picture, &words::percent(mean(map)), &style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_short_names() {
        let name = |site: &str| layer_name(site, (8, 12));
        assert_eq!(name("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2"), "down 1.0\n12×8");
        assert_eq!(name("unet.mid_block.attentions.0.transformer_blocks.0.attn2"), "mid.0\n12×8");
        assert_eq!(name("unet.up_blocks.3.attentions.2.transformer_blocks.1.attn2"), "up 3.2.1\n12×8");
    }
}
