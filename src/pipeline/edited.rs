//! Edits and a loaded model: the sites that it has, and what the edits of a plan are told before a run.

use super::conditioning::TextRequest;
use super::load::Pipeline;
use crate::edit::edits::Edits;
use crate::edit::resolve::resolve;
use crate::edit::site::KnownSite;
use crate::error::{Error, Result};
use crate::record::plan::{Decode, Plan};
use crate::record::schema::RunRecord;
use crate::watch::editor::Editor;
use crate::watch::probe::Probe;
use crate::watch::site::{Axes, Site};
use tch::{Kind, Tensor};

impl Pipeline {
    /// The sites where a run with this model can be changed, in the order of computation, as one step at a small size
    /// meets them. Asked for the first time it makes that step.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn sites(&self) -> Result<&[KnownSite]> {
        if self.sites.get().is_none() {
            // Another thread may have been faster: then its list, which is the same, stays.
            let _ = self.sites.set(self.rehearse()?);
        }
        Ok(self.sites.get().map_or(&[], Vec::as_slice))
    }

    /// One step at the smallest size that every halving divides, and one picture encoded.
    fn rehearse(&self) -> Result<Vec<KnownSite>> {
        let _no_gradients = tch::no_grad_guard();
        let halvings = self.unet.config().block_out_channels.len() - 1;
        let (latents, factor) = (1i64 << halvings, self.model.vae_scale_factor);
        let side = factor << halvings;
        let plan = Plan {
            steps: 1,
            width: side,
            height: side,
            guidance_scale: 7.5,
            scheduler: "ddim".into(),
            decode: Decode::Final,
            ..Plan::default()
        };
        let mut list = List { latents, sites: vec![] };
        let probe = Probe::new(vec![]).with_editors(vec![&mut list]);
        self.generate(&plan, &probe)?;
        let side = side as i64;
        let picture = Tensor::zeros([1, 3, side, side], (Kind::Float, self.device()));
        if self.vae.encodes() {
            self.vae.encode(&picture, &probe)?;
        }
        drop(probe);
        let second = list.sites.iter().find(|site| site.name == "starting_latents").cloned();
        list.sites.extend(second.map(|site| KnownSite { name: "hires.starting_latents".into(), ..site }));
        Ok(list.sites)
    }

    /// What the edits of a record's plan come to; none where it has none.
    ///
    /// # Errors
    /// When one of them cannot apply.
    pub(super) fn edits(&self, record: &RunRecord) -> Result<Option<Edits>> {
        if record.plan.edits.is_empty() {
            return Ok(None);
        }
        let edits = resolve(record, self.sites()?, &self.tokenizer)?;
        // What cannot be encoded is to be known before the run.
        edits.prompts().iter().try_for_each(|(_, text)| TextRequest::alone(record, text, &self.tokenizer).map(drop))?;
        Ok(Some(edits))
    }

    /// Encodes the prompts that edits put in the place of the run's.
    ///
    /// # Errors
    /// When the tokenizer refuses one.
    pub fn tell_prompts(&self, edits: &mut Edits, record: &RunRecord) -> Result<()> {
        let _no_gradients = tch::no_grad_guard();
        for (index, text) in edits.prompts() {
            let request = TextRequest::alone(record, &text, &self.tokenizer)?;
            edits.tell(index, request.encode(&self.text_encoder, self.device(), &Probe::silent())?);
        }
        Ok(())
    }
}

/// Keeps a line for each site that editors are asked about.
struct List {
    /// Side of the latents.
    latents: i64,
    sites: Vec<KnownSite>,
}

impl Editor for List {
    fn wants(&self, _: &str, _: usize) -> bool {
        true
    }

    fn edit(&mut self, site: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
        if self.sites.iter().any(|known| known.name == site.name) {
            return Ok(None);
        }
        let height = site.grid.map(|(height, _)| height).filter(|_| !site.name.starts_with("vae."));
        let factor = match (height, site.axes) {
            (Some(height), _) if height > 0 => Some(self.latents / height),
            // What an attention looks at is as large as the attention, whose queries came before.
            (None, Axes::Text) => self.factor_of_queries(site.name),
            _ => None,
        };
        self.sites.push(KnownSite {
            name: site.name.into(),
            axes: site.axes,
            shape: tensor.size(),
            factor,
            of_predictions: !site.rows.branches.is_empty(),
        });
        Ok(None)
    }
}

impl List {
    fn factor_of_queries(&self, name: &str) -> Option<i64> {
        let (module, _) = name.rsplit_once('.')?;
        // The block that it is in has been met: `….in` comes first.
        let (block, _) = module.rsplit_once('.')?;
        self.sites.iter().find(|site| site.name == format!("{block}.in")).and_then(|site| site.factor)
    }
}

/// Refuses a plan with edits where nobody carries them out.
///
/// # Errors
/// When it has some.
pub(super) fn check_carried(record: &RunRecord, probe: &Probe) -> Result<()> {
    match record.plan.edits.first() {
        Some(edit) if !probe.has_editors() => Err(Error::invalid(
            format!("nobody carries out the edit `{}`", edit.edit),
            "a run that changes tensors is made with `run::carry_out`",
        )),
        _ => Ok(()),
    }
}
