//! The way back of an inversion: what a run makes of its noise when nothing else is asked for.

use super::Outcome;
use super::load::Pipeline;
use super::shared::Shared;
use crate::error::Result;
use crate::record::plan::{Decode, Parent, Plan};
use crate::record::schema::RunRecord;
use crate::watch::probe::Probe;
use tch::{Device, Tensor};

impl Pipeline {
    /// The way back of an inversion: from its noise `[1, 4, height/8, width/8]`, the same prompt and guidance scale 1, decoded
    /// at its end. Whoever is behind `probe` can stop it.
    ///
    /// # Errors
    /// As [`Pipeline::generate`].
    pub fn way_back(&self, inverted: &RunRecord, noise: &Tensor, probe: &Probe) -> Result<Outcome> {
        let parent = Parent { step: inverted.last_step(), ..Parent::default() };
        let plan = Plan {
            inversion: None,
            init_image: None,
            resize: None,
            attention: None,
            start: Some(Box::new(parent)),
            guidance_scale: 1.0,
            record: vec![],
            decode: Decode::Final,
            decode_what: vec![],
            ..inverted.plan.clone()
        };
        let resolved = self.resolve(&plan)?.starting(noise.to_device(Device::Cpu))?;
        self.generate_resolved(resolved, None, &Shared::nothing(), None, probe)
    }
}
