//! Watching a run: what an observer is asked, what it is shown, and the probe that modules hold their tensors up to.
//!
//! Enters: tensors under their site names, steps with the quantities somebody wants. Leaves: events. An observer is
//! asked before anything is copied or computed for it, so a run that nobody watches costs nothing extra.

use super::schema::{Level, Quantity, RunRecord};
use crate::error::{Error, Result};
use image::RgbImage;
use std::cell::RefCell;
use tch::Tensor;

/// Whether the run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop after this step; what was recorded stays.
    Stop,
}

/// What an observer is asked about before it is computed or copied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ask<'a> {
    /// The tensor of a step.
    Quantity(Quantity, usize),
    /// The decoded picture of a step's latents or predicted original. `last` says whether the step is the last
    /// of its pass.
    Picture {
        /// What is decoded.
        what: Quantity,
        /// The step.
        step: usize,
        /// Whether it is the last step of its pass.
        last: bool,
    },
    /// The tensor at a site, by its name, during a step (0: before the first).
    Site(&'a str, usize),
}

/// What the dimensions of a tensor mean, so that its shape can be written in symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// `[batch, channels, height, width]`.
    Image,
    /// The same, of one of the tiles in which the autoencoder decodes.
    Tile,
    /// `[batch, height·width, channels]`: an image's places in a row, for attention.
    Places,
    /// `[prompts, tokens, …]`: the negative prompt and the prompt, once whatever the batch.
    Prompts,
    /// `[batch, tokens, …]`, or any other shape that does not depend on the picture's size.
    Text,
    /// `[batch, heads, queries, keys]`: attention probabilities.
    Attention,
}

/// Where a tensor arises.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Its name: the component and the diffusers key path, `unet.mid_block.attentions.0`.
    pub name: &'a str,
    /// What its dimensions mean.
    pub axes: Axes,
    /// The step during which it arises (0: before the first).
    pub step: usize,
}

/// One step, as far as somebody wanted it.
#[derive(Debug)]
pub struct Step {
    /// Its number: 0 for the starting latents, `k` after the k-th model call.
    pub index: usize,
    /// The number of the last step.
    pub last: usize,
    /// The timestep the model was called with; none at step 0.
    pub timestep: Option<f64>,
    /// The noise level of the latents now.
    pub level: Level,
    /// The tensors, `[batch, 4, height/8, width/8]`, on the pipeline's device in its dtype.
    pub tensors: Vec<(Quantity, Tensor)>,
    /// The decoded pictures, one per batch item.
    pub pictures: Vec<(Quantity, Vec<RgbImage>)>,
}

impl Step {
    /// The tensor of a quantity, if it is here.
    pub fn tensor(&self, what: Quantity) -> Option<&Tensor> {
        self.tensors.iter().find(|(q, _)| *q == what).map(|(_, t)| t)
    }

    /// The pictures decoded of a quantity, if they are here.
    pub fn pictures(&self, what: Quantity) -> Option<&[RgbImage]> {
        self.pictures.iter().find(|(q, _)| *q == what).map(|(_, p)| p.as_slice())
    }
}

/// What observers are shown.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run begins: its record, with tokens and schedule. Comes once, before everything else.
    Begin(&'a RunRecord),
    /// A tensor at a site the observer wants.
    Tensor(Site<'a>, &'a Tensor),
    /// A step is done.
    Step(&'a Step),
    /// The finished pictures, one per batch item; empty when nothing is decoded.
    Finished(&'a [RgbImage]),
}

/// Somebody who watches a run. The recorder, the progress bar and the shape log are observers; a program's own
/// observer needs no more than these two functions.
pub trait Observer {
    /// Whether it wants what is asked about. Asked before anything is copied or computed.
    fn wants(&self, ask: Ask) -> bool;

    /// Shows it an event. It may see more than it asked for when another observer did.
    ///
    /// # Errors
    /// An error ends the run.
    fn on_event(&mut self, event: &Event) -> Result<Flow>;
}

/// All observers of a run, held up to by the pipeline and by every module.
pub struct Probe<'a> {
    observers: RefCell<Vec<&'a mut dyn Observer>>,
    step: std::cell::Cell<usize>,
}

impl<'a> Probe<'a> {
    /// A probe for these observers.
    pub fn new(observers: Vec<&'a mut dyn Observer>) -> Probe<'a> {
        Probe { observers: RefCell::new(observers), step: 0.into() }
    }

    /// A probe that nobody looks through.
    pub fn silent() -> Probe<'static> {
        Probe::new(vec![])
    }

    /// The step that is going on; sites are reported with it.
    pub fn set_step(&self, step: usize) {
        self.step.set(step);
    }

    /// Whether anybody wants this.
    pub fn wants(&self, ask: Ask) -> bool {
        self.observers.borrow().iter().any(|o| o.wants(ask))
    }

    /// Whether anybody wants the tensor at this site now.
    pub fn wants_site(&self, name: &str) -> bool {
        self.wants(Ask::Site(name, self.step.get()))
    }

    /// Shows the tensor at a site to those who want it.
    ///
    /// # Errors
    /// An observer's; [`Error::Cancelled`] if one says `Stop`.
    pub fn see(&self, name: &str, axes: Axes, tensor: &Tensor) -> Result<()> {
        let step = self.step.get();
        for observer in self.observers.borrow_mut().iter_mut() {
            if observer.wants(Ask::Site(name, step)) {
                // Stopping in the middle of a step: what this step computed so far is lost, earlier steps stay.
                if observer.on_event(&Event::Tensor(Site { name, axes, step }, tensor))? == Flow::Stop {
                    return Err(Error::Cancelled);
                }
            }
        }
        Ok(())
    }

    /// Shows an event to everybody; `Stop` if anybody says so.
    ///
    /// # Errors
    /// An observer's.
    pub fn tell(&self, event: &Event) -> Result<Flow> {
        let mut flow = Flow::Continue;
        for observer in self.observers.borrow_mut().iter_mut() {
            if observer.on_event(event)? == Flow::Stop {
                flow = Flow::Stop;
            }
        }
        Ok(flow)
    }
}
