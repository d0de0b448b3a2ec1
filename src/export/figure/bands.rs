//! The parts of a whole, as bands that stand on each other.
//!
//! Enters: a panel whose curves are parts. Leaves: the bands, the first at the bottom, with a line between two of them and
//! the name in each that has room. Words have the colours of lines; what is no word is grey, from dark to light.

use super::Panel;
use super::draw::{Area, COLOURS, Drawn, LABEL, Place, text, wide};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Looks from here on are greys.
pub const GREYS: usize = COLOURS.len();
/// Four that differ where they stand on each other in this order.
const SHADES: [RGBColor; 4] =
    [RGBColor(60, 60, 60), RGBColor(170, 170, 170), RGBColor(105, 105, 105), RGBColor(218, 218, 218)];
/// Between two bands.
const LINE: u32 = 2;
/// How much more than the whole the parts may be.
const ROUNDING: f64 = 2e-3;

/// Whether a look is a grey one.
pub(super) fn is_grey(look: usize) -> bool {
    look >= GREYS
}

fn colour(look: usize) -> RGBColor {
    if is_grey(look) { SHADES[(look - GREYS) % SHADES.len()] } else { COLOURS[look] }
}

/// The whole at each step, and 0, from where bands stand.
pub(super) fn sums(panel: &Panel) -> Vec<f64> {
    let tops = tops(panel);
    let whole: Vec<f64> = tops.last().map(|points| points.iter().map(|(_, y)| *y).collect()).unwrap_or_default();
    // What is read from half precision adds to a little more than the whole: no mark beyond it for that.
    [vec![0.0], whole.into_iter().map(|sum| sum / (1.0 + ROUNDING)).collect()].concat()
}

/// The upper edge of each band: the sum of all up to it.
fn tops(panel: &Panel) -> Vec<Vec<(f64, f64)>> {
    let mut tops: Vec<Vec<(f64, f64)>> = vec![];
    for curve in &panel.curves {
        let below = tops.last();
        let sum = |(place, (x, y)): (usize, &(f64, f64))| {
            let under = below.and_then(|points| points.get(place)).map_or(0.0, |point| point.1);
            (*x, under + if y.is_finite() { *y } else { 0.0 })
        };
        tops.push(curve.points.iter().enumerate().map(sum).collect());
    }
    tops
}

/// The sample before a name in the legend.
pub(super) fn swatch(look: usize, area: &Area, (x, middle): Place, width: i32) -> Drawn {
    area.draw(&Rectangle::new([(x, middle - 13), (x + width, middle + 13)], colour(look).filled()))
}

/// Draws the bands.
pub(super) fn draw(panel: &Panel, pixel: impl Fn(f64, f64) -> Place, area: &Area) -> Drawn {
    let tops = tops(panel);
    for (number, curve) in panel.curves.iter().enumerate() {
        let upper: Vec<Place> = tops[number].iter().map(|(x, y)| pixel(*x, *y)).collect();
        let lower: Vec<Place> = match number.checked_sub(1) {
            Some(below) => tops[below].iter().map(|(x, y)| pixel(*x, *y)).collect(),
            None => tops[number].iter().map(|(x, _)| pixel(*x, 0.0)).collect(),
        };
        if let ([only], [under]) = (&upper[..], &lower[..]) {
            // One step has no width of its own.
            area.draw(&Rectangle::new([(only.0 - 20, only.1), (under.0 + 20, under.1)], colour(curve.look).filled()))?;
            continue;
        }
        let outline: Vec<Place> = upper.iter().chain(lower.iter().rev()).copied().collect();
        area.draw(&Polygon::new(outline, colour(curve.look).filled()))?;
        area.draw(&PathElement::new(upper.clone(), WHITE.stroke_width(LINE)))?;
        name(&curve.name, curve.look, (&upper, &lower), area)?;
    }
    Ok(())
}

/// Writes a band's name in it, where it is thickest, if it is thick enough there.
fn name(name: &str, look: usize, (upper, lower): (&[Place], &[Place]), area: &Area) -> Drawn {
    let (Some(first), Some(last)) = (upper.first(), upper.last()) else { return Ok(()) };
    let style = text(LABEL, BLACK, false).pos(Pos::new(HPos::Center, VPos::Center));
    let half = wide(name, &style) / 2 + 12;
    let room = |at: &usize| -> (i32, i32, i32) {
        let beside = (0..upper.len()).filter(|other| (upper[*other].0 - upper[*at].0).abs() <= half);
        let top = beside.clone().map(|i| upper[i].1).max().unwrap_or(0);
        let bottom = beside.map(|i| lower[i].1).min().unwrap_or(0);
        (bottom - top, top, bottom)
    };
    let fits = |at: &usize| upper[*at].0 - half >= first.0 && upper[*at].0 + half <= last.0;
    let places: Vec<(i32, usize)> = (0..upper.len()).filter(fits).map(|at| (room(&at).0, at)).collect();
    let most = places.iter().map(|(height, _)| *height).max().unwrap_or(0);
    // As far in the middle as there is about as much room.
    let middle = (first.0 + last.0) / 2;
    let roomy = places.iter().filter(|(height, _)| 10 * height >= 9 * most);
    let best = roomy.map(|(_, at)| *at).min_by_key(|at| (upper[*at].0 - middle).abs());
    if let Some(at) = best
        && let (height, top, bottom) = room(&at)
        && height > LABEL as i32 + 4
    {
        let RGBColor(r, g, b) = colour(look);
        let dark = 299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b) < 130_000;
        let style = text(LABEL, if dark { WHITE } else { BLACK }, false).pos(Pos::new(HPos::Center, VPos::Center));
        area.draw_text(name, &style, (upper[at].0, (top + bottom) / 2))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::figure::Line;

    #[test]
    fn bands_stand_on_each_other() {
        let line =
            |points: &[(f64, f64)]| Line { name: String::new(), points: points.to_vec(), look: 0, theory: false };
        let curves = vec![line(&[(1.0, 0.2), (2.0, 0.5)]), line(&[(1.0, 0.3), (2.0, f64::NAN)])];
        let (y, about, x) = (String::new(), String::new(), String::new());
        let panel = Panel {
            y,
            about,
            x,
            x_end: 2.0,
            across: crate::export::figure::Across::Steps,
            log: false,
            curves,
            stacked: true,
        };
        assert_eq!(tops(&panel), [[(1.0, 0.2), (2.0, 0.5)], [(1.0, 0.5), (2.0, 0.5)]]);
        assert!(sums(&panel).iter().zip([0.0, 0.5, 0.5]).all(|(a, b)| (a - b).abs() < 2e-3));
    }
}
