//! The plane of start and end: how much of a run's way lies in it (Wang and Vastola 2023, whose formulas these are).
//!
//! Enters: a way x(0) … x(N). Leaves, with e₁ = x(N)/‖x(N)‖ and e₂ the part of x(0) perpendicular to it, of length 1: the
//! coordinates of each x(k) in the plane, what lies outside it, and how much of the end the way foresees.

use super::trajectory::{Of, Trajectory, Whose};
use crate::error::Result;
use ndarray::Array1;
use serde::Serialize;

/// What is left of a vector, relative to its length, where rounding is all that is left.
const ROUNDING: f64 = 1e-10;

/// The numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plane {
    /// Whose.
    #[serde(flatten)]
    pub whose: Whose,
    /// x(k)·e₁.
    pub along: Vec<f64>,
    /// x(k)·e₂.
    pub across: Vec<f64>,
    /// The share of ‖x(k)‖² that lies outside the plane.
    pub outside: Vec<f64>,
    /// The angle between x(0) and x(N), degrees.
    pub angle: f64,
    /// Of latents: (√ᾱ·‖x(N)‖, √(1−ᾱ)·‖the part of x(0) along e₂‖), the mixture of end and start that the schedule asks
    /// for.
    pub arc: Vec<(f64, f64)>,
    /// The share of ‖x(N)‖² outside the span of x(0) and x(k).
    pub unforeseen_by_two: Vec<f64>,
    /// The share of ‖x(N)‖² outside the span of x(0) … x(k).
    pub unforeseen_by_all: Vec<f64>,
}

impl Plane {
    /// Of a way.
    ///
    /// # Errors
    /// [`Error::NotRecorded`](crate::error::Error::NotRecorded) when it has fewer than two steps.
    pub fn of(way: &Trajectory) -> Result<Plane> {
        way.needs(2, "a plane")?;
        let (start, end) = (way.vector(0), way.vector(way.values.len() - 1));
        let e1 = direction(&end);
        let beside = without(&start, &[&e1]);
        let e2 =
            if length(&beside) > ROUNDING * length(&start) { direction(&beside) } else { Array1::zeros(end.len()) };
        let mut plane = Plane {
            whose: way.whose(),
            along: vec![],
            across: vec![],
            outside: vec![],
            angle: cosine(&start, &end).acos().to_degrees(),
            arc: vec![],
            unforeseen_by_two: vec![],
            unforeseen_by_all: vec![],
        };
        let first = direction(&start);
        let mut span: Vec<Array1<f64>> = vec![];
        for (index, level) in way.levels.iter().enumerate() {
            let x = way.vector(index);
            plane.along.push(x.dot(&e1));
            plane.across.push(x.dot(&e2));
            plane.outside.push(share(&without(&x, &[&e1, &e2]), &x));
            if way.of == Of::Latents {
                let alpha = level.alpha_cumprod;
                plane.arc.push((alpha.sqrt() * length(&end), (1.0 - alpha).sqrt() * length(&beside)));
            }
            let second = without(&x, &[&first]);
            let new = length(&second) > ROUNDING * length(&x);
            let two = if new { without(&end, &[&first, &direction(&second)]) } else { without(&end, &[&first]) };
            plane.unforeseen_by_two.push(share(&two, &end));
            let rest = without(&x, &span.iter().collect::<Vec<_>>());
            if length(&rest) > ROUNDING * length(&x) {
                span.push(direction(&rest));
            }
            plane.unforeseen_by_all.push(share(&without(&end, &span.iter().collect::<Vec<_>>()), &end));
        }
        Ok(plane)
    }
}

/// The Euclidean length of a vector.
pub(super) fn length(x: &Array1<f64>) -> f64 {
    x.dot(x).sqrt()
}

/// The cosine of the angle between two vectors; NaN where one of them is zero.
pub(super) fn cosine(a: &Array1<f64>, b: &Array1<f64>) -> f64 {
    (a.dot(b) / (length(a) * length(b))).clamp(-1.0, 1.0)
}

/// The vector of length 1 that points where this one does; zero for zero.
fn direction(x: &Array1<f64>) -> Array1<f64> {
    let length = length(x);
    if length > 0.0 { x / length } else { x.clone() }
}

/// What is left of a vector without its parts along these, which have length 1 and are perpendicular to each other. Twice
/// over, for what rounding leaves.
fn without(x: &Array1<f64>, directions: &[&Array1<f64>]) -> Array1<f64> {
    let mut rest = x.clone();
    for direction in directions.iter().chain(directions) {
        let part = direction.dot(&rest);
        rest.scaled_add(-part, direction);
    }
    rest
}

/// ‖part‖²/‖whole‖²; 0 of nothing.
fn share(part: &Array1<f64>, whole: &Array1<f64>) -> f64 {
    let all = whole.dot(whole);
    if all > 0.0 { part.dot(part) / all } else { 0.0 }
}
