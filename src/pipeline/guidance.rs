//! Guidance: two predictions combined, the result brought back to its deviation, and models that are told the scale.
//!
//! Enters: predictions `[batch, 4, height/8, width/8]`, a record. Leaves: tensors of the same shape, and what a run with a
//! distilled model asks for instead of a second prediction.

use crate::record::model::ModelRecord;
use crate::record::plan::Plan;
use crate::record::schema::RunRecord;
use std::borrow::Cow;
use tch::Tensor;

/// The two predictions combined: beyond the one, towards the other (Ho & Salimans 2022). All three have one shape.
pub fn guided(uncond: &Tensor, text: &Tensor, guidance_scale: f64) -> Tensor {
    uncond + guidance_scale * (text - uncond)
}

/// The guided prediction with the deviation of the one with the prompt, mixed with what it was by `share`: guidance makes
/// pictures too bright and too dark, and the more the less signal is left (Lin et al. 2023, arXiv 2305.08891, section 3.4;
/// diffusers' `rescale_noise_cfg`). 0 gives the guided prediction itself.
pub fn rescaled(guided: Tensor, text: &Tensor, share: f64) -> Tensor {
    if share == 0.0 {
        return guided;
    }
    let deviation = |x: &Tensor| x.std_dim([1i64, 2, 3].as_slice(), true, true);
    let factor = deviation(text) / deviation(&guided);
    share * (&guided * factor) + (1.0 - share) * guided
}

/// The guidance scale that a distilled model is told, in place of a prediction with the negative prompt; none for others.
pub fn embedded(model: &ModelRecord, plan: &Plan) -> Option<f64> {
    model.time_cond_proj_dim.map(|_| plan.guidance_scale)
}

/// The plan of a run as its predictions have it: with a distilled model there is none with the negative prompt, whatever the
/// scale.
pub fn as_predicted(record: &RunRecord) -> Cow<'_, Plan> {
    match embedded(&record.model, &record.plan) {
        Some(_) => Cow::Owned(Plan { guidance_scale: 1.0, ..record.plan.clone() }),
        None => Cow::Borrowed(&record.plan),
    }
}
