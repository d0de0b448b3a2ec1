//! What a sweep will cost, before it is made: model calls, seconds, bytes.
//!
//! Enters: cells, and the speed of this machine, read from cells that are done or taken from one timed pass. Leaves:
//! estimates that say where their speed comes from.

use super::plan::Cell;
use super::runner::Loaded;
use super::store::Store;
use crate::error::Result;
use crate::record::plan::{Decode, Plan};
use crate::record::schema::{RunRecord, Status};
use crate::trace::reader::Run;
use crate::watch::probe::Probe;
use std::time::Instant;
use tch::{Kind, Tensor};

/// How fast this machine is.
#[derive(Debug, Clone, PartialEq)]
pub struct Speed {
    /// Seconds per model call, pixel and prediction.
    call: f64,
    /// Seconds per decoded pixel.
    decode: f64,
    /// Seconds per model call for everything else: scheduler, recording.
    rest: f64,
    /// Where these numbers come from, in words.
    pub source: String,
}

/// What some cells will take.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Cells.
    pub cells: usize,
    /// Calls of the model.
    pub calls: usize,
    /// Predictions, of which a call with guidance makes two or more.
    pub predictions: usize,
    /// Seconds.
    pub seconds: f64,
    /// Bytes on disk.
    pub bytes: f64,
}

/// Adds up the cost of cells.
pub fn cost(cells: &[&Cell], speed: &Speed, latent_channels: usize, factor: usize) -> Cost {
    let mut cost = Cost { cells: cells.len(), ..Cost::default() };
    for cell in cells {
        let predictions = cell.calls * cell.predictions();
        cost.calls += cell.calls;
        cost.predictions += predictions;
        cost.seconds += pixels(&cell.plan) * (speed.call * predictions as f64 + speed.decode * pictures(cell) as f64)
            + speed.rest * cell.calls as f64;
        cost.bytes += bytes(cell, latent_channels, factor);
    }
    cost
}

fn pixels(plan: &Plan) -> f64 {
    (plan.width * plan.height) as f64
}

/// Pictures that are decoded for a cell.
fn pictures(cell: &Cell) -> usize {
    let plan = &cell.plan;
    match plan.decode {
        Decode::Nothing => 0,
        decode => {
            let steps = (0..=cell.calls).filter(|step| decode.includes(*step, *step == cell.calls)).count();
            steps * plan.decode_what.len()
        }
    }
}

/// Tensors as they are, pictures at a usual two bytes a pixel (the finished one twice), and the record.
fn bytes(cell: &Cell, latent_channels: usize, factor: usize) -> f64 {
    let latents = (latent_channels * (cell.plan.width / factor) * (cell.plan.height / factor) * 4) as f64;
    let tensors = (cell.calls * cell.plan.record.len() + 1) as f64 * latents;
    tensors + (pictures(cell) + 1) as f64 * pixels(&cell.plan) * 2.0 + cell.calls as f64 * 400.0 + 40e3
}

/// The speed that the finished ones of these cells recorded; `None` if there are none.
pub fn recorded(store: &Store, cells: &[Cell]) -> Option<Speed> {
    let (mut calls, mut decodes, mut rest, mut found) = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), 0);
    for cell in cells {
        let Ok(run) = Run::open(store.cell(&cell.id)) else { continue };
        let record = run.record();
        let Some(unet) = seconds(record, "unet").filter(|_| record.status == Status::Complete) else { continue };
        let decode = seconds(record, "decode").unwrap_or(0.0);
        calls.0 += unet;
        calls.1 += pixels(&cell.plan) * (cell.calls * cell.predictions()) as f64;
        decodes.0 += decode;
        decodes.1 += pixels(&cell.plan) * pictures(cell) as f64;
        rest.0 += (record.timings.total_seconds - unet - decode).max(0.0);
        rest.1 += cell.calls as f64;
        found += 1;
    }
    let rate = |(sum, units): (f64, f64)| if units > 0.0 { sum / units } else { 0.0 };
    let plural = if found == 1 { "" } else { "s" };
    let source = format!("the timings of {found} finished cell{plural} of this sweep");
    (found > 0).then(|| Speed { call: rate(calls), decode: rate(decodes), rest: rate(rest), source })
}

fn seconds(record: &RunRecord, stage: &str) -> Option<f64> {
    record.timings.stages.iter().find(|s| s.name == stage).map(|s| s.seconds)
}

/// The speed of one model call and one decoding at the size of `cell`, timed now.
///
/// # Errors
/// libtorch's.
pub fn timed(loaded: &Loaded, cell: &Cell) -> Result<Speed> {
    let _no_gradients = tch::no_grad_guard();
    let pipeline = &loaded.pipeline;
    let (factor, channels) = (pipeline.model().vae_scale_factor, pipeline.unet.config().in_channels);
    let like =
        pipeline.text_encoder.forward(&Tensor::zeros([2, 77], (Kind::Int64, loaded.device())), &Probe::silent())?;
    let size = [1, channels, (cell.plan.height / factor) as i64, (cell.plan.width / factor) as i64];
    let latents = Tensor::zeros(size, (Kind::Float, loaded.device()));
    let input = Tensor::cat(&[&latents, &latents], 0);
    let timestep = Tensor::full([2], 500.0, (Kind::Float, loaded.device()));
    // A GPU has only queued the work when a call returns: one number read back waits for it.
    let time = |work: &dyn Fn() -> Result<Tensor>| -> Result<f64> {
        let started = Instant::now();
        work()?.sum(Kind::Float).double_value(&[]);
        Ok(started.elapsed().as_secs_f64())
    };
    let call = || pipeline.unet.forward(&input, &timestep, &like, &Probe::silent());
    let decode = || pipeline.vae.decode(&latents, &Probe::silent());
    // The first call also maps weights and chooses kernels; where calls are quick, that would be most of it.
    let quick = |first: f64, again: &dyn Fn() -> Result<Tensor>| if first < 2.0 { time(again) } else { Ok(first) };
    let call = quick(time(&call)?, &call)?;
    let decode = match cell.plan.decode {
        Decode::Nothing => 0.0,
        _ => quick(time(&decode)?, &decode)?,
    };
    let source = format!("one call of the model timed now at {}×{}", cell.plan.width, cell.plan.height);
    Ok(Speed { call: call / 2.0 / pixels(&cell.plan), decode: decode / pixels(&cell.plan), rest: 0.0, source })
}
