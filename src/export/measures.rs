//! Numbers about a run, step by step: norms, angles, changes, distances.
//!
//! Enters: a run and which picture of its batch. Leaves: curves, `(step, value)` for each step that has what it takes.
//! Norms are Euclidean, over all channels and places of one picture, summed in f64. Steps are read one by one, so that
//! memory does not grow with their number.

use crate::error::{Error, Result};
use crate::record::plan::Quantity;
use crate::record::schema::Status;
use crate::trace::reader::Run;
pub use crate::viz::distance::root_mean_square;
use ndarray::{Array3, ArrayView3, Zip};

/// `(step, value)`, steps ascending. Step 0 is what the loop begins with, step `k` the k-th model call.
pub type Curve = Vec<(usize, f64)>;

/// Euclidean norm: the root of the sum of squares.
pub fn norm(values: ArrayView3<f32>) -> f64 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// Euclidean norm of `a − b`, which have one shape.
pub fn distance_between(a: &Array3<f32>, b: &Array3<f32>) -> f64 {
    Zip::from(a).and(b).fold(0.0, |sum, a, b| sum + (f64::from(*a) - f64::from(*b)).powi(2)).sqrt()
}

/// The angle between two tensors as vectors, in degrees; `None` where one of them is zero.
pub fn angle(a: &Array3<f32>, b: &Array3<f32>) -> Option<f64> {
    let lengths = norm(a.view()) * norm(b.view());
    let dot = Zip::from(a).and(b).fold(0.0, |sum, a, b| sum + f64::from(*a) * f64::from(*b));
    (lengths > 0.0).then(|| (dot / lengths).clamp(-1.0, 1.0).acos().to_degrees())
}

/// Norm of a quantity at each step.
///
/// # Errors
/// [`Error::NotRecorded`]; when a step cannot be read.
pub fn norms(run: &Run, what: Quantity, batch: usize) -> Result<Curve> {
    let mut curve = vec![];
    each_step(run, &[what], batch, |step, tensors| curve.push((step, norm(tensors[0].view()))))?;
    Ok(curve)
}

/// Norm of the latents as the model sees them: divided by the schedule's `latent_scale`. `None` where that is 1
/// throughout, so that it would be the same curve as [`norms`] gives.
///
/// # Errors
/// As [`norms`].
pub fn scaled_latent_norms(run: &Run, batch: usize) -> Result<Option<Curve>> {
    if run.record().schedule.iter().all(|level| level.latent_scale == 1.0) {
        return Ok(None);
    }
    let curve = norms(run, Quantity::Latents, batch)?;
    Ok(Some(curve.into_iter().map(|(step, value)| (step, value / latent_scale(run, step))).collect()))
}

/// What guidance does, with u = noise_uncond, t = noise_text and s the guidance scale; the sum s·(t − u) + u is what the
/// scheduler is given (Ho and Salimans 2022).
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct Guidance {
    /// ‖t − u‖, what the prompt changes in the prediction.
    pub difference: Curve,
    /// The angle between u and t, degrees.
    pub angle: Curve,
    /// ‖s·(t − u)‖ / ‖u + s·(t − u)‖, the length of guidance's part beside the whole prediction. Above 1 where the two
    /// parts work against each other.
    pub share: Curve,
}

/// Guidance at each step.
///
/// # Errors
/// [`Error::NotRecorded`], also when the run had no guidance; when a step cannot be read.
pub fn guidance(run: &Run, batch: usize) -> Result<Guidance> {
    let scale = run.record().plan.guidance_scale;
    if scale <= 1.0 {
        return Err(Error::NotRecorded {
            message: format!("`{}` has no guidance: its guidance scale is {scale}", run.name().display()),
            hint: "trace again with `--guidance-scale 7.5 --record noise_uncond,noise_text`".into(),
        });
    }
    let mut guidance = Guidance::default();
    each_step(run, &[Quantity::NoiseUncond, Quantity::NoiseText], batch, |step, tensors| {
        let [uncond, text] = tensors else { return };
        let difference = distance_between(text, uncond);
        guidance.difference.push((step, difference));
        guidance.angle.extend(angle(uncond, text).map(|angle| (step, angle)));
        let whole = Zip::from(uncond).and(text).fold(0.0, |sum, u, t| {
            let (u, t) = (f64::from(*u), f64::from(*t));
            sum + (u + scale * (t - u)).powi(2)
        });
        if whole > 0.0 {
            guidance.share.push((step, scale * difference / whole.sqrt()));
        }
    })?;
    Ok(guidance)
}

/// How far the predicted picture moves from one step to the next: ‖x₀(k) − x₀(k−1)‖ / ‖x₀(k)‖.
///
/// # Errors
/// As [`norms`]; [`Error::NotRecorded`] too while there is only one step.
pub fn change(run: &Run, batch: usize) -> Result<Curve> {
    let (mut curve, mut before): (Curve, Option<(usize, Array3<f32>)>) = (vec![], None);
    each_step(run, &[Quantity::PredictedOriginal], batch, |step, tensors| {
        let now = &tensors[0];
        // Only neighbours are compared: a step that is missing leaves a gap rather than a jump.
        if let Some((last, before)) = &before
            && last + 1 == step
            && before.dim() == now.dim()
        {
            curve.push((step, distance_between(now, before) / norm(now.view()).max(f64::MIN_POSITIVE)));
        }
        before = Some((step, now.clone()));
    })?;
    if curve.is_empty() {
        return Err(Error::NotRecorded {
            message: format!("`{}` holds x0 of only one step: there is no change to show", run.name().display()),
            hint: "a change takes two steps that follow each other".into(),
        });
    }
    Ok(curve)
}

