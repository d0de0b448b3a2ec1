//! From a site's values to three numbers per place: the basis, and the range of each of the three.

use super::{Fit, Options, not_kept, values};
use crate::error::{Error, Result};
use crate::export::geometry::eigen;
use crate::export::moments::{Basis, COLOURS, Moments};
use crate::record::layers::site_file;
use crate::trace::reader::Run;
use crate::viz::latents::ChannelTriple;
use crate::viz::normalise::{RangeFinder, Ranges};
use image::{Rgb, RgbImage};
use ndarray::{Array1, Array2, Array3, Axis};
use serde::Serialize;

/// A site's values made colours.
#[derive(Debug, Serialize)]
pub struct Features {
    /// The site's key.
    pub site: String,
    /// Its channels.
    pub channels: usize,
    /// The channels shown, where no components are.
    pub shown: Option<[usize; 3]>,
    /// The share of the variance that each component holds; with a fit by step, of each step of each run.
    pub explained: Vec<Vec<f64>>,
    /// By run: the steps.
    pub steps: Vec<Vec<usize>>,
    #[serde(skip)]
    bases: Bases,
    #[serde(skip)]
    ranges: [Option<Ranges>; COLOURS],
}

/// What a row is multiplied by.
#[derive(Debug)]
enum Bases {
    Channels(ChannelTriple),
    One(Basis),
    /// By run, by step.
    Each(Vec<Vec<Basis>>),
}

impl Features {
    /// Reads through the runs, finds the basis and the ranges.
    ///
    /// # Errors
    /// As [`make`](super::make).
    pub fn prepare(runs: &[&Run], options: &Options) -> Result<Features> {
        let (mut steps, mut channels) = (vec![], None);
        for run in runs {
            let mut own = vec![];
            for step in run.site_steps()? {
                let Some(values) = values(run, step, options)? else { continue };
                check(run, step, &values, channels, options)?;
                channels = Some(values.len_of(Axis(0)));
                own.push(step);
            }
            if own.is_empty() {
                return Err(not_kept(run, &options.site)?);
            }
            steps.push(own);
        }
        let channels = channels.unwrap_or_default();
        let (bases, explained) = match options.channels {
            Some(triple) => (Bases::Channels(triple), vec![]),
            None if options.fit == Fit::Run => {
                let mut moments = Moments::new(channels);
                for (run, steps) in runs.iter().zip(&steps) {
                    for step in steps {
                        values(run, *step, options)?.iter().for_each(|values| moments.add(rows(values)));
                    }
                }
                let (basis, explained) = moments.basis();
                (Bases::One(basis), vec![explained])
            }
            None => by_step(runs, &steps, channels, options)?,
        };
        let shown = options.channels.map(|triple| triple.0);
        let mut features =
            Features { site: options.site.clone(), channels, shown, explained, steps, bases, ranges: [None; COLOURS] };
        features.find_ranges(runs, options)?;
        Ok(features)
    }

    fn find_ranges(&mut self, runs: &[&Run], options: &Options) -> Result<()> {
        let mut finders: Vec<RangeFinder> = (0..COLOURS).map(|_| RangeFinder::new(options.normalise)).collect();
        for (place, run) in runs.iter().enumerate() {
            for at in 0..self.steps[place].len() {
                let Some(projected) = self.coordinates(run, place, at, options)? else { continue };
                for (finder, plane) in finders.iter_mut().zip(projected.axis_iter(Axis(0))) {
                    if finder.needs_data() {
                        finder.push(plane.iter().copied());
                    }
                }
            }
        }
        for (range, finder) in self.ranges.iter_mut().zip(finders) {
            *range = Some(finder.finish()?);
        }
        Ok(())
    }

    /// Three numbers for each place, `[3, height, width]`, of the `at`-th step of the `place`-th run: what becomes colours.
    ///
    /// # Errors
    /// When the step cannot be read.
    pub fn coordinates(&self, run: &Run, place: usize, at: usize, options: &Options) -> Result<Option<Array3<f32>>> {
        let Some(values) = values(run, self.steps[place][at], options)? else { return Ok(None) };
        let basis = match &self.bases {
            Bases::Channels(triple) => return Ok(Some(values.select(Axis(0), &triple.0))),
            Bases::One(basis) => basis,
            Bases::Each(all) => &all[place][at],
        };
        let (_, height, width) = values.dim();
        let projected = basis.project(&rows(&values)).mapv(|value| value as f32);
        let planes = projected.reversed_axes().as_standard_layout().into_owned();
        let shape = (COLOURS, height, width);
        planes.into_shape_with_order(shape).map(Some).map_err(|e| Error::Broken(e.to_string()))
    }

