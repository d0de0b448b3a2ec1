//! Self-attention: where a place of the picture looks, and what all places have in common.
//!
//! Enters: the recorded rows of self-attention. Leaves: the map of one place, or the three directions in which the rows
//! of all places and steps vary most, as red, green and blue (as figure 6 of Tumanyan et al. 2023, Plug-and-Play, shows
//! features). In words, with X the rows of all steps that are there, `[steps · places, places]`:
//!
//! ```text
//! axes  = the first eigenvectors of (X - mean)ᵀ(X - mean), the largest number of each above 0
//! value = (row - mean) · axis, from the least to the greatest of all steps: 0 to 255
//! ```

use super::recorded::Recorded;
use crate::error::{Error, Result};
use crate::export::moments::{Basis, Moments};
use crate::viz::normalise::{Normalisation, Range, RangeFinder, Ranges};
use image::{Rgb, RgbImage};
use ndarray::{Array2, Array3, Axis};

/// Whose rows are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Looking {
    /// A place that was named when the run was recorded: the mean over all layers, at the latents' size.
    Named(usize, [f64; 2]),
    /// A row of self-attention that was kept whole, of the layers of a size.
    Row(usize, [f64; 2]),
}

impl Looking {
    /// What was recorded of a place, x and y as shares of width and height.
    ///
    /// # Errors
    /// When the place is not in the picture; [`Error::NotRecorded`] where nothing of it was kept.
    pub fn at_place(recorded: &Recorded, at: [f64; 2], size: Option<usize>) -> Result<Looking> {
        if at.iter().any(|side| !(0.0..=1.0).contains(side)) {
            let message = format!("`{},{}` is no place of the picture", at[0], at[1]);
            return Err(Error::invalid(
                message,
                "0,0 is its upper left corner, 0.5,0.5 its middle, 1,1 the lower right one",
            ));
        }
        let record = recorded.record();
        let (height, width) = recorded.latents(recorded.last());
        // The same place of the latents, so the same row.
        let cell = |at: [f64; 2]| place_of(at, (height, width));
        if let (None, Some(query)) = (size, record.queries.iter().position(|query| cell(*query) == cell(at))) {
            return Ok(Looking::Named(query, at));
        }
        let whole = record.self_factors(recorded.run.record().pass(recorded.last()));
        if let Some(factor) = whole.iter().copied().find(|factor| size.is_none_or(|size| size == *factor)) {
            return Ok(Looking::Row(factor, at));
        }
        Err(not_kept(recorded, at, size))
    }

    /// The same place in another run.
    ///
    /// # Errors
    /// As [`Looking::at_place`].
    pub fn in_run(&self, recorded: &Recorded) -> Result<Looking> {
        match *self {
            Looking::Named(_, at) => Looking::at_place(recorded, at, None),
            Looking::Row(factor, at) => Looking::at_place(recorded, at, Some(factor)),
        }
    }

    /// The place, x and y as shares of width and height.
    pub fn at(&self) -> [f64; 2] {
        let (Looking::Named(_, at) | Looking::Row(_, at)) = self;
        *at
    }

    /// Where it looks at a step; the shares of all places add to 1. `None` where the step is not there.
    ///
    /// # Errors
    /// When the file is not valid.
    pub fn map(&self, recorded: &Recorded, step: usize) -> Result<Option<Array2<f32>>> {
        match *self {
            Looking::Named(query, _) => {
                let found = recorded.attention.query(step, recorded.prediction, query)?;
                let one = found.map(|layers| layers.index_axis_move(Axis(0), recorded.batch));
                Ok(one.and_then(|layers| layers.mean_axis(Axis(0))))
            }
            Looking::Row(factor, [x, y]) => {
                let (height, width) = grid(recorded, step, factor);
                let place = place_of([x, y], (height, width));
                let Some(rows) = rows(recorded, step, factor)? else { return Ok(None) };
                let row = rows.index_axis(Axis(0), place).to_owned();
                Ok(row.into_shape_with_order((height, width)).ok())
            }
        }
    }
}

/// The place among `height × width` that a point lies in, counted row by row.
fn place_of([x, y]: [f64; 2], (height, width): (usize, usize)) -> usize {
    let side = |share: f64, places: usize| ((share * places as f64) as usize).min(places.saturating_sub(1));
    side(y, height) * width + side(x, width)
}

fn not_kept(recorded: &Recorded, at: [f64; 2], size: Option<usize>) -> Error {
    let record = recorded.record();
    let there: Vec<String> = record.queries.iter().map(|[x, y]| format!("{x},{y}")).collect();
    let of = size.map(|factor| format!(" at f{factor}")).unwrap_or_default();
    let hint = match there.is_empty() {
        true => format!("trace again with `--attention self`, or with `--query {},{}`", at[0], at[1]),
        false => {
            format!("it kept {}; trace again with `--query {},{}` for this one", there.join(" and "), at[0], at[1])
        }
    };
    let message = format!("`{}` did not record where `{},{}` looks{of}", recorded.run.name().display(), at[0], at[1]);
    Error::NotRecorded { message, hint }
}

