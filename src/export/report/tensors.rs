//! Tensors as text: bytes shuffled, deflated, base64; and what the page can compute instead of holding it.
//!
//! Enters: a step's numbers. Leaves: a block's text. Shuffling puts all first bytes of the numbers first, then all second
//! ones, and so on: sign and exponent, which vary little, then compress.

use crate::error::{IoContext, Result};
use crate::record::plan::Quantity;
use crate::record::schema::Level;
use crate::trace::reader::Run;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use half::f16;
use ndarray::{Array3, Zip};
use std::io::Write;
use std::path::Path;

/// How far a computed tensor may be from the recorded one, over the recorded one's largest value.
const TOLERANCE: f32 = 1e-4;

/// How numbers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    Single,
    Half,
}

impl Precision {
    /// As the page is told.
    pub(super) fn name(self) -> &'static str {
        match self {
            Precision::Single => "f32",
            Precision::Half => "f16",
        }
    }
}

/// The text of a tensor's block.
pub(super) fn pack(values: &Array3<f32>, precision: Precision) -> Result<String> {
    pack_all(values.iter().copied(), precision)
}

/// The text of a block of numbers.
pub(super) fn pack_all(values: impl ExactSizeIterator<Item = f32>, precision: Precision) -> Result<String> {
    deflated(&match precision {
        Precision::Single => shuffled(values.map(f32::to_le_bytes)),
        Precision::Half => shuffled(values.map(|v| f16::from_f32(v).to_le_bytes())),
    })
}

/// Bytes deflated, as base64.
pub(super) fn deflated(bytes: &[u8]) -> Result<String> {
    let mut encoder = DeflateEncoder::new(vec![], Compression::default());
    // Into memory: it cannot fail but for want of it.
    let packed = encoder.write_all(bytes).and_then(|()| encoder.finish()).at("pack", Path::new("tensor"))?;
    Ok(STANDARD.encode(packed))
}

fn shuffled<const N: usize>(values: impl ExactSizeIterator<Item = [u8; N]>) -> Vec<u8> {
    let count = values.len();
    let mut planes = vec![0; N * count];
    for (i, bytes) in values.enumerate() {
        for (plane, byte) in bytes.into_iter().enumerate() {
            planes[plane * count + i] = byte;
        }
    }
    planes
}

/// `uncond + scale · (text − uncond)`.
fn guided(uncond: &Array3<f32>, text: &Array3<f32>, scale: f64) -> Array3<f32> {
    Zip::from(uncond).and(text).map_collect(|u, t| {
        let (u, t) = (f64::from(*u), f64::from(*t));
        (u + scale * (t - u)) as f32
    })
}

/// The clean latents that a prediction implies for the latents that entered, as `docs/run-format.md` has it.
fn predicted_original(entered: &Array3<f32>, prediction: &Array3<f32>, level: &Level, kind: &str) -> Array3<f32> {
    let (signal, noise) = (level.alpha_cumprod.sqrt(), (1.0 - level.alpha_cumprod).sqrt());
    Zip::from(entered).and(prediction).map_collect(|x, p| {
        let (z, p) = (f64::from(*x) / level.latent_scale, f64::from(*p));
        (if kind == "v_prediction" { signal * z - noise * p } else { (z - noise * p) / signal }) as f32
    })
}

/// Whether the page can compute `what` of these steps from the rest: it is computed for some of them and compared with
/// what was recorded.
///
/// # Errors
/// When a step cannot be read.
pub(super) fn follows(run: &Run, what: Quantity, steps: &[usize], batch: usize) -> Result<bool> {
    for step in super::super::words::spread(steps, 4) {
        let Some(recorded) = run.tensor(step, what, batch)? else { return Ok(false) };
        let computed = match what {
            Quantity::NoiseGuided => computed_guided(run, step, batch)?,
            Quantity::PredictedOriginal => computed_original(run, step, batch)?,
            _ => None,
        };
        let near = computed.is_some_and(|computed| are_near(&recorded, &computed));
        if !near {
            return Ok(false);
        }
    }
    Ok(!steps.is_empty())
}

