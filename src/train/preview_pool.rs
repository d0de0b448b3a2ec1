//! What a preview decoder learns from: latents of all kinds that a run decodes, and what the model's own decoder makes of
//! them.
//!
//! Enters: a model, captioned pictures. Leaves: for each picture three pairs of latents and picture: the picture encoded;
//! noised to a level of a run's; and what the model predicts from that, with guidance, as it does half-way. The same seed
//! gives the same pairs.

use super::data::Data;
use crate::error::Result;
use crate::eval::reconstruct::as_input;
use crate::pipeline::Pipeline;
use crate::scheduler::{self, Scheduler, SchedulerKind};
use crate::watch::probe::Probe;
use tch::{Device, Kind, Tensor};

/// Steps of the run whose levels the pictures are noised to.
const STEPS: usize = 20;
/// Pictures that are noised to one level, and decoded at once.
const AT_ONCE: i64 = 4;
/// What stands in a row of the pool, in this order.
pub const KINDS: [&str; 3] = ["clean", "noised", "predicted"];

/// Pairs of latents and picture.
#[derive(Debug)]
pub struct Pool {
    /// `[pairs, channels, h, w]`, as the UNet has them, f32 on the CPU. The kinds of [`KINDS`] take turns.
    pub latents: Tensor,
    /// `[pairs, 3, height, width]`, bytes on the CPU.
    pub pictures: Tensor,
}

impl Pool {
    /// Of `count` pictures from `first` on. `done` hears of every few.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn of(
        pipeline: &Pipeline,
        data: &Data,
        (first, count): (i64, i64),
        seed: i64,
        done: impl Fn(u64),
    ) -> Result<Pool> {
        let _no_gradients = tch::no_grad_guard();
        let (unet, factor) = (pipeline.unet.config(), pipeline.model().scaling_factor);
        let mut scheduler = scheduler::build(SchedulerKind::Ddim, pipeline.scheduler_config(), STEPS, 0.0)?;
        tch::manual_seed(seed);
        let (mut latents, mut pictures) = (vec![], vec![]);
        for begin in (first..first + count).step_by(AT_ONCE as usize) {
            let many = AT_ONCE.min(first + count - begin);
            let bytes = data.pictures.narrow(0, begin, many);
            let posterior = pipeline.vae.encode(&as_input(&bytes, pipeline.device()), &Probe::silent())?;
            let drawn = |like: &Tensor| Tensor::randn(like.size(), (Kind::Float, Device::Cpu)).to_device(like.device());
            let clean = posterior.sample(&drawn(&posterior.mean)).to_kind(Kind::Float) * factor;
            let call = i64::try_from(Tensor::randint(STEPS as i64, [1], (Kind::Int64, Device::Cpu)))? as usize;
            let noised = scheduler.add_noise(&clean, &drawn(&clean), call)?;
            let captions = &data.captions[begin as usize..(begin + many) as usize];
            let predicted = predict(pipeline, scheduler.as_mut(), call, &noised, captions)?;
            // One after the other of each picture, so that a part of the pool has all kinds.
            let all = Tensor::stack(&[&clean, &noised, &predicted], 1).flatten(0, 1);
            debug_assert_eq!(all.size()[1], unet.in_channels);
            let image = pipeline.vae.decode(&(&all / factor), &Probe::silent())?.to_kind(Kind::Float);
            let unit: Tensor = (image / 2.0 + 0.5).clamp(0.0, 1.0);
            pictures.push((unit * 255.0).round().to_kind(Kind::Uint8).to_device(Device::Cpu));
            latents.push(all.to_device(Device::Cpu));
            done(many as u64);
        }
        Ok(Pool { latents: Tensor::cat(&latents, 0), pictures: Tensor::cat(&pictures, 0) })
    }

    /// How many pairs there are.
    pub fn len(&self) -> i64 {
        self.latents.size()[0]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pairs of these places: latents, and pictures in −1..1, on a device.
    pub fn pairs(&self, places: &Tensor, device: Device) -> (Tensor, Tensor) {
        let pictures = self.pictures.index_select(0, places).to_device(device).to_kind(Kind::Float) / 127.5 - 1.0;
        (self.latents.index_select(0, places).to_device(device), pictures)
    }
}

/// The clean latents that the model predicts from noised ones, with the guidance that it draws with.
fn predict(
    pipeline: &Pipeline,
    scheduler: &mut dyn Scheduler,
    call: usize,
    noised: &Tensor,
    captions: &[String],
) -> Result<Tensor> {
    let (probe, device, count) = (Probe::silent(), noised.device(), captions.len() as i64);
    let unprompted = String::new();
    let prompts = captions.iter().map(|_| &unprompted).chain(captions);
    let ids = prompts.map(|prompt| Ok(Tensor::from_slice(&pipeline.tokenizer.encode(prompt)?.ids)));
    let ids = Tensor::stack(&ids.collect::<Result<Vec<_>>>()?, 0).to_device(device);
    let text = pipeline.text_encoder.forward_skipping(&ids, 1, &probe)?;
    let input = scheduler.scale_model_input(noised, call)?;
    let timestep = Tensor::full([2 * count], scheduler.timesteps()[call], (Kind::Float, device));
    let output = pipeline.unet.forward(&Tensor::cat(&[&input, &input], 0), &timestep, &text, &probe)?;
    let halves = output.to_kind(Kind::Float).chunk(2, 0);
    let guided = &halves[0] + pipeline.guidance_scale() * (&halves[1] - &halves[0]);
    let nothing = &mut || Ok(noised.zeros_like());
    Ok(scheduler.step(&guided, call, noised, nothing)?.pred_original)
}
