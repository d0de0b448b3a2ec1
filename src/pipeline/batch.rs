//! Several prompts in one forward pass, one picture each.
//!
//! Enters: a plan for what the pictures share, and for each its prompts and its seed. Leaves: pictures, the same as if
//! each had been drawn alone, up to the order in which a batch adds up its numbers.

use super::Pipeline;
use super::clock::Clock;
use super::conditioning::Conditioning;
use super::denoise::Denoise;
use super::guidance;
use super::noise::NoiseStream;
use super::start::{self, Start};
use super::step_reporter::StepReporter;
use crate::error::Result;
use crate::record::plan::Plan;
use crate::scheduler;
use crate::watch::probe::Probe;
use image::RgbImage;
use tch::Tensor;

/// One picture that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureRequest {
    /// What to draw.
    pub prompt: String,
    /// What to stay away from.
    pub negative_prompt: String,
    /// The seed of its noise.
    pub seed: u64,
}

impl Pipeline {
    /// Draws a picture for each request, all in one batch. Prompts, seed, batch size and second pass of the plan are not
    /// used, and the prompts are read plainly.
    ///
    /// # Errors
    /// When the plan cannot be carried out, or a tensor is not finite.
    pub fn draw_each(&self, plan: &Plan, requests: &[PictureRequest]) -> Result<Vec<RgbImage>> {
        let _no_gradients = tch::no_grad_guard();
        let (record, mut scheduler) = self.plan(&Plan { batch_size: requests.len(), hires: None, ..plan.clone() })?;
        let (plan, device, probe) = (&record.plan, self.options.device, Probe::silent());
        let scale = guidance::as_predicted(&record).guidance_scale;
        let guidance_scale = (scale > 1.0).then_some(scale);
        let negative = requests.iter().map(|request| &request.negative_prompt).filter(|_| guidance_scale.is_some());
        let prompts: Vec<&String> = negative.chain(requests.iter().map(|request| &request.prompt)).collect();
        let ids = prompts.iter().map(|prompt| Ok(Tensor::from_slice(&self.tokenizer.encode(prompt)?.ids)));
        let ids = Tensor::stack(&ids.collect::<Result<Vec<_>>>()?, 0).to_device(device);
        let text = self.text_encoder.forward_skipping(&ids, plan.clip_skip, &probe)?;

        let seeds: Vec<u64> = requests.iter().map(|request| request.seed).collect();
        let draws = 1 + scheduler::draws(scheduler.as_ref(), 0);
        let mut noise = NoiseStream::new(&seeds, &self.latent_shape(plan), draws);
        let Start { latents, .. } = start::from_noise(scheduler.as_ref(), &mut noise, device, &probe)?;
        let clock = Clock::new(device);
        let mut reporter = StepReporter::new(&self.vae, &probe, &clock, &record);
        let denoised = Denoise {
            unet: &self.unet,
            scheduler: scheduler.as_mut(),
            conditioning: &Conditioning::unchanging(text, guidance_scale).told_by(&record),
            noise: &mut noise,
            first_call: 0,
            first_step: 0,
            kept: None,
            settle: None,
            past: None,
            donors: &[],
            probe: &probe,
            clock: &clock,
        }
        .run(latents, &mut reporter)?;
        reporter.pictures(&denoised.latents, record.last_step())
    }
}