fn are_near(recorded: &Array3<f32>, computed: &Array3<f32>) -> bool {
    let largest = recorded.iter().fold(0f32, |m, v| m.max(v.abs()));
    recorded.dim() == computed.dim()
        && Zip::from(recorded).and(computed).all(|a, b| (a - b).abs() <= TOLERANCE * largest)
}

fn computed_guided(run: &Run, step: usize, batch: usize) -> Result<Option<Array3<f32>>> {
    let pair = (run.tensor(step, Quantity::NoiseUncond, batch)?, run.tensor(step, Quantity::NoiseText, batch)?);
    let (Some(uncond), Some(text)) = pair else { return Ok(None) };
    Ok(Some(guided(&uncond, &text, run.record().plan.guidance_scale)))
}

fn computed_original(run: &Run, step: usize, batch: usize) -> Result<Option<Array3<f32>>> {
    let Some(before) = step.checked_sub(1) else { return Ok(None) };
    let prediction = match computed_guided(run, step, batch)? {
        Some(guided) => Some(guided),
        None => run.tensor(step, Quantity::NoiseGuided, batch)?,
    };
    // A killed run may lack the step before.
    let entered = match run.steps()?.binary_search(&before) {
        Ok(_) => run.tensor(before, Quantity::Latents, batch)?,
        Err(_) => None,
    };
    let (Some(prediction), Some(entered), Some(level)) = (prediction, entered, run.level(before)) else {
        return Ok(None);
    };
    let fits = prediction.dim() == entered.dim() && level.alpha_cumprod > 0.0;
    let kind = &run.record().model.prediction_type;
    Ok(fits.then(|| predicted_original(&entered, &prediction, level, kind)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::io::Read;

    fn unpacked(text: &str) -> Vec<u8> {
        let packed = STANDARD.decode(text).unwrap();
        let mut planes = vec![];
        flate2::read::DeflateDecoder::new(packed.as_slice()).read_to_end(&mut planes).unwrap();
        planes
    }

    #[test]
    fn planes_lie_one_after_another() {
        assert_eq!(shuffled([[1, 2], [3, 4], [5, 6]].into_iter()), [1, 3, 5, 2, 4, 6]);
        let values = Array3::from_shape_vec((1, 1, 3), vec![1.0, -2.5, f32::NAN]).unwrap();
        let planes = unpacked(&pack(&values, Precision::Single).unwrap());
        let whole = |i: usize| f32::from_le_bytes([planes[i], planes[3 + i], planes[6 + i], planes[9 + i]]);
        assert_eq!((whole(0), whole(1)), (1.0, -2.5));
        assert!(whole(2).is_nan());
        let planes = unpacked(&pack(&values, Precision::Half).unwrap());
        assert_eq!(f16::from_le_bytes([planes[1], planes[4]]), f16::from_f32(-2.5));
    }

    #[test]
    fn the_clean_latents_are_what_the_noise_was_added_to() {
        let clean = Array3::from_shape_fn((4, 2, 2), |(c, y, x)| c as f32 - 1.5 + (y + x) as f32 / 8.0);
        let noise = Array3::from_shape_fn((4, 2, 2), |(c, y, x)| ((c + 2 * y + x) % 3) as f32 - 1.0);
        for latent_scale in [1.0, 3.5] {
            let level = Level { timestep: Some(1.0), sigma: 0.0, alpha_cumprod: 0.3, latent_scale };
            let (signal, share) = (0.3f64.sqrt(), 0.7f64.sqrt());
            let noised = Zip::from(&clean)
                .and(&noise)
                .map_collect(|x, e| ((signal * f64::from(*x) + share * f64::from(*e)) * latent_scale) as f32);
            assert!(are_near(&clean, &predicted_original(&noised, &noise, &level, "epsilon")));
            let v = Zip::from(&clean)
                .and(&noise)
                .map_collect(|x, e| (signal * f64::from(*e) - share * f64::from(*x)) as f32);
            assert!(are_near(&clean, &predicted_original(&noised, &v, &level, "v_prediction")));
        }
        assert!(!are_near(&clean, &noise));
    }
}
