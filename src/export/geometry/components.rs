//! The directions in which a run's values vary most: principal components over its steps.
//!
//! Enters: ways of one size. Leaves: one basis for all of them, how much of the variance each direction holds, and where
//! each value stands in it. The rows are all values of all ways, less their mean; the components come from the matrix of
//! the rows' products (Gram), which is as small as there are steps. The sign of each is such that the last value of the
//! first way is not negative.

use super::eigen;
use super::trajectory::{Trajectory, Whose};
use crate::error::Result;
use ndarray::{Array2, Axis};
use serde::Serialize;

/// How many components are kept.
pub const KEPT: usize = 10;

/// The share of the variance below which a component is none.
const ROUNDING: f64 = 1e-13;

/// A basis and what stands in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Components {
    /// Channels, height and width of the values.
    pub shape: (usize, usize, usize),
    /// The share of the variance that the first component holds, the first two, …
    pub explained: Vec<f64>,
    /// Whose values, and where they stand.
    pub members: Vec<Member>,
}

/// A way in a basis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Member {
    /// Whose.
    #[serde(flatten)]
    pub whose: Whose,
    /// By step: the coordinates along the components.
    pub scores: Vec<Vec<f64>>,
}

impl Components {
    /// Of ways of one size, at least one.
    ///
    /// # Errors
    /// [`Error::NotRecorded`](crate::error::Error::NotRecorded) when one has fewer than two steps.
    pub fn of(ways: &[&Trajectory]) -> Result<Components> {
        ways.iter().try_for_each(|way| way.needs(2, "a principal component"))?;
        let shape = ways[0].values[0].dim();
        let values: Vec<_> = ways.iter().flat_map(|way| &way.values).collect();
        let mut rows = Array2::zeros((values.len(), shape.0 * shape.1 * shape.2));
        for (mut row, values) in rows.axis_iter_mut(Axis(0)).zip(values) {
            row.assign(&values.flatten());
        }
        let count = rows.nrows() as f64;
        let mean = rows.sum_axis(Axis(0)) / count;
        rows -= &mean;
        let gram = rows.dot(&rows.t());
        let all = gram.diag().sum();
        let (mut values, vectors) = eigen::largest(gram.view(), KEPT);
        // Beyond as many directions as the rows have there is only rounding.
        values.iter_mut().filter(|value| **value <= ROUNDING * all).for_each(|value| *value = 0.0);
        let mut sum = 0.0;
        let explained = values.iter().map(|value| {
            sum += value;
            if all > 0.0 { (sum / all).min(1.0) } else { 1.0 }
        });
        let explained: Vec<f64> = explained.collect();
        let last = ways[0].steps.len() - 1;
        let scale = |component: usize| {
            let sign = if vectors[[last, component]] < 0.0 { -1.0 } else { 1.0 };
            sign * values[component].sqrt()
        };
        let scales: Vec<f64> = (0..values.len()).map(scale).collect();
        let mut row = vectors.axis_iter(Axis(0));
        let members = ways.iter().map(|way| {
            let rows = row.by_ref().take(way.steps.len());
            let scores = rows.map(|row| row.iter().zip(&scales).map(|(u, scale)| u * scale).collect()).collect();
            Member { whose: way.whose(), scores }
        });
        Ok(Components { shape, explained, members: members.collect() })
    }
}
