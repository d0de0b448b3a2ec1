//! Principal components of rows that come bit by bit, as three directions for red, green and blue.
//!
//! Enters: rows of numbers. Leaves: their mean and the directions in which they vary most.

use super::geometry::eigen;
use ndarray::{Array1, Array2, Axis};

/// How many components make a colour.
pub const COLOURS: usize = 3;
/// An eigenvalue below this share of the largest is what rounding left.
const ROUNDING: f64 = 1e-13;

/// A mean and three directions, `[channels, 3]`; fewer where there are fewer channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Basis {
    /// The mean.
    pub mean: Array1<f64>,
    /// The directions, of length 1 each, as columns.
    pub directions: Array2<f64>,
}

impl Basis {
    /// Rows `[n, channels]` as what they are along each direction, `[n, 3]`.
    pub fn project(&self, rows: &Array2<f64>) -> Array2<f64> {
        (rows - &self.mean).dot(&self.directions)
    }
}

/// Sums over rows, from which mean and covariance follow.
#[derive(Debug)]
pub struct Moments {
    count: f64,
    /// What is taken off before, so that a large mean costs no digits: the first step's.
    shift: Option<Array1<f64>>,
    sum: Array1<f64>,
    products: Array2<f64>,
}

impl Moments {
    /// Of nothing yet.
    pub fn new(channels: usize) -> Moments {
        let (sum, products) = (Array1::zeros(channels), Array2::zeros((channels, channels)));
        Moments { count: 0.0, shift: None, sum, products }
    }

    /// With further rows, `[n, channels]`.
    pub fn add(&mut self, rows: Array2<f64>) {
        let shift = self.shift.get_or_insert_with(|| rows.sum_axis(Axis(0)) / rows.nrows() as f64);
        let rows = rows - &*shift;
        self.count += rows.nrows() as f64;
        self.sum += &rows.sum_axis(Axis(0));
        self.products += &rows.t().dot(&rows);
    }

    /// The basis, and the share of the variance that each direction holds. Of each direction the number that is largest
    /// without its sign is positive; one along which nothing varies but rounding is 0.
    pub fn basis(&self) -> (Basis, Vec<f64>) {
        let mean = &self.sum / self.count;
        let column = mean.view().insert_axis(Axis(1));
        let scatter = &self.products - &(self.count * column.dot(&column.t()));
        let all = scatter.diag().sum();
        let (found, mut directions) = eigen::largest(scatter.view(), COLOURS);
        let most = found.first().copied().unwrap_or_default();
        for (mut direction, value) in directions.columns_mut().into_iter().zip(&found) {
            if *value <= ROUNDING * most {
                direction.fill(0.0);
            }
            let largest =
                direction.iter().copied().fold(0.0, |most: f64, x| if x.abs() > most.abs() { x } else { most });
            if largest < 0.0 {
                direction *= -1.0;
            }
        }
        let share = |value: f64| if all > 0.0 { (value / all).clamp(0.0, 1.0) } else { 0.0 };
        let mean = self.shift.as_ref().map_or(mean.clone(), |shift| shift + &mean);
        (Basis { mean, directions }, found.into_iter().map(share).collect())
    }
}
