//! One forward pass for several cells: shows each cell's recorder its own part of what the batch shows.
//!
//! Enters: the events of a run whose pictures belong to different cells. Leaves: for each picture the events of a run of
//! its own, so that its record has the shape it has when the picture is made alone.

use crate::error::Result;
use crate::pipeline::init_image::Input;
use crate::record::schema::RunRecord;
use crate::run::{Ending, Place};
use crate::trace::writer::{Recorded, Recorder};
use crate::watch::observer::{Ask, Event, Flow, Observer, Step};
use crate::watch::site::Site;
use tch::Tensor;

/// Shares the events of a batch out among recorders.
#[derive(Debug)]
pub struct Split<'a> {
    /// A record and a recorder for each picture of the batch, in its order.
    cells: Vec<(&'a RunRecord, &'a mut Recorder)>,
    /// Predictions of a step with guidance.
    predictions: usize,
    /// The picture that is being decoded: the batch is decoded one by one.
    decoding: usize,
}

impl<'a> Split<'a> {
    /// For these cells, in the order of the batch.
    pub fn new(cells: Vec<(&'a RunRecord, &'a mut Recorder)>) -> Split<'a> {
        let conditions = cells.first().and_then(|(record, _)| record.conditions.as_ref());
        let predictions = 1 + conditions.map_or(1, |conditions| conditions.prompt.len());
        Split { cells, predictions, decoding: 0 }
    }

    fn tensor(&mut self, site: Site, tensor: &Tensor) -> Result<Flow> {
        let batch = self.cells.len();
        // The picture that the cells begin from is encoded once for all of them.
        let encoding = site.name.starts_with("vae.encoder.") || site.name == "vae.quant_conv";
        let decoding = site.name.starts_with("vae.") && site.name != "vae.latents" && !encoding;
        let one_by_one = site.name == "image" || decoding;
        if one_by_one {
            let flow = match self.cells.get_mut(self.decoding) {
                Some((_, recorder)) => show(recorder, site, tensor)?,
                None => Flow::Continue,
            };
            if site.name == "image" {
                self.decoding = (self.decoding + 1) % batch;
            }
            return Ok(flow);
        }
        let mut flow = Flow::Continue;
        for (index, (_, recorder)) in self.cells.iter_mut().enumerate() {
            // The prompts are encoded once for all of them.
            let prompts = ["tokens", "token_weights", "weighted_embeddings"].contains(&site.name);
            let shared = prompts || encoding || site.name.starts_with("text_encoder.");
            let own = if shared { tensor.shallow_clone() } else { part(tensor, index, batch, self.predictions) };
            if show(recorder, site, &own)? == Flow::Stop {
                flow = Flow::Stop;
            }
        }
        Ok(flow)
    }

    fn step(&mut self, step: &Step) -> Result<Flow> {
        let batch = self.cells.len();
        let mut flow = Flow::Continue;
        for (index, (_, recorder)) in self.cells.iter_mut().enumerate() {
            let own = Step {
                index: step.index,
                last: step.last,
                timestep: step.timestep,
                level: step.level,
                tensors: step
                    .tensors
                    .iter()
                    .map(|(what, t)| (*what, part(t, index, batch, self.predictions)))
                    .collect(),
                pictures: step
                    .pictures
                    .iter()
                    .map(|(what, p)| (*what, p.get(index).cloned().into_iter().collect()))
                    .collect(),
            };
            if recorder.on_event(&Event::Step(&own))? == Flow::Stop {
                flow = Flow::Stop;
            }
        }
        Ok(flow)
    }
}

/// A recorder looks at what it is shown only if it asked for it.
fn show(recorder: &mut Recorder, site: Site, tensor: &Tensor) -> Result<Flow> {
    if recorder.wants(Ask::Site(site.name, site.step)) {
        recorder.on_event(&Event::Tensor(site, tensor))
    } else {
        Ok(Flow::Continue)
    }
}

/// Picture `index`'s part of a tensor: of `[batch, …]` one row, of `[2·batch, …]`, first all without and then all with the
/// prompt, two rows; one more for each further part that `AND` joins to the prompt.
fn part(tensor: &Tensor, index: usize, batch: usize, predictions: usize) -> Tensor {
    let (index, batch, predictions) = (index as i64, batch as i64, predictions as i64);
    match tensor.size().first() {
        Some(&rows) if rows == predictions * batch => {
            let rows: Vec<Tensor> = (0..predictions).map(|p| tensor.narrow(0, p * batch + index, 1)).collect();
            Tensor::cat(&rows, 0)
        }
        Some(&rows) if rows == batch => tensor.narrow(0, index, 1),
        _ => tensor.shallow_clone(),
    }
}

impl Place for Split<'_> {
    fn keep_input(&mut self, input: &Input) -> Result<()> {
        self.cells.iter_mut().try_for_each(|(_, recorder)| recorder.keep_input(input))
    }

    /// Each picture's share of the time that all of them took.
    fn finish(&mut self, ending: &Ending) -> Result<Recorded> {
        let (share, mut timings) = (1.0 / self.cells.len() as f64, ending.timings.clone());
        timings.total_seconds *= share;
        timings.stages.iter_mut().for_each(|stage| stage.seconds *= share);
        let mut kept = Recorded { last_step: None, finished: 0 };
        for (_, recorder) in &mut self.cells {
            let failure = ending.failure.clone();
            kept = Place::finish(*recorder, &Ending { failure, timings: &timings, ..*ending })?;
        }
        Ok(kept)
    }
}

impl Observer for Split<'_> {
    fn wants(&self, ask: Ask) -> bool {
        self.cells.iter().any(|(_, recorder)| recorder.wants(ask))
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        match event {
            Event::Tensor(site, tensor) => self.tensor(*site, tensor),
            Event::Step(step) => self.step(step),
            Event::Begin(_) => {
                let mut flow = Flow::Continue;
                for (record, recorder) in &mut self.cells {
                    if recorder.on_event(&Event::Begin(record))? == Flow::Stop {
                        flow = Flow::Stop;
                    }
                }
                Ok(flow)
            }
            Event::Finished(pictures) => {
                for (index, (_, recorder)) in self.cells.iter_mut().enumerate() {
                    let own = pictures.get(index..=index).unwrap_or_default();
                    recorder.on_event(&Event::Finished(own))?;
                }
                Ok(Flow::Continue)
            }
        }
    }
}
