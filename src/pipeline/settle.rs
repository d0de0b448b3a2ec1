//! Where each step of an inversion makes its prediction, and how far that was from where the step arrived.
//!
//! Enters: the latents that a step begins with. Leaves: those at which the model is asked. A step of the sampler predicts at
//! the noisier latents, which an inversion does not have yet: plain inversion predicts at those it has, and drifts. Refined,
//! it predicts where it has arrived, and again: a fixed-point iteration of x = (cleaner − told · ε(x)) / kept, whose end is
//! the exact inverse of the sampler's step. Where that comes closer slowly, as from nearly clean latents, the rounds before
//! say where it is going: Anderson's acceleration (Walker and Ni 2011).

use super::clock::Clock;
use super::conditioning::Conditioning;
use super::guidance;
use crate::error::{Error, Result};
use crate::model::unet::UNet;
use crate::record::inversion::InversionPlan;
use crate::scheduler::Scheduler;
use crate::watch::probe::Probe;
use tch::{Device, Kind, Tensor};

/// Finds where each step of an inversion predicts.
#[derive(Debug)]
pub struct Settle {
    rounds: usize,
    /// For each step and round how far it moved the latents, 0-dimensional: the host asks once, at the end.
    moved: Vec<Vec<Tensor>>,
}

/// What a prediction takes.
pub(super) struct Asking<'a> {
    pub(super) unet: &'a UNet,
    pub(super) conditioning: &'a Conditioning,
    pub(super) scheduler: &'a mut dyn Scheduler,
    /// The step and its call.
    pub(super) at: (usize, usize),
    pub(super) timestep: f64,
    pub(super) clock: &'a Clock,
}

impl Settle {
    /// For a plan.
    pub fn new(plan: &InversionPlan) -> Settle {
        Settle { rounds: plan.refine, moved: vec![] }
    }

    /// Where the step that enters with `latents` predicts, `[batch, 4, height/8, width/8]`: at these latents, or as close to
    /// where it arrives as its rounds bring it. Nobody watches the rounds.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub(super) fn place(&mut self, latents: &Tensor, asking: Asking) -> Result<Tensor> {
        self.moved.push(vec![]);
        let mut place = latents.shallow_clone();
        let mut rounds = Rounds::default();
        for _ in 0..self.rounds {
            let output = asking.clock.time("refine", || asking.guided(&place))?;
            let arrived = asking.scheduler.step(&output, asking.at.1, latents, &mut no_noise)?.prev_sample;
            self.note(&arrived, &place);
            place = rounds.next(&place, &arrived)?;
        }
        Ok(place)
    }

    /// Keeps how far a prediction's step arrived from where the prediction was made.
    pub(super) fn note(&mut self, arrived: &Tensor, place: &Tensor) {
        if let Some(step) = self.moved.last_mut() {
            step.push((arrived - place).norm() / arrived.norm());
        }
    }

    /// How far, for each step and each of its predictions.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn residuals(&self) -> Result<Vec<Vec<f64>>> {
        let step = |moved: &Vec<Tensor>| {
            let moved = Tensor::stack(moved, 0).to_device(Device::Cpu).to_kind(Kind::Double);
            Ok(Vec::try_from(&moved)?)
        };
        self.moved.iter().filter(|moved| !moved.is_empty()).map(step).collect()
    }
}

/// The rounds of a step so far, as columns of f64 on the CPU, `[numbers]` each: a few latents, a few rounds.
#[derive(Debug, Default)]
struct Rounds {
    arrived: Vec<Tensor>,
    /// Arrived less where the prediction was made: zero at the end of the way.
    rest: Vec<Tensor>,
}

impl Rounds {
    /// Where to predict next: the combination of all arrivals whose rests, combined alike, are least.
    fn next(&mut self, place: &Tensor, arrived: &Tensor) -> Result<Tensor> {
        let column = |tensor: &Tensor| tensor.to_device(Device::Cpu).to_kind(Kind::Double).flatten(0, -1);
        let (end, rest) = (column(arrived), column(arrived) - column(place));
        self.arrived.push(end.shallow_clone());
        self.rest.push(rest.shallow_clone());
        if self.rest.len() < 2 {
            return Ok(arrived.shallow_clone());
        }
        let changes = |columns: &[Tensor]| {
            let changes: Vec<Tensor> = columns.windows(2).map(|pair| &pair[1] - &pair[0]).collect();
            Tensor::f_stack(&changes, 1)
        };
        let shares = changes(&self.rest)?.f_linalg_pinv(1e-10, false)?.f_mv(&rest)?;
        let next = end - changes(&self.arrived)?.f_mv(&shares)?;
        Ok(next.view_as(arrived).to_kind(arrived.kind()).to_device(arrived.device()))
    }
}

impl Asking<'_> {
    /// The guided prediction at some latents, as the loop makes it.
    fn guided(&self, latents: &Tensor) -> Result<Tensor> {
        let (step, call) = self.at;
        let input = self.scheduler.scale_model_input(latents, call)?;
        let times = self.conditioning.branches().len();
        let input = if times > 1 { Tensor::cat(&vec![&input; times], 0) } else { input };
        let t = Tensor::full([input.size()[0]], self.timestep, (Kind::Float, input.device()));
        let (text, embedded) = (self.conditioning.at(step), self.conditioning.embedded);
        let noise = self.unet.forward_guided(&input, &t, text, embedded, &Probe::silent())?.to_kind(Kind::Float);
        Ok(match self.conditioning.guidance_scale() {
            None => noise,
            Some(scale) => {
                let mut parts = noise.chunk(times as i64, 0);
                let uncond = parts.remove(0);
                let text = self.conditioning.joined(&uncond, &parts);
                guidance::rescaled(guidance::guided(&uncond, &text, scale), &text, self.conditioning.rescale)
            }
        })
    }
}

fn no_noise() -> Result<Tensor> {
    Err(Error::Torch("a step of an inversion draws no noise".into()))
}
