//! Small maps made larger: bicubic, as torch's `interpolate(mode="bicubic", align_corners=False)` has it, or each number
//! repeated.
//!
//! Enters: a map `[height, width]` and the size it is to have. Leaves: the map at that size. Bicubic interpolation has
//! a = −0.75, half-pixel centres, the edge repeated, and no antialias; it can go below the least number and above the
//! greatest.

use ndarray::{Array2, ArrayView2};

/// The parameter of the cubic kernel, as in torch and OpenCV.
const A: f64 = -0.75;

/// The four places that a number is made of and how much each counts: along one side of `from` numbers, for each of `to`.
fn taps(from: usize, to: usize) -> Vec<[(usize, f64); 4]> {
    let scale = from as f64 / to as f64;
    let last = from as f64 - 1.0;
    let inner = |t: f64| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let outer = |t: f64| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    let at = |place: usize| {
        let real = scale * (place as f64 + 0.5) - 0.5;
        let (whole, t) = (real.floor(), real - real.floor());
        let weights = [outer(t + 1.0), inner(t), inner(1.0 - t), outer(2.0 - t)];
        let tap = |i: usize| ((whole + i as f64 - 1.0).clamp(0.0, last) as usize, weights[i]);
        [tap(0), tap(1), tap(2), tap(3)]
    };
    (0..to).map(at).collect()
}

/// The map at another size, bicubic. One that is empty gives zeros.
pub fn bicubic(map: ArrayView2<'_, f32>, (height, width): (usize, usize)) -> Array2<f32> {
    let (rows, columns) = map.dim();
    if rows == 0 || columns == 0 {
        return Array2::zeros((height, width));
    }
    if (rows, columns) == (height, width) {
        return map.to_owned();
    }
    let (down, across) = (taps(rows, height), taps(columns, width));
    let sum = |taps: &[(usize, f64); 4], at: &dyn Fn(usize) -> f64| taps.iter().map(|(i, w)| w * at(*i)).sum::<f64>();
    let wide = Array2::from_shape_fn((rows, width), |(y, x)| sum(&across[x], &|i| f64::from(map[[y, i]])));
    Array2::from_shape_fn((height, width), |(y, x)| sum(&down[y], &|i| wide[[i, x]]) as f32)
}

/// The map at another size, every number repeated: each place has the one that its middle lies in.
pub fn repeated(map: ArrayView2<'_, f32>, (height, width): (usize, usize)) -> Array2<f32> {
    let (rows, columns) = map.dim();
    if rows == 0 || columns == 0 {
        return Array2::zeros((height, width));
    }
    let place = |i: usize, from: usize, to: usize| ((2 * i + 1) * from / (2 * to)).min(from - 1);
    Array2::from_shape_fn((height, width), |(y, x)| map[[place(y, rows, height), place(x, columns, width)]])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.arange(12.).view(1, 1, 3, 4).square() / 10 - 3`, with 7 in the middle.
    fn map() -> Array2<f32> {
        let mut map = Array2::from_shape_fn((3, 4), |(y, x)| ((4 * y + x) as f32).powi(2) / 10.0 - 3.0);
        map[[1, 2]] = 7.0;
        map
    }

    fn close(found: &Array2<f32>, expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "{apart}");
    }

    /// What torch 2.13 gives for 7×9 and for 5×3: larger by no whole number, and smaller.
    #[test]
    fn bicubic_is_torchs() {
        #[rustfmt::skip]
        close(&bicubic(map().view(), (7, 9)), &[
            -3.17629, -3.16467, -3.114035, -3.185741, -3.509073, -3.669486, -3.284771, -2.705402, -2.416452,
            -2.889631, -2.864256, -2.888646, -2.620936, -2.017817, -1.482596, -1.405102, -1.649844, -1.74005,
            -2.627688, -2.594529, -2.827433, -1.847493, 0.810752, 2.878651, 2.204734, 0.055935, -0.915828,
            -1.497801, -1.401042, -1.655052, -0.126183, 3.8125, 6.862294, 5.900939, 2.762153, 1.345794,
            0.639668, 0.869997, 0.963912, 2.416983, 5.428825, 7.85032, 7.649534, 5.827555, 5.052963,
            2.664875, 3.025438, 3.556641, 4.628673, 5.832905, 6.969241, 7.851056, 8.161909, 8.406893,
            3.730543, 4.158958, 4.900453, 5.828894, 6.253026, 6.840078, 8.224937, 9.49517, 10.200918,
        ]);
        #[rustfmt::skip]
        close(&bicubic(map().view(), (5, 3)), &[
            -3.14348, -3.4211, -2.639708, -2.734874, -0.385098, -0.691212, -1.401042, 3.8125, 2.762152,
            1.780792, 5.634099, 6.831521, 4.092152, 6.223701, 9.414268,
        ]);
        assert_eq!(bicubic(map().view(), (3, 4)), map());
        // What adds to one goes on adding to one, and one number fills everything.
        let flat = Array2::from_elem((2, 3), 0.25f32);
        assert!(bicubic(flat.view(), (9, 7)).iter().all(|v| (v - 0.25).abs() < 1e-6));
        assert_eq!(bicubic(Array2::from_elem((1, 1), 0.5f32).view(), (2, 2)), Array2::from_elem((2, 2), 0.5));
        assert_eq!(bicubic(Array2::zeros((0, 4)).view(), (2, 2)), Array2::<f32>::zeros((2, 2)));
    }

    #[test]
    fn numbers_are_repeated() {
        let large = repeated(map().view(), (6, 8));
        assert!(large.indexed_iter().all(|((y, x), value)| *value == map()[[y / 2, x / 2]]));
        // 2 rows on 3: the middle one has its middle in the second.
        let odd = Array2::from_shape_fn((2, 1), |(y, _)| y as f32);
        assert_eq!(repeated(odd.view(), (3, 1)).iter().copied().collect::<Vec<_>>(), [0.0, 1.0, 1.0]);
    }
}