    /// The picture of a step, one pixel per place; none where the site was not kept of it.
    ///
    /// # Errors
    /// When the step cannot be read.
    pub fn picture(&self, runs: &[&Run], place: usize, step: usize, options: &Options) -> Result<Option<RgbImage>> {
        let Some(at) = self.steps[place].iter().position(|known| *known == step) else { return Ok(None) };
        let Some(projected) = self.coordinates(runs[place], place, at, options)? else { return Ok(None) };
        let ranges: Vec<_> = projected
            .axis_iter(Axis(0))
            .zip(&self.ranges)
            .filter_map(|(plane, range)| range.map(|range| range.for_frame(plane.iter().copied())))
            .collect();
        let (_, height, width) = projected.dim();
        Ok(Some(RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let byte = |colour: usize| {
                ranges.get(colour).map_or(0, |range| range.to_u8(projected[[colour, y as usize, x as usize]]))
            };
            Rgb([byte(0), byte(1), byte(2)])
        })))
    }

    /// What the colours are, in words.
    pub fn describe(&self, options: &Options) -> String {
        let (site, range) = (&self.site, options.normalise);
        match (&self.bases, self.explained.first()) {
            (Bases::Channels(triple), _) => format!("{site}: channels {triple} as red, green, blue ({range})"),
            (Bases::One(_), Some(explained)) => {
                let shares: Vec<String> = explained.iter().map(|share| format!("{:.0}", 100.0 * share)).collect();
                let shares = shares.join(", ");
                format!(
                    "{site}: principal components 1, 2, 3 as red, green, blue; they hold {shares} % of the variance"
                )
            }
            _ => format!("{site}: principal components 1, 2, 3 of each step as red, green, blue"),
        }
    }
}

/// Refuses what has too few channels, others than before, or numbers that are none.
fn check(run: &Run, step: usize, values: &Array3<f32>, before: Option<usize>, options: &Options) -> Result<()> {
    let (site, file, channels) = (&options.site, run.name().join(site_file(step)), values.len_of(Axis(0)));
    let file = file.display();
    if let Some(before) = before.filter(|before| *before != channels) {
        let message = format!("`{site}` has {channels} channels in `{file}`, and {before} in what came before");
        return Err(Error::invalid(message, "runs of one model can be seen in one basis"));
    }
    let needed = options.channels.map_or(COLOURS, |triple| 1 + triple.0.into_iter().max().unwrap_or(0));
    if channels < needed {
        let message = format!("`{site}` has {channels} channels in `{file}`, and {needed} are asked for");
        return Err(Error::invalid(message, "channels are counted from 0"));
    }
    if values.iter().any(|value| !value.is_finite()) {
        let message = format!("`{site}` in `{file}` holds numbers that are not finite");
        return Err(Error::invalid(message, "trace again with `--dtype f32`"));
    }
    Ok(())
}

/// The places as rows, `[places, channels]`.
fn rows(values: &Array3<f32>) -> Array2<f64> {
    let (channels, height, width) = values.dim();
    let by_place = values.view().permuted_axes([1, 2, 0]);
    let flat: Vec<f64> = by_place.iter().map(|value| f64::from(*value)).collect();
    Array2::from_shape_vec((height * width, channels), flat).unwrap_or_default()
}

/// A basis for each step of each run, turned towards the step before; a run's first towards the first run's first.
fn by_step(runs: &[&Run], steps: &[Vec<usize>], channels: usize, options: &Options) -> Result<(Bases, Vec<Vec<f64>>)> {
    let (mut all, mut explained): (Vec<Vec<Basis>>, _) = (vec![], vec![]);
    for (run, steps) in runs.iter().zip(steps) {
        let mut own: Vec<Basis> = vec![];
        for step in steps {
            let mut moments = Moments::new(channels);
            values(run, *step, options)?.iter().for_each(|values| moments.add(rows(values)));
            let (mut basis, shares) = moments.basis();
            if let Some(before) = own.last().or(all.first().and_then(|first| first.first())) {
                basis.directions = turned(&basis.directions, &before.directions);
            }
            own.push(basis);
            explained.push(shares);
        }
        all.push(own);
    }
    Ok((Bases::Each(all), explained))
}

/// Three directions turned among themselves so that they lie nearest to three others (orthogonal Procrustes, Schönemann
/// 1966): B·R with R the orthogonal part of Bᵀ·A. Where that does not say how to turn, they stay.
fn turned(directions: &Array2<f64>, towards: &Array2<f64>) -> Array2<f64> {
    let common = directions.t().dot(towards);
    let (squares, vectors) = eigen::largest(common.t().dot(&common).view(), COLOURS);
    if squares.len() < COLOURS || squares[COLOURS - 1] <= 1e-12 {
        return directions.clone();
    }
    let inverse = Array2::from_diag(&Array1::from_iter(squares.iter().map(|square| 1.0 / square.sqrt())));
    directions.dot(&common.dot(&vectors.dot(&inverse).dot(&vectors.t())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_finds_the_rotation_and_keeps_the_space() {
        let size = 6;
        let mut directions = Array2::zeros((size, 3));
        (0..3).for_each(|i| directions[[i, i]] = 1.0);
        let (sin, cos) = 0.7f64.sin_cos();
        let rotation = ndarray::arr2(&[[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, -1.0]]);
        let towards = directions.dot(&rotation);
        let found = turned(&directions, &towards);
        assert!((&found - &towards).iter().all(|apart| apart.abs() < 1e-12), "{found}");
        // Nothing in common: it stays.
        let mut elsewhere = Array2::zeros((size, 3));
        (0..3).for_each(|i| elsewhere[[i + 3, i]] = 1.0);
        assert_eq!(turned(&directions, &elsewhere), directions);
    }
}
