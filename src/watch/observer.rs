//! Watching a run: what an observer is asked and what it is shown. It is asked before anything is copied or computed for
//! it, so a run that nobody watches costs nothing extra.

use crate::error::Result;
use crate::record::plan::Quantity;
use crate::record::schema::{Level, RunRecord};
use crate::watch::site::{Branch, Grid, Site};
use image::RgbImage;
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

    /// Of attention scores and probabilities, which are formed only for whoever looks: whether it wants this branch's
    /// rows of a site that it wants.
    fn wants_branch(&self, _branch: Branch) -> bool {
        true
    }

    /// Of attention scores and probabilities that it wants: the queries that are enough for it, where it does not want those
    /// of all places. Each then comes by itself.
    fn wants_queries(&self, _site: &str, _step: usize, _grid: Grid) -> Option<Vec<i64>> {
        None
    }

    /// Shows it an event. It may see more than it asked for when another observer did.
    ///
    /// # Errors
    /// An error ends the run.
    fn on_event(&mut self, event: &Event) -> Result<Flow>;
}
