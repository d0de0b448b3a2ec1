//! Arithmetic that several rooms need: round numbers for scales, decibels, systems of linear equations.

use ndarray::NdFloat;
use std::cmp::Ordering;

/// 1, 2 or 5 times a power of ten: the least such that is not below `step`, for the marks of a scale.
pub fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|s| *s >= step * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// How many decimals a mark needs where marks are `step` apart.
pub fn decimals(step: f64) -> usize {
    (-step.log10().floor()).max(0.0) as usize
}

/// Peak signal-to-noise ratio in dB: −10·log₁₀ of the mean squared error, the peak being 1.
pub fn decibels(mean_square: f64) -> f64 {
    -10.0 * mean_square.log10()
}

/// Pearson's correlation of two rows of numbers, −1 to 1; none where one of them is the same everywhere, or holds what is
/// no number.
pub fn correlation<'a>(a: impl IntoIterator<Item = &'a f32>, b: impl IntoIterator<Item = &'a f32>) -> Option<f64> {
    let pairs: Vec<(f64, f64)> = a.into_iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b))).collect();
    let count = pairs.len() as f64;
    let (a, b) = pairs.iter().fold((0.0, 0.0), |(a, b), pair| (a + pair.0 / count, b + pair.1 / count));
    let (mut both, mut left, mut right) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        (both, left, right) = (both + (x - a) * (y - b), left + (x - a).powi(2), right + (y - b).powi(2));
    }
    let found = both / (left * right).sqrt();
    found.is_finite().then_some(found)
}

/// Solves systems of linear equations by Gaussian elimination with pivots. Each row has a coefficient for each of the
/// unknowns, as many as there are rows, and then the right side of each system. Gives the unknowns by system, or `None`
/// where a pivot is smaller than `least`.
pub fn solve<T: NdFloat>(mut rows: Vec<Vec<T>>, least: T) -> Option<Vec<Vec<T>>> {
    let unknowns = rows.len();
    for column in 0..unknowns {
        let size = |r: &usize| rows[*r][column].abs();
        let larger = |a: &usize, b: &usize| size(a).partial_cmp(&size(b)).unwrap_or(Ordering::Equal);
        let pivot = (column..unknowns).max_by(larger)?;
        if size(&pivot) < least {
            return None;
        }
        rows.swap(column, pivot);
        let (above, below) = rows.split_at_mut(column + 1);
        let pivot = &above[column];
        for row in below {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(pivot).for_each(|(x, above)| *x -= factor * *above);
        }
    }
    let systems = rows.first().map_or(0, |row| row.len() - unknowns);
    let system = |right: usize| {
        let mut solution = vec![T::zero(); unknowns];
        for row in (0..unknowns).rev() {
            let known = (row + 1..unknowns).map(|j| rows[row][j] * solution[j]).fold(T::neg_zero(), |sum, x| sum + x);
            solution[row] = (rows[row][unknowns + right] - known) / rows[row][row];
        }
        solution
    };
    Some((0..systems).map(system).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn steps_are_round() {
        for (step, round, places) in [(0.012, 0.02, 2), (0.05, 0.05, 2), (0.3, 0.5, 1), (1.0, 1.0, 0), (51.0, 100.0, 0)]
        {
            assert!((round_step(step) - round).abs() < 1e-12, "{step}");
            assert_eq!(decimals(round), places);
        }
        assert_eq!(decibels(1e-3), 30.0);
    }

    #[test]
    fn numbers_that_go_together_correlate() {
        let of = |a: &[f32], b: &[f32]| correlation(a, b);
        assert!((of(&[1.0, 2.0, 4.0], &[3.0, 5.0, 9.0]).unwrap() - 1.0).abs() < 1e-12);
        assert!((of(&[1.0, 2.0, 4.0], &[-1.0, -2.0, -4.0]).unwrap() + 1.0).abs() < 1e-12);
        assert!((of(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!((of(&[1.0, 1.0], &[1.0, 2.0]), of(&[f32::NAN, 1.0], &[1.0, 2.0])), (None, None));
    }

    #[test]
    fn systems_are_solved_whichever_row_comes_first() {
        // x + 2y = 5 and 7, 3x − y = 1 and 0; the second has a first coefficient of zero when turned round.
        let found = solve(vec![vec![1.0, 2.0, 5.0, 7.0], vec![3.0, -1.0, 1.0, 0.0]], 0.0);
        assert_eq!(found, Some(vec![vec![1.0, 2.0], vec![1.0, 3.0]]));
        assert_eq!(solve(vec![vec![0.0f32, 2.0, 4.0], vec![5.0, 0.0, 5.0]], 1e-6), Some(vec![vec![1.0, 2.0]]));
        assert_eq!(solve(vec![vec![1.0, 2.0, 1.0], vec![2.0, 4.0, 2.0]], 1e-10), None);
    }
}
