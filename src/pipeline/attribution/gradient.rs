//! The gradient of one prediction with respect to what the model is told: how much of a score each token carries.
//!
//! Enters: one picture's latents at a step, an area. Leaves: ‖∂s/∂e ⊙ e‖ of each place of the text (gradient times input),
//! s being how far the prompt moves the prediction there: Σ |ε(e) - ε(uncond)|². ε(uncond) is a constant.

use super::{Gradient, Look, dtype};
use crate::edit::armed::Cells;
use crate::error::{Error, Result};
use crate::model::config::UNetConfig;
use crate::pipeline::{Pipeline, limits};
use crate::record::schema::RunRecord;
use crate::units;
use tch::{Device, Kind, Tensor};

/// Numbers that a ResNet block and a transformer block keep for the way back, in images of their width.
const KEPT: (f64, f64) = (8.0, 30.0);

/// Refuses what no gradient can be taken of.
pub(super) fn check(pipeline: &Pipeline, record: &RunRecord, area: Option<[f64; 4]>) -> Result<()> {
    if pipeline.options.kind != Kind::Float {
        return Err(Error::invalid(
            format!("gradients in {} overflow", dtype(pipeline)),
            "compute in f32: `--dtype f32`, or leave `gradient` out of `--attribute`",
        ));
    }
    let (plan, factor) = (&record.plan, pipeline.model.vae_scale_factor);
    let largest = record.hires.as_ref().map_or((plan.width, plan.height), |second| (second.width, second.height));
    let smallest = ((plan.height / factor) as i64, (plan.width / factor) as i64);
    if area.is_some_and(|area| !Cells::Rectangle(area).cells(smallest).contains(&true)) {
        let message =
            format!("the area holds no place of the latents, of which there are {}×{}", smallest.1, smallest.0);
        return Err(Error::invalid(message, "make it larger: `--area`"));
    }
    let places = (largest.0 / factor * (largest.1 / factor)) as f64;
    let needed = gradient_bytes(pipeline.unet.config(), places);
    // A device of its own says so itself.
    let memory = limits::memory().filter(|_| pipeline.options.device == Device::Cpu);
    match memory.map(|bytes| bytes as f64) {
        Some(memory) if needed > memory => Err(Error::invalid(
            format!(
                "a gradient at {}×{} takes about {} of memory, and there are {} here",
                largest.0,
                largest.1,
                units::size(needed),
                units::size(memory)
            ),
            "ask for a smaller picture, or leave `gradient` out of `--attribute`",
        )),
        _ => Ok(()),
    }
}

/// About how many bytes one prediction keeps for the way back, of latents with so many places: what its layers read, in
/// f32. Attention is fused and keeps no scores.
pub fn gradient_bytes(unet: &UNetConfig, places: f64) -> f64 {
    let attends = |kinds: &[String], level: usize| kinds.get(level).is_some_and(|kind| kind.starts_with("CrossAttn"));
    let levels = unet.block_out_channels.len();
    let mut numbers = 0.0;
    for (level, channels) in unet.block_out_channels.iter().enumerate() {
        let image = *channels as f64 * places / 4f64.powi(level as i32);
        let depth = unet.transformer_layers_per_block.at(level) as f64;
        let layer = |attends: bool| KEPT.0 + if attends { KEPT.1 * depth } else { 0.0 };
        let down = unet.layers_per_block as f64 * layer(attends(&unet.down_block_types, level));
        // On the way up a ResNet block reads its own width and what was left on the way down.
        let up = (unet.layers_per_block + 1) as f64 * (layer(attends(&unet.up_block_types, levels - 1 - level)) + 2.0);
        let middle = if level + 1 == levels { 2.0 * KEPT.0 + KEPT.1 * depth } else { 0.0 };
        numbers += image * (down + up + middle);
    }
    4.0 * numbers
}

impl Look<'_> {
    /// The gradient of one picture's prediction, `[1, 4, h, w]` its latents.
    pub(super) fn gradient(&self, sample: &Tensor, area: Option<[f64; 4]>) -> Result<Gradient> {
        let (_, _, height, width) = sample.size4()?;
        let uncond = self.predict(sample, &[&self.told.uncond])?;
        tch::with_grad(|| {
            let told = self.told.embedding.detach().to_kind(Kind::Float).copy().set_requires_grad(true);
            let mut away = self.predict(sample, &[&told])? - &uncond;
            if let Some(area) = area {
                let cells = Cells::Rectangle(area).cells((height, width));
                let cells = Tensor::from_slice(&cells).to_device(away.device());
                away *= cells.view([1, 1, height, width]);
            }
            let score = away.square().sum(Kind::Float);
            let gradients = Tensor::f_run_backward(&[&score], &[&told], false, false)?;
            let gradient = gradients.first().ok_or_else(|| Error::Broken("no gradient came back".into()))?;
            let each = (gradient * &told).square().sum_dim_intlist(-1, false, Kind::Float).sqrt();
            Ok(Gradient { tokens: each.detach(), score: score.detach().view(1) })
        })
    }
}
