//! What becomes of the probabilities of attention: columns of a text, means over heads, images.
//!
//! Enters and leaves: tensors in f32, on whatever device they lie.

use crate::record::attention::{AttendedText, Column};
use crate::watch::site::Grid;
use tch::{Kind, Tensor};

/// The place that a point of the picture, x and y in 0..1, lies in.
pub fn place([x, y]: [f64; 2], (h, w): Grid) -> i64 {
    let along = |share: f64, side: i64| ((share * side as f64) as i64).clamp(0, (side - 1).max(0));
    along(y, h) * w + along(x, w)
}

/// Keys `[…, keys]` as the columns that a text has: neighbours that have one each as they are, and sums.
pub fn columns(part: &Tensor, text: &AttendedText) -> Tensor {
    let mut runs: Vec<(usize, usize, bool)> = vec![];
    for Column { place, places, .. } in &text.columns {
        match runs.last_mut() {
            Some((first, count, false)) if *places == 1 && *first + *count == *place => *count += 1,
            _ => runs.push((*place, *places, *places > 1)),
        }
    }
    let run = |(first, count, summed): &(usize, usize, bool)| {
        let keys = part.narrow(-1, *first as i64, *count as i64);
        if *summed { keys.sum_dim_intlist(-1, true, Kind::Float) } else { keys }
    };
    Tensor::cat(&runs.iter().map(run).collect::<Vec<_>>(), -1)
}

/// The mean over the heads of all these, `[batch, heads, columns, places]` each; every head counts once.
pub fn mean_over_heads<'a>(maps: impl Iterator<Item = &'a Tensor>) -> Option<Tensor> {
    let (mut sum, mut heads): (Option<Tensor>, i64) = (None, 0);
    for maps in maps {
        let own = maps.sum_dim_intlist(1, false, Kind::Float);
        heads += maps.size()[1];
        sum = Some(sum.map_or(own.shallow_clone(), |sum| sum + own));
    }
    sum.map(|sum| sum / heads as f64)
}

/// The last dimension as height and width.
pub fn on_grid(maps: &Tensor, [h, w]: [usize; 2]) -> Tensor {
    let shape = maps.size();
    let shape: Vec<i64> = shape[..shape.len() - 1].iter().copied().chain([h as i64, w as i64]).collect();
    maps.reshape(shape)
}

/// `torch.nn.functional.interpolate(row, size, mode="bicubic", align_corners=False)`, which may go below 0: nothing does.
pub fn enlarged(row: &Tensor, (h, w): Grid) -> Tensor {
    row.upsample_bicubic2d([h, w], false, None, None).clamp_min(0.0)
}
