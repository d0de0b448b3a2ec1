//! A scheduler whose tensors are looked at first. The algorithms compute as their papers do; what does not fit is refused
//! here, once for all of them, and what libtorch refuses beyond that is an error like others.

use super::{Noise, NoiseLevel, Scheduler, StepOutput};
use crate::error::{Error, Result, caught};
use tch::Tensor;

/// Any scheduler, checked.
pub(super) struct Checked(pub(super) Box<dyn Scheduler>);

impl Scheduler for Checked {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn timesteps(&self) -> &[f64] {
        self.0.timesteps()
    }

    fn init_noise_sigma(&self) -> f64 {
        self.0.init_noise_sigma()
    }

    fn order(&self) -> usize {
        self.0.order()
    }

    fn draws(&self, call: usize) -> bool {
        self.0.draws(call)
    }

    fn remembers(&self, call: usize) -> bool {
        self.0.remembers(call)
    }

    fn level(&self, call: usize) -> NoiseLevel {
        self.0.level(call)
    }

    fn scale_model_input(&self, sample: &Tensor, call: usize) -> Result<Tensor> {
        caught(|| self.0.scale_model_input(sample, call))
    }

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, noise: &mut Noise) -> Result<StepOutput> {
        if call >= self.timesteps().len() {
            let message = format!("there is no model call {call}: the run has {}", self.timesteps().len());
            return Err(Error::Invalid { message, hint: None });
        }
        same_shape("the model's output", model_output, sample)?;
        let shape = sample.size();
        let mut noise = || {
            let drawn = noise()?;
            if drawn.size() != shape {
                return Err(unlike("the step's noise", &drawn.size(), &shape));
            }
            Ok(drawn)
        };
        caught(|| self.0.step(model_output, call, sample, &mut noise))
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        same_shape("the noise", noise, original)?;
        caught(|| self.0.add_noise(original, noise, call))
    }
}

/// Refuses a tensor of another shape than the latents: libtorch would broadcast it where it can.
fn same_shape(what: &str, tensor: &Tensor, latents: &Tensor) -> Result<()> {
    let (found, expected) = (caught(|| Ok(tensor.size()))?, caught(|| Ok(latents.size()))?);
    if found == expected { Ok(()) } else { Err(unlike(what, &found, &expected)) }
}

fn unlike(what: &str, found: &[i64], latents: &[i64]) -> Error {
    Error::Invalid { message: format!("{what} has shape {found:?}, the latents have {latents:?}"), hint: None }
}