/// Distances to where the run arrived.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct Distance {
    /// The step that everything is compared with: the last on disk that holds the latents (else x₀).
    pub to: usize,
    /// Root mean square of x − x(to), both divided by the schedule's `latent_scale`. Empty if latents were not recorded.
    pub latents: Curve,
    /// Root mean square of x₀ − x(to). Empty if x₀ was not recorded.
    pub predicted: Curve,
}

/// Distance of the latents and of the predicted original to the finished latents.
///
/// # Errors
/// As [`norms`], when neither was recorded.
pub fn distance(run: &Run, batch: usize) -> Result<Distance> {
    let mut end: Option<(Quantity, usize, Array3<f32>)> = None;
    for step in run.steps()?.into_iter().rev() {
        for what in [Quantity::Latents, Quantity::PredictedOriginal] {
            if end.is_none() {
                end = run.tensor(step, what, batch)?.map(|t| (what, step, t));
            }
        }
        if end.is_some() {
            break;
        }
    }
    let Some((what, to, mut end)) = end else {
        return Err(not_recorded(run, &[Quantity::Latents, Quantity::PredictedOriginal]));
    };
    if what == Quantity::Latents {
        end /= latent_scale(run, to) as f32;
    }
    let root_mean = 1.0 / (end.len() as f64).sqrt();
    let mut distance = Distance { to, ..Distance::default() };
    for (what, curve) in
        [(Quantity::Latents, &mut distance.latents), (Quantity::PredictedOriginal, &mut distance.predicted)]
    {
        let result = each_step(run, &[what], batch, |step, tensors| {
            let scale = if what == Quantity::Latents { latent_scale(run, step) as f32 } else { 1.0 };
            let scaled = &tensors[0] / scale;
            // A first pass of another size has no distance to the end of the second.
            if scaled.dim() == end.dim() {
                curve.push((step, distance_between(&scaled, &end) * root_mean));
            }
        });
        match result {
            Ok(()) | Err(Error::NotRecorded { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(distance)
}

/// Root mean square difference, in grey levels 0..=255, between the decoded pictures of each step and the finished
/// picture; while there is none, the last that was decoded of the latents (else of x₀). Empty if nothing was decoded.
///
/// # Errors
/// When a picture cannot be read.
pub fn picture_distance(run: &Run, what: Quantity, batch: usize) -> Result<Curve> {
    let mut end = run.final_picture(batch)?;
    for of in [Quantity::Latents, Quantity::PredictedOriginal] {
        if let (None, Some(step)) = (&end, run.pictured_steps(of, batch)?.last()) {
            end = run.picture(*step, of, batch)?;
        }
    }
    let Some(end) = end else { return Ok(vec![]) };
    let steps = run.pictured_steps(what, batch)?;
    let mut curve = vec![];
    for step in &steps {
        if let Some(picture) = run.picture(*step, what, batch)?.filter(|p| p.dimensions() == end.dimensions()) {
            curve.push((*step, root_mean_square(&picture, &end)));
        }
    }
    Ok(curve)
}

/// Calls `f` with the tensors of each step that has all of `what`, `[channels, height/8, width/8]` each.
fn each_step(run: &Run, what: &[Quantity], batch: usize, mut f: impl FnMut(usize, &[Array3<f32>])) -> Result<()> {
    let mut found = false;
    for step in run.steps()? {
        let mut tensors = vec![];
        for quantity in what {
            tensors.extend(run.tensor(step, *quantity, batch)?);
        }
        if tensors.len() == what.len() {
            found = true;
            f(step, &tensors);
        }
    }
    if found { Ok(()) } else { Err(not_recorded(run, what)) }
}

/// Says that no step on disk has `what`, and how to get it.
pub fn not_recorded(run: &Run, what: &[Quantity]) -> Error {
    let (record, dir) = (run.record(), run.name().display());
    let names: Vec<&str> = what.iter().map(|q| q.key()).collect();
    let asked_for = what.iter().all(|q| record.plan.record.contains(q));
    let (message, hint) = match record.status {
        Status::Running if asked_for => (
            format!("`{dir}` holds no {} yet", names.join(" and ")),
            "wait for the run's next step; if it was killed, trace again".to_string(),
        ),
        _ => (
            format!("`{dir}` did not record {}", names.join(" and ")),
            format!("trace again with `--record {}` (or `--record all`)", names.join(",")),
        ),
    };
    Error::NotRecorded { message, hint }
}

/// What the latents of a step are divided by to have the variance that the model sees.
pub fn latent_scale(run: &Run, step: usize) -> f64 {
    run.level(step).map(|level| level.latent_scale).filter(|scale| *scale > 0.0).unwrap_or(1.0)
}
