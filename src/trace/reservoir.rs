//! The reservoir: a run's steps kept in memory, for programs and notebooks that look at them at once. It keeps every step
//! it was asked for; nothing is sampled or dropped.

use crate::error::Result;
use crate::record::plan::{Decode, Quantity};
use crate::record::schema::RunRecord;
use crate::watch::observer::{Ask, Event, Flow, Observer};
use image::RgbImage;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// Keeps what it is shown.
#[derive(Debug)]
pub struct Reservoir {
    /// What is kept of each step.
    pub record: Vec<Quantity>,
    /// Which steps are decoded.
    pub decode: Decode,
    /// The latents of each step, `[batch, 4, height/8, width/8]`, f32 on the CPU; the first are the starting latents.
    pub latents_reservoir: Vec<Tensor>,
    /// The decoded pictures of each step that was decoded: the step's number, and a picture per batch item.
    pub image_reservoir: Vec<(usize, Vec<RgbImage>)>,
    /// Everything else that was asked for, by quantity: the step's number and the tensor.
    pub quantities: BTreeMap<Quantity, Vec<(usize, Tensor)>>,
    /// The finished pictures.
    pub images: Vec<RgbImage>,
    /// The run's record, once it has begun.
    pub run: Option<RunRecord>,
}

impl Reservoir {
    /// Keeps these quantities of each step, and decodes these steps.
    pub fn new(record: &[Quantity], decode: Decode) -> Reservoir {
        Reservoir {
            record: record.to_vec(),
            decode,
            latents_reservoir: vec![],
            image_reservoir: vec![],
            quantities: BTreeMap::new(),
            images: vec![],
            run: None,
        }
    }
}

impl Default for Reservoir {
    /// The latents of each step, every one decoded.
    fn default() -> Self {
        Reservoir::new(&[Quantity::Latents], Decode::Every(1))
    }
}

impl Observer for Reservoir {
    fn wants(&self, ask: Ask) -> bool {
        match ask {
            Ask::Quantity(what, _) => self.record.contains(&what),
            Ask::Picture { what, step, last } => what == Quantity::Latents && self.decode.includes(step, last),
            Ask::Site(..) => false,
        }
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        match event {
            Event::Begin(record) => self.run = Some((*record).clone()),
            Event::Step(step) => {
                for (what, tensor) in step.tensors.iter().filter(|(what, _)| self.record.contains(what)) {
                    let copy = tensor.to_device(Device::Cpu).to_kind(Kind::Float).copy();
                    match what {
                        Quantity::Latents => self.latents_reservoir.push(copy),
                        _ => self.quantities.entry(*what).or_default().push((step.index, copy)),
                    }
                }
                if let Some(pictures) = step.pictures(Quantity::Latents) {
                    self.image_reservoir.push((step.index, pictures.to_vec()));
                }
            }
            Event::Finished(images) => self.images = images.to_vec(),
            Event::Tensor(..) => {}
        }
        Ok(Flow::Continue)
    }
}
