//! Maps over the run's pictures: a row for each word, and below it one of its attention; a column for each step.

use super::{Everything, Found, Options};
use crate::error::Result;
use crate::export::Outputs;
use crate::export::attention::track::ends;
use crate::export::attention::under::Under;
use crate::export::footer::FOOTER_PROMPT;
use crate::export::settings::about;
use crate::export::words;
use crate::record::attribution::Dropping;
use crate::record::plan::Quantity;
use crate::trace::metadata::png_bytes;
use crate::viz::grid::{Axis, Grid, GridCell, GridStyle};
use crate::viz::normalise::{Normalisation, Range, RangeFinder, Ranges};
use crate::viz::pixels::fit;
use ndarray::Array2;

/// The side of a picture where no size is named.
const SIDE: u32 = 256;
/// The least side of a cell.
const LEAST: u32 = 160;

/// A row of maps.
struct Track<'a> {
    /// What stands beside it.
    name: String,
    /// What stands below that, of its range.
    ends: fn(Range) -> String,
    /// The same of a map's greatest number.
    most: fn(f64) -> String,
    /// By step; none where there is none.
    maps: Vec<Option<&'a Array2<f32>>>,
}

/// Draws the sheet and writes its pages.
pub(super) fn write(everything: &Everything, options: &Options, name: &str, outputs: &mut Outputs) -> Result<()> {
    let side = options.size.unwrap_or(SIDE);
    let run = everything.run;
    let under = Under::open(run, options.over, options.batch)?;
    let (mut cells, mut names, mut below) = (vec![], vec![], vec![]);
    for step in &everything.steps {
        below.push(under.at(run, *step, options.batch)?);
    }
    if !matches!(under, Under::Nothing) {
        names.push(under.label().to_string());
        let cell = |picture: &Option<image::RgbImage>| match picture {
            Some(picture) => GridCell::Picture(fit(picture, (side, side))),
            None => GridCell::Missing("not there".into()),
        };
        cells.extend(below.iter().map(cell));
    }
    for track in tracks(everything, options) {
        let ranges = ranges(&track.maps, options.normalise)?;
        let label = match ranges {
            Ranges::Whole(range) => (track.ends)(range),
            // Each map has its own colours: what their greatest numbers are, from left to right.
            Ranges::PerFrame => {
                let most = track.maps.iter().map(|map| map.map_or("–".into(), |map| (track.most)(greatest(map))));
                format!("most {}", most.collect::<Vec<String>>().join(", "))
            }
        };
        names.push(format!("{}\n{label}", track.name));
        for (map, below) in track.maps.iter().zip(&below) {
            let Some(map) = map else {
                cells.push(GridCell::Missing("not there".into()));
                continue;
            };
            let range = match ranges {
                Ranges::Whole(range) => range,
                Ranges::PerFrame => Range { lo: 0.0, hi: greatest(map) },
            };
            let picture = match below {
                Some(below) => options.colours.over(below, map.view(), range),
                None => options.colours.alone(map.view(), range),
            };
            cells.push(GridCell::Picture(fit(&picture, (side, side))));
        }
    }
    let place = |step: &usize| {
        words::place_in_run(run, *step, Quantity::PredictedOriginal).join(" · ").replacen(" · ", "\n", 1)
    };
    let mut columns: Vec<String> = everything.steps.iter().map(place).collect();
    let how = match everything.all.first().and_then(|attribution| attribution.about.dropping) {
        Some(Dropping::Retokenise) => "the prompt encoded again without it",
        _ => "its rows of the embedding replaced",
    };
    let mut title =
        format!("how far the prediction moves without a word ({how}) · {}", about(run, options.batch, FOOTER_PROMPT));
    if !options.captions {
        title.clear();
        names.iter_mut().chain(&mut columns).for_each(String::clear);
    }
    let grid = Grid { title, rows: Axis::new("", names), columns: Axis::new("", columns), cells };
    for (page, picture) in grid.draw(&GridStyle { least_cell: LEAST, ..GridStyle::default() })?.iter().enumerate() {
        let number = if page == 0 { String::new() } else { format!("-{}", page + 1) };
        outputs.write(&format!("{name}{number}.png"), &png_bytes(picture)?)?;
    }
    Ok(())
}

/// The rows, from top to bottom.
fn tracks<'a>(everything: &'a Everything, options: &Options) -> Vec<Track<'a>> {
    let mut tracks = vec![];
    for (word, found) in everything.words.iter().zip(&everything.found) {
        let of = |map: fn(&Found) -> Option<&Array2<f32>>| -> Vec<Option<&'a Array2<f32>>> {
            found.iter().map(|found| found.as_ref().and_then(map)).collect()
        };
        let moved = |range: Range| format!("‖Δε‖ {} to {}", words::short(range.lo), words::short(range.hi));
        tracks.push(Track {
            name: word.to_string(),
            ends: moved,
            most: words::short,
            maps: of(|found| found.drop.as_ref().map(|(map, _)| map)),
        });
        if options.attention {
            let alike: Vec<f64> = found.iter().flatten().filter_map(Found::correlation).collect();
            let alike = match alike.len() {
                0 => String::new(),
                count => format!("\nr {:.2}", alike.iter().sum::<f64>() / count as f64),
            };
            tracks.push(Track {
                name: format!("{word}: attention{alike}"),
                ends,
                most: words::percent,
                maps: of(|found| found.attention.as_ref()),
            });
        }
    }
    // A word of which only the gradient is known has no map.
    tracks.retain(|track| track.maps.iter().any(Option::is_some));
    tracks
}

/// The greatest finite number of a map, above 0.
fn greatest(map: &Array2<f32>) -> f64 {
    Range::of(map.iter().copied()).map_or(f64::MIN_POSITIVE, |range| range.hi.max(f64::MIN_POSITIVE))
}

/// The range of a row: from 0 where it is that of the run, for 0 means nothing moves.
fn ranges(maps: &[Option<&Array2<f32>>], how: Normalisation) -> Result<Ranges> {
    let mut finder = RangeFinder::new(how);
    maps.iter().flatten().for_each(|map| finder.push(map.iter().copied()));
    Ok(match (how, finder.finish()?) {
        (Normalisation::Run, Ranges::Whole(range)) => Ranges::Whole(Range { lo: range.lo.min(0.0), ..range }),
        (_, ranges) => ranges,
    })
}