/// Height and width of the image of layers of a size.
fn grid(recorded: &Recorded, step: usize, factor: usize) -> (usize, usize) {
    let [height, width] = recorded.record().grid(factor, recorded.run.record().pass(step));
    (height, width)
}

/// Where all places look, `[places, places]`; `None` also where a pass is too large to keep them.
fn rows(recorded: &Recorded, step: usize, factor: usize) -> Result<Option<Array2<f32>>> {
    if !recorded.record().self_factors(recorded.run.record().pass(step)).contains(&factor) {
        return Ok(None);
    }
    let found: Option<Array3<f32>> = recorded.attention.rows(step, recorded.prediction, factor)?;
    Ok(found.map(|rows| rows.index_axis_move(Axis(0), recorded.batch)))
}

/// Three components of the rows of all steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// The size of the layers.
    pub factor: usize,
    /// The share of the variance that each explains.
    pub explained: Vec<f64>,
    basis: Basis,
    ranges: Vec<Range>,
}

impl Parts {
    /// Finds them, in one basis for all steps of the last pass that is there.
    ///
    /// # Errors
    /// [`Error::NotRecorded`] where no self-attention was kept whole.
    pub fn find(recorded: &Recorded, size: Option<usize>) -> Result<Parts> {
        let pass = recorded.run.record().pass(recorded.last());
        let whole = recorded.record().self_factors(pass);
        let factor = whole.into_iter().find(|factor| size.is_none_or(|size| size == *factor));
        let factor = factor.ok_or_else(|| Error::NotRecorded {
            message: format!(
                "`{}` kept no self-attention whole{}",
                recorded.run.name().display(),
                size.map(|factor| format!(" at f{factor}")).unwrap_or_default()
            ),
            hint: "trace again with `--attention self`".into(),
        })?;
        let mut all: Vec<Array2<f64>> = vec![];
        for step in recorded.steps.iter().filter(|step| recorded.run.record().pass(**step) == pass) {
            all.extend(rows(recorded, *step, factor)?.map(|rows| rows.mapv(f64::from)));
        }
        Parts::of(factor, &all).ok_or_else(|| Error::NotRecorded {
            message: format!("`{}` has no step whose self-attention is there", recorded.run.name().display()),
            hint: "trace again with `--attention self`".into(),
        })
    }

    /// From the rows of all steps.
    pub fn of(factor: usize, all: &[Array2<f64>]) -> Option<Parts> {
        let mut moments = Moments::new(all.first()?.ncols());
        all.iter().for_each(|rows| moments.add(rows.clone()));
        let (basis, explained) = moments.basis();
        let mut finders = vec![RangeFinder::new(Normalisation::Run); explained.len()];
        for rows in all {
            let values = basis.project(rows);
            finders
                .iter_mut()
                .zip(values.columns())
                .for_each(|(finder, column)| finder.push(column.iter().map(|v| *v as f32)));
        }
        let whole = |finder: RangeFinder| match finder.finish() {
            Ok(Ranges::Whole(range)) => range,
            _ => Range { lo: 0.0, hi: 1.0 },
        };
        Some(Parts { factor, explained, basis, ranges: finders.into_iter().map(whole).collect() })
    }

    /// A step's places in their colours, one pixel each.
    ///
    /// # Errors
    /// When the step's file is not valid.
    pub fn picture(&self, recorded: &Recorded, step: usize) -> Result<Option<RgbImage>> {
        let Some(rows) = rows(recorded, step, self.factor)? else { return Ok(None) };
        if rows.ncols() != self.basis.mean.len() {
            return Ok(None);
        }
        let values = self.basis.project(&rows.mapv(f64::from));
        let (height, width) = grid(recorded, step, self.factor);
        Ok(Some(RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let place = y as usize * width + x as usize;
            let byte = |c: usize| self.ranges.get(c).map_or(0, |range| range.to_u8(values[[place, c]] as f32));
            Rgb([byte(0), byte(1), byte(2)])
        })))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_axes_are_the_directions_of_most_variance() {
        // Rows that vary along two directions, one five times as much; the third has nothing left.
        let (a, b) = ([0.6, 0.8, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0]);
        let rows = Array2::from_shape_fn((40, 4), |(i, j)| {
            let (s, t) = (((i * 7) % 40) as f64 - 19.5, ((i * 13) % 40) as f64 - 19.5);
            5.0 * s * a[j] + t * b[j] + 0.3
        });
        let parts = Parts::of(4, &[rows]).unwrap();
        assert!(
            (parts.basis.directions[[1, 0]] - 0.8).abs() < 1e-3 && (parts.basis.directions[[2, 1]] - 1.0).abs() < 1e-3,
            "{}",
            parts.basis.directions
        );
        assert!((parts.explained[0] - 25.0 / 26.0).abs() < 0.01 && parts.explained[2] < 1e-9, "{:?}", parts.explained);
        assert!(parts.basis.directions.columns().into_iter().all(|axis| axis.iter().all(|v| v.is_finite())));
        // Nothing that varies at all.
        let flat = Parts::of(4, &[Array2::from_elem((4, 4), 0.25)]).unwrap();
        assert_eq!(flat.explained, [0.0; 3]);
        assert_eq!(Parts::of(4, &[]), None);
    }
}
