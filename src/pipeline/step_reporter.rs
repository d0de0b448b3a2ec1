//! Tells the observers of each step: copies and decodes what somebody wants, and nothing else.

use super::clock::Clock;
use super::preview::Preview;
use super::sentinel;
use super::start::to_picture;
use crate::error::Result;
use crate::model::vae::Vae;
use crate::record::plan::Quantity;
use crate::record::schema::RunRecord;
use crate::watch::observer::{Ask, Event, Flow, Step};
use crate::watch::probe::Probe;
use crate::watch::site::{Axes, Rows};
use image::RgbImage;
use tch::{Kind, Tensor};

/// Whoever the loop reports to.
pub struct StepReporter<'a, 'p> {
    vae: &'a Vae,
    /// What decodes the steps' pictures in its place.
    preview: Option<&'a Preview>,
    probe: &'a Probe<'p>,
    clock: &'a Clock,
    record: &'a RunRecord,
    /// The last step of a pass and its pictures, so that what goes on or is finished is not decoded twice.
    finished: Option<(usize, Vec<RgbImage>)>,
}

impl<'a, 'p> StepReporter<'a, 'p> {
    /// For a run with this record.
    pub fn new(vae: &'a Vae, probe: &'a Probe<'p>, clock: &'a Clock, record: &'a RunRecord) -> StepReporter<'a, 'p> {
        StepReporter { vae, preview: None, probe, clock, record, finished: None }
    }

    /// The same, with the pictures of the steps by a preview decoder, where there is one.
    pub fn previewing(self, preview: Option<&'a Preview>) -> StepReporter<'a, 'p> {
        StepReporter { preview, ..self }
    }

    /// Whether no step comes after this one.
    pub fn is_last(&self, index: usize) -> bool {
        index == self.record.last_step()
    }

    /// Decodes the latents of a step before it is told of, so that nobody decodes them again.
    ///
    /// # Errors
    /// As [`StepReporter::tell`].
    pub fn decode_ahead(&mut self, latents: &Tensor, index: usize) -> Result<&[RgbImage]> {
        let decoded = self.decode(latents, index)?;
        Ok(&self.finished.insert((index, decoded)).1)
    }

    /// Tells of step `index`, with the quantities that were computed in it.
    ///
    /// # Errors
    /// When a picture cannot be decoded, or an observer fails.
    pub fn tell(&mut self, index: usize, timestep: Option<f64>, quantities: &[(Quantity, &Tensor)]) -> Result<Flow> {
        self.tell_with(index, timestep, quantities, |_, _| Ok(None))
    }

    /// The same for a step of which `known` may have the pictures: those it has are not decoded.
    ///
    /// # Errors
    /// As [`StepReporter::tell`]; those of `known`.
    pub fn tell_with(
        &mut self,
        index: usize,
        timestep: Option<f64>,
        quantities: &[(Quantity, &Tensor)],
        known: impl Fn(&RunRecord, Quantity) -> Result<Option<Vec<RgbImage>>>,
    ) -> Result<Flow> {
        let (last, level) = (self.record.last_step(), self.record.schedule[index]);
        let ends_pass = self.record.ends_pass(index);
        let wanted = quantities.iter().filter(|(what, _)| self.probe.wants(Ask::Quantity(*what, index)));
        let tensors = wanted.map(|(what, tensor)| (*what, tensor.shallow_clone())).collect();
        let mut pictures = vec![];
        for (what, tensor) in quantities {
            if !self.probe.wants(Ask::Picture { what: *what, step: index, last: ends_pass }) {
                continue;
            }
            // The predicted original has the variance of clean latents whatever the scheduler's convention, and so has what
            // a pass ends with: it is decoded as it is, though a last sigma above 0 is left in it.
            let scale = if *what == Quantity::Latents && !ends_pass { level.latent_scale } else { 1.0 };
            let ahead = self.finished.take_if(|(step, _)| *step == index && *what == Quantity::Latents);
            let decoded = match known(self.record, *what)?.or(ahead.map(|(_, pictures)| pictures)) {
                Some(pictures) => pictures,
                None => match self.preview.filter(|_| self.record.previewed(index, *what).is_some()) {
                    Some(preview) => self.sketch(preview, &(*tensor / scale))?,
                    None => self.decode(&(*tensor / scale), index)?,
                },
            };
            if ends_pass && *what == Quantity::Latents {
                self.finished = Some((index, decoded.clone()));
            }
            pictures.push((*what, decoded));
        }
        let step = Step { index, last, timestep, level, tensors, pictures };
        let started = std::time::Instant::now();
        let flow = self.probe.tell(&Event::Step(&step));
        self.clock.book("observers", started.elapsed().as_secs_f64());
        flow
    }

    /// The pictures of the clean latents with which a pass ends at `step`: as decoded when it was told of, else decoded
    /// now.
    ///
    /// # Errors
    /// As [`StepReporter::tell`].
    pub fn pictures(&mut self, latents: &Tensor, step: usize) -> Result<Vec<RgbImage>> {
        match self.finished.take() {
            Some((told, pictures)) if told == step => Ok(pictures),
            _ => self.decode(latents, step),
        }
    }

    /// Latents `[batch, 4, h, w]` to pictures by a preview decoder. What arises in it is not shown to those who watch.
    fn sketch(&self, preview: &Preview, latents: &Tensor) -> Result<Vec<RgbImage>> {
        let each = latents.split(1, 0);
        each.iter().map(|one| self.clock.time("preview", || preview.decode(one))).collect()
    }

    /// Latents `[batch, 4, h, w]` to pictures, one by one: a picture does not depend on its batch, and memory stays that
    /// of one.
    fn decode(&self, latents: &Tensor, step: usize) -> Result<Vec<RgbImage>> {
        let scaled = latents / self.vae.config().scaling_factor;
        self.probe.see("vae.latents", Axes::Image, &scaled)?;
        let decode = |(index, one): (usize, &Tensor)| {
            self.probe.set_rows(Rows::one(index as i64));
            let image = self.clock.time("decode", || self.vae.decode(one, self.probe))?;
            if !sentinel::is_finite(&image) {
                return Err(sentinel::first_bad_site(step, self.probe, |probe| self.vae.decode(one, probe)));
            }
            let image = (image.to_kind(Kind::Float) / 2.0 + 0.5).clamp(0.0, 1.0);
            self.probe.see("image", Axes::Image, &image)?;
            to_picture(&image)
        };
        let pictures = scaled.split(1, 0).iter().enumerate().map(decode).collect();
        self.probe.set_rows(Rows::plain(latents.size()[0]));
        pictures
    }
}
