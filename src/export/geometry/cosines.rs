//! Which way each step goes: cosines between the steps of a way, and to its start and end.
//!
//! Enters: a way x(0) … x(N). Leaves, with d(k) = x(k+1) − x(k) where both steps are there: cosines of d(k) to later ones,
//! of d(k) and x(k) to start and end, and how straight the way is.

use super::plane::{cosine, length};
use super::trajectory::{Of, Trajectory, Whose};
use crate::error::Result;
use ndarray::Array1;
use serde::Serialize;
use std::collections::BTreeMap;

/// How many steps later a change is compared with.
pub const LAGS: [usize; 6] = [1, 2, 3, 4, 5, 10];

/// A number of each step that has it.
pub type Curve = Vec<(usize, f64)>;

/// The numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cosines {
    /// Whose.
    #[serde(flatten)]
    pub whose: Whose,
    /// By lag: cos(d(k), d(k + lag)) at k.
    pub changes: BTreeMap<usize, Curve>,
    /// cos(d(k), x(0)).
    pub change_to_start: Curve,
    /// cos(d(k), x(N)).
    pub change_to_end: Curve,
    /// cos(x(k), x(0)).
    pub to_start: Curve,
    /// cos(x(k), x(N)).
    pub to_end: Curve,
    /// cos(ε(k), ε(k−1)), where the guided predictions were recorded.
    pub noise_to_before: Curve,
    /// ‖x(N) − x(0)‖ / Σ ‖d(k)‖: 1 for a straight line. None where steps are missing.
    pub straightness: Option<f64>,
}

impl Cosines {
    /// Of a way, and of the predictions that made it, where there are any.
    ///
    /// # Errors
    /// [`Error::NotRecorded`](crate::error::Error::NotRecorded) when it has fewer than three steps.
    pub fn of(way: &Trajectory, noise: Option<&Trajectory>) -> Result<Cosines> {
        way.needs(3, "cosines between changes")?;
        let vectors: Vec<Array1<f64>> = (0..way.values.len()).map(|index| way.vector(index)).collect();
        let (start, end) = (&vectors[0], &vectors[vectors.len() - 1]);
        let changes: BTreeMap<usize, Array1<f64>> = (1..vectors.len())
            // A step that is missing leaves a gap rather than a jump.
            .filter(|at| way.steps[at - 1] + 1 == way.steps[*at])
            .map(|at| (way.steps[at - 1], &vectors[at] - &vectors[at - 1]))
            .collect();
        let to = |other: &Array1<f64>| known(way.steps.iter().zip(&vectors).map(|(k, x)| (*k, cosine(x, other))));
        let change_to = |other: &Array1<f64>| known(changes.iter().map(|(k, d)| (*k, cosine(d, other))));
        let lag =
            |lag: usize| known(changes.iter().filter_map(|(k, d)| Some((*k, cosine(d, changes.get(&(k + lag))?)))));
        let travelled: f64 = changes.values().map(length).sum();
        let whole = changes.len() + 1 == vectors.len() && travelled > 0.0;
        Ok(Cosines {
            whose: way.whose(),
            changes: LAGS.into_iter().map(|steps| (steps, lag(steps))).collect(),
            change_to_start: change_to(start),
            change_to_end: change_to(end),
            to_start: to(start),
            to_end: to(end),
            noise_to_before: noise.filter(|_| way.of != Of::Noise).map(to_before).unwrap_or_default(),
            straightness: whole.then(|| length(&(end - start)) / travelled),
        })
    }
}

fn to_before(noise: &Trajectory) -> Curve {
    let neighbours = (1..noise.steps.len()).filter(|at| noise.steps[at - 1] + 1 == noise.steps[*at]);
    known(neighbours.map(|at| (noise.steps[at], cosine(&noise.vector(at), &noise.vector(at - 1)))))
}

/// Without those of vectors that are zero, which have no angle.
fn known(curve: impl Iterator<Item = (usize, f64)>) -> Curve {
    curve.filter(|(_, value)| value.is_finite()).collect()
}
