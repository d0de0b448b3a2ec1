//! The lower floor: what a run does, step by step, for a loop that is written out. All in owned tensors and without
//! gradients; a loop made of these gives the very picture that [`Model::draw`] gives.

use crate::draw::model::Model;
use crate::draw::tokens::TokenTable;
use crate::error::{Error, Result, caught};
use crate::pipeline::clock::Clock;
use crate::pipeline::guidance;
use crate::pipeline::noise::{self, NoiseStream};
use crate::pipeline::start::{self, Encoder};
use crate::record::plan::Plan;
use crate::scheduler::{self, Scheduler, SchedulerKind};
use crate::show::picture::Picture;
use crate::show::shapes::Shapes;
use crate::trace::shapes::ShapeLog;
use crate::watch::probe::Probe;
use crate::watch::site::Pattern;
use tch::{Kind, Tensor, no_grad};

impl Model {
    /// A prompt as tokens.
    ///
    /// # Errors
    /// When the tokenizer refuses it.
    pub fn tokens(&self, prompt: &str) -> Result<TokenTable> {
        Ok(TokenTable::new(prompt, self.tokenizer.encode(prompt)?))
    }

    /// The embeddings of texts, `[texts, 77, width]`: what the UNet is told. For guidance, the negative or the empty prompt
    /// comes first.
    ///
    /// # Errors
    /// When there is no text.
    pub fn text_embeddings<T: AsRef<str>>(&self, texts: &[T]) -> Result<Tensor> {
        let rows = texts.iter().map(|text| Ok(Tensor::from_slice(&self.tokenizer.encode(text.as_ref())?.ids)));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        caught(|| {
            let ids = Tensor::stack(&rows, 0).to_device(self.device());
            no_grad(|| self.text_encoder.forward(&ids, &Probe::silent()))
        })
    }

    /// The starting noise of a seed at the model's own size, `[1, 4, height/8, width/8]`: what the run begins with, but for
    /// the scheduler's `init_noise_sigma`.
    pub fn noise(&self, seed: u64) -> Tensor {
        self.noises(seed, 1).remove(0)
    }

    /// The first `count` draws of a seed, in a run's order. A run from a picture takes the grain of the encoded picture
    /// first, then its starting noise; a stochastic scheduler takes one more for each step.
    pub fn noises(&self, seed: u64, count: usize) -> Vec<Tensor> {
        let config = self.unet.config();
        let drawn = noise::draw(seed, &[config.in_channels, config.sample_size, config.sample_size], count);
        drawn.into_iter().map(|noise| noise.to_device(self.device())).collect()
    }

    /// A scheduler for so many steps, as the model's configuration has it.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot make so many steps.
    pub fn scheduler(&self, name: &str, steps: usize) -> Result<Box<dyn Scheduler>> {
        scheduler::build(SchedulerKind::parse(name)?, self.scheduler_config(), steps, 0.0)
    }

    /// The names of all schedulers.
    pub fn scheduler_names(&self) -> Vec<&'static str> {
        SchedulerKind::all().map(SchedulerKind::name).collect()
    }

    /// The noise in the latents `[n, 4, height/8, width/8]` at a timestep, as the UNet predicts it from the embeddings `text`,
    /// one for each of the `n`: f32, of the latents' shape and on their device.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn predict_noise(&self, latents: &Tensor, timestep: f64, text: &Tensor) -> Result<Tensor> {
        caught(|| {
            let (batch, ..) = latents.size4()?;
            let (input, text) = (latents.to_device(self.device()), text.to_device(self.device()));
            let t = Tensor::full([batch], timestep, (Kind::Float, self.device()));
            let noise = no_grad(|| self.unet.forward(&input, &t, &text, &Probe::silent()))?;
            Ok(noise.to_kind(Kind::Float).to_device(latents.device()))
        })
    }

    /// A picture as latents, `[1, 4, height/8, width/8]`: a sample of what the encoder says of it, drawn with the seed.
    ///
    /// # Errors
    /// When its sides are no multiples of the autoencoder's factor.
    pub fn encode(&self, picture: &Picture, seed: u64) -> Result<Tensor> {
        let factor = self.model().vae_scale_factor as u32;
        let (width, height) = picture.dimensions();
        if width == 0 || height == 0 || !width.is_multiple_of(factor) || !height.is_multiple_of(factor) {
            let message = format!("a picture of {width}×{height} cannot be encoded: {factor} pixels become one latent");
            return Err(Error::invalid(message, format!("cut it to sides that are multiples of {factor}")));
        }
        caught(|| {
            let shape = [self.vae.config().latent_channels, i64::from(height / factor), i64::from(width / factor)];
            let (mut stream, device) = (NoiseStream::new(&[seed], &shape, 1), self.device());
            let (nobody, clock) = (Probe::silent(), Clock::new(device));
            let encoder = Encoder { vae: &self.vae, device, probe: &nobody, clock: &clock };
            no_grad(|| encoder.encode(&start::to_tensor(picture).to_device(device), 0, &mut stream))
        })
    }

    /// The picture that latents `[1, 4, height/8, width/8]` stand for.
    ///
    /// # Errors
    /// When they have another shape.
    pub fn decode(&self, latents: &Tensor) -> Result<Picture> {
        caught(|| {
            let scaled = latents.to_device(self.device()) / self.vae.config().scaling_factor;
            let image = no_grad(|| self.vae.decode(&scaled, &Probe::silent()))?;
            start::to_picture(&(image.to_kind(Kind::Float) / 2.0 + 0.5).clamp(0.0, 1.0)).map(Picture::from)
        })
    }

    /// The sites whose names fit a pattern, with the shapes that they have in one step at the model's own size: `*` stands
    /// for one part of a name, `**` for any number. What lies inside modules is listed too.
    ///
    /// # Errors
    /// When no name fits.
    pub fn sites(&self, pattern: &str) -> Result<Shapes> {
        let (size, mut log) = (self.native_size(), ShapeLog::of_every_site());
        let plan = Plan { steps: 1, width: size, height: size, scheduler: "ddim".into(), ..Plan::default() };
        caught(|| self.generate(&plan, &Probe::new(vec![&mut log])))?;
        let wanted = Pattern::new(pattern);
        let rows: Vec<_> = log.rows.into_iter().filter(|row| wanted.matches(&row.name)).collect();
        if rows.is_empty() {
            let hint = "`sites(\"**\")` lists them all; `*` is one part of a name, `**` any number";
            return Err(Error::invalid(format!("no site fits `{pattern}`"), hint));
        }
        Ok(Shapes::new(rows))
    }
}

/// The two predictions combined: beyond the one, towards the other (Ho & Salimans 2022). All three have one shape.
///
/// # Errors
/// When the two have different shapes.
pub fn guided(uncond: &Tensor, text: &Tensor, guidance_scale: f64) -> Result<Tensor> {
    let (without, with) = caught(|| Ok((uncond.size(), text.size())))?;
    if without != with {
        let message = format!("the prediction without the prompt has shape {without:?}, the one with it {with:?}");
        return Err(Error::Invalid { message, hint: None });
    }
    caught(|| Ok(guidance::guided(uncond, text, guidance_scale)))
}

/// The noise of a scheduler that takes none, for [`Scheduler::step`].
///
/// # Errors
/// Always: a scheduler that takes noise must be given some.
pub fn no_noise() -> Result<Tensor> {
    Err(Error::invalid("this scheduler takes fresh noise in each step", "give it `|| Ok(noise)`: see `Model::noises`"))
}
