//! Eigenvalues of symmetric matrices, for principal components.
//!
//! Enters: a symmetric matrix in f64. Leaves: its largest eigenvalues and their vectors. Small matrices are turned by
//! Jacobi's rotations until nothing is left beside the diagonal; of large ones a block of vectors is multiplied by the
//! matrix until it holds the largest directions.

use ndarray::{Array1, Array2, ArrayView2, Axis, s};

/// Up to this size all eigenvalues are computed.
const SMALL: usize = 128;
/// Vectors in a block beyond those that are asked for, which makes these settle sooner.
const SPARE: usize = 8;
/// Multiplications at most; a block settles in about twenty where eigenvalues fall quickly.
const ROUNDS: usize = 400;
/// Jacobi's sweeps at most; about eight are needed.
const SWEEPS: usize = 60;

/// The `count` largest eigenvalues of a symmetric matrix, descending, and their vectors of length 1 as columns. Fewer where
/// the matrix is smaller. The signs of the vectors mean nothing.
pub fn largest(matrix: ArrayView2<f64>, count: usize) -> (Vec<f64>, Array2<f64>) {
    let (size, block) = (matrix.nrows(), count + SPARE);
    let (values, vectors) =
        if size <= SMALL.max(block) { jacobi(matrix.to_owned()) } else { by_blocks(matrix, count, block) };
    let count = count.min(size);
    (values[..count].to_vec(), vectors.slice(s![.., ..count]).to_owned())
}

/// All eigenvalues, descending, and their vectors (Jacobi 1846; the rotation as in Golub and Van Loan, 8.5).
fn jacobi(mut a: Array2<f64>) -> (Vec<f64>, Array2<f64>) {
    let size = a.nrows();
    let mut v = Array2::eye(size);
    for _ in 0..SWEEPS {
        let beside: f64 = (0..size).map(|i| (0..i).map(|j| a[[i, j]].powi(2)).sum::<f64>()).sum();
        let all: f64 = a.iter().map(|x| x * x).sum();
        if beside <= 1e-34 * all {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                if a[[p, q]] != 0.0 {
                    rotate(&mut a, &mut v, p, q);
                }
            }
        }
    }
    sorted(a.diag().to_owned(), v)
}

/// Turns the plane of `p` and `q` so that their common entry becomes 0.
fn rotate(a: &mut Array2<f64>, v: &mut Array2<f64>, p: usize, q: usize) {
    let theta = (a[[q, q]] - a[[p, p]]) / (2.0 * a[[p, q]]);
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let t = if theta == 0.0 { 1.0 } else { t };
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    let turn = |x: f64, y: f64| (c * x - s * y, s * x + c * y);
    for i in 0..a.nrows() {
        (a[[i, p]], a[[i, q]]) = turn(a[[i, p]], a[[i, q]]);
    }
    for i in 0..a.nrows() {
        (a[[p, i]], a[[q, i]]) = turn(a[[p, i]], a[[q, i]]);
        (v[[i, p]], v[[i, q]]) = turn(v[[i, p]], v[[i, q]]);
    }
    (a[[p, q]], a[[q, p]]) = (0.0, 0.0);
}

/// The largest eigenvalues by subspace iteration: multiply, make perpendicular, and solve the small problem within.
fn by_blocks(matrix: ArrayView2<f64>, count: usize, block: usize) -> (Vec<f64>, Array2<f64>) {
    // Any start will do that is not perpendicular to what is sought; the same one each time.
    let mut state = 1u64;
    let mut vectors = Array2::from_shape_simple_fn((matrix.nrows(), block), || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    });
    let mut values = vec![];
    for _ in 0..ROUNDS {
        vectors = matrix.dot(&vectors);
        make_perpendicular(&mut vectors);
        let (found, turned) = jacobi(vectors.t().dot(&matrix.dot(&vectors)));
        vectors = vectors.dot(&turned);
        let settled = values.len() == found.len()
            && found
                .iter()
                .zip(&values)
                .take(count)
                .all(|(now, before): (&f64, &f64)| (now - before).abs() <= 1e-14 * found[0].abs());
        values = found;
        if settled {
            break;
        }
    }
    (values, vectors)
}

/// Columns of length 1, each perpendicular to those before (Gram and Schmidt, twice over for what rounding leaves). A
/// column that lies among those before becomes 0.
fn make_perpendicular(vectors: &mut Array2<f64>) {
    for column in 0..vectors.ncols() {
        let (before, mut rest) = vectors.view_mut().split_at(Axis(1), column);
        let mut own = rest.column_mut(0);
        let length = own.dot(&own).sqrt();
        for _ in 0..2 {
            let shadow = before.dot(&before.t().dot(&own));
            own -= &shadow;
        }
        let left = own.dot(&own).sqrt();
        if left > 1e-13 * length { own /= left } else { own.fill(0.0) }
    }
}

fn sorted(values: Array1<f64>, vectors: Array2<f64>) -> (Vec<f64>, Array2<f64>) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    (order.iter().map(|i| values[*i]).collect(), vectors.select(Axis(1), &order))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A symmetric matrix whose eigenvalues are known: 100, 50, 25, … in a basis turned by reflections.
    fn known(size: usize) -> (Array2<f64>, Vec<f64>) {
        let values: Vec<f64> = (0..size).map(|i| 100.0 * 0.5f64.powi(i as i32)).collect();
        let mut matrix = Array2::from_diag(&Array1::from(values.clone()));
        for turn in 1..4 {
            let mut u = Array1::from_shape_fn(size, |i| ((i * turn + 1) as f64).sin());
            u /= u.dot(&u).sqrt();
            let column = u.view().insert_axis(Axis(1));
            let reflection = Array2::eye(size) - 2.0 * &column.dot(&column.t());
            matrix = reflection.dot(&matrix).dot(&reflection);
        }
        (matrix, values)
    }

    #[test]
    fn both_ways_find_the_known_values() {
        for size in [1, 2, 17, 100, 150] {
            let (matrix, values) = known(size);
            let (found, vectors) = largest(matrix.view(), 3);
            assert_eq!((found.len(), vectors.dim()), (3.min(size), (size, 3.min(size))));
            for (i, value) in found.iter().enumerate() {
                assert!((value - values[i]).abs() < 1e-11, "{size}: {value}, not {}", values[i]);
                let v = vectors.column(i);
                let off = matrix.dot(&v) - *value * &v;
                assert!(off.dot(&off).sqrt() < 1e-6 && (v.dot(&v) - 1.0).abs() < 1e-12, "{size}: vector {i}");
            }
        }
    }

    #[test]
    fn nothing_and_copies_are_no_trouble() {
        let (values, _) = largest(Array2::zeros((140, 140)).view(), 3);
        assert_eq!(values, [0.0; 3]);
        let (values, _) = largest(Array2::eye(140).view(), 2);
        assert!(values.iter().all(|value| (value - 1.0).abs() < 1e-12), "{values:?}");
        // One direction alone: the others are 0.
        let (values, _) = largest(Array2::ones((140, 140)).view(), 2);
        assert!((values[0] - 140.0).abs() < 1e-10 && values[1].abs() < 1e-10, "{values:?}");
    }
}
