//! Donors: recorded runs that run beside a run as further rows of its batch, so that edits can copy what they have inside.
//!
//! Enters: recorded runs of the same size, with the run's noise levels. Leaves: at the steps where something is copied, a
//! row for each donor and picture: the donor's recorded latents of that noise level, told the donor's prompt. What the model
//! predicts for them is thrown away. No activation is kept: a donor costs a row per step, and no memory between steps.

use super::conditioning::{Conditioning, TextRequest};
use super::load::Pipeline;
use crate::edit::copy::Lender;
use crate::error::{Error, Result};
use crate::record::inversion::RunKind;
use crate::record::model::EmbeddingRecord;
use crate::record::plan::Quantity;
use crate::record::schema::{Level, RunRecord};
use crate::scheduler::Scheduler;
use crate::watch::probe::Probe;
use crate::watch::recorded::Recorded;
use crate::watch::site::{Branch, Rows};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tch::{Device, Tensor};

/// A run that lends what it has.
#[derive(Debug)]
pub struct Donor {
    record: RunRecord,
    lender: Lender,
    /// The steps at which it has rows.
    rows: BTreeSet<usize>,
}

/// For each step of one schedule the step of another with the same noise level: that of the same number where there is one,
/// else the first.
fn same_levels(ours: &[Level], theirs: &[Level]) -> BTreeMap<usize, usize> {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1e-6);
    let same = |a: &Level, b: &Level| near(a.sigma, b.sigma) && near(a.latent_scale, b.latent_scale);
    let of = |(step, level): (usize, &Level)| {
        let here = theirs.get(step).filter(|other| same(level, other)).map(|_| step);
        Some((step, here.or_else(|| theirs.iter().position(|other| same(level, other)))?))
    };
    ours.iter().enumerate().filter_map(of).collect()
}

/// Whether a donor's rows fit beside a run's.
fn check_fit(ours: &RunRecord, theirs: &RunRecord, name: &str) -> Result<()> {
    let size = |record: &RunRecord| {
        let second = record.hires.as_ref().map(|second| (second.width, second.height));
        (record.plan.width, record.plan.height, second)
    };
    let refused = |what: String, hint: &str| Err(Error::invalid(format!("the donor `{name}` {what}"), hint));
    if size(ours) != size(theirs) {
        let (width, height, _) = size(theirs);
        return refused(
            format!("has {width}×{height} pixels, this run {}×{}", ours.plan.width, ours.plan.height),
            "both need the same `--width`, `--height` and `--hires`",
        );
    }
    let (batch, donors) = (ours.plan.batch_size, theirs.plan.batch_size);
    if donors != 1 && donors != batch {
        return refused(
            format!("has {donors} pictures, this run {batch}"),
            "a donor has one picture, or as many as the run: `--batch-size`",
        );
    }
    if ours.model.prediction_type != theirs.model.prediction_type
        || ours.model.latent_channels != theirs.model.latent_channels
    {
        return refused(
            format!("was made with a model of another kind (`{}`)", theirs.model.id),
            "take a run of a model with the same prediction type and latents",
        );
    }
    let (own, prompt) = (&ours.model.embeddings, &theirs.plan.prompt);
    let lacks = |word: &&EmbeddingRecord| {
        prompt.contains(&word.name) && !own.iter().any(|own| (&own.name, &own.sha256) == (&word.name, &word.sha256))
    };
    if let Some(word) = theirs.model.embeddings.iter().find(lacks) {
        return refused(
            format!("has the embedding `{}` in its prompt, which this run's model does not have", word.name),
            &format!("name it: `--embedding {}={}`", word.name, word.file),
        );
    }
    if theirs.conditions.as_ref().is_some_and(|conditions| conditions.prompt.len() > 1) {
        return refused("has a prompt of several parts".into(), "take a run whose prompt has no `AND`");
    }
    Ok(())
}

impl Donor {
    /// A run with this record, for a run with the record `ours`, with rows at the steps `asked`, or at every one.
    ///
    /// # Errors
    /// When its size or its noise levels are others, or its latents were not recorded.
    pub(super) fn new(
        run: Arc<dyn Recorded>,
        record: RunRecord,
        ours: &RunRecord,
        asked: Option<&BTreeSet<usize>>,
    ) -> Result<Donor> {
        check_fit(ours, &record, &run.name())?;
        let calls = (1..=ours.last_step()).filter(|step| ours.schedule[step - 1].timestep.is_some());
        let rows = calls.filter(|step| asked.is_none_or(|asked| asked.contains(step))).collect();
        let ascends = record.kind == RunKind::Inversion;
        let lender = Lender { steps: same_levels(&ours.schedule, &record.schedule), ascends, run };
        let donor = Donor { record, lender, rows };
        donor.check_recorded(ours)?;
        Ok(donor)
    }

    /// The run, for edits that copy what it recorded.
    pub(super) fn lender(&self) -> &Lender {
        &self.lender
    }

    /// Refuses a donor that lacks the latents of a step at which it has rows.
    fn check_recorded(&self, ours: &RunRecord) -> Result<()> {
        let name = self.lender.run.name();
        for step in &self.rows {
            let Some(from) = self.lender.steps.get(&(step - 1)) else {
                let sigma = ours.schedule[step - 1].sigma;
                return Err(Error::invalid(
                    format!("the donor `{name}` has no step with the noise level of step {step} (σ {sigma:.4})"),
                    "make it with the same `--scheduler`, `--steps` and `--strength`, or copy at other steps",
                ));
            };
            if !matches!(self.lender.run.shape(*from, Quantity::Latents.key()), Ok(Some(_))) {
                return Err(Error::NotRecorded {
                    message: format!("the donor `{name}` does not have the latents of step {from}"),
                    hint:
                        "record them: `--record latents` when it is made; a run that was cut short lends the steps it \
                           has: `steps=`"
                            .into(),
                });
            }
        }
        Ok(())
    }

    /// Refuses a donor that lacks what is copied as it was recorded.
    pub(super) fn check_quantity(&self, what: Quantity, steps: &BTreeSet<usize>) -> Result<()> {
        let has = |step: &usize| matches!(self.lender.run.shape(*step, what.key()), Ok(Some(_)));
        let recorded = self.record.plan.record.contains(&what);
        let made = steps.iter().any(|step| *step > 0 && has(step));
        if recorded && made {
            return Ok(());
        }
        Err(Error::NotRecorded {
            message: format!("the donor `{}` does not have `{what}` of its steps", self.lender.run.name()),
            hint: format!("record it: `--record latents,{what}` when it is made"),
        })
    }
}

/// A donor that is ready to run beside a run.
#[derive(Debug)]
pub struct Beside {
    donor: Donor,
    text: Conditioning,
}

impl Pipeline {
    /// Makes donors ready: encodes their prompts, for a batch of so many pictures.
    ///
    /// # Errors
    /// When the tokenizer refuses a prompt.
    pub(super) fn beside(&self, donors: Vec<Donor>, batch: usize) -> Result<Vec<Beside>> {
        let one = |donor: Donor| {
            let (request, probe) = (TextRequest::of(&donor.record, &self.tokenizer)?, Probe::silent());
            let texts = request.encode(&self.text_encoder, self.device(), &probe)?;
            let text = request.arrange(&texts, batch, &probe)?;
            Ok(Beside { donor, text })
        };
        donors.into_iter().map(one).collect()
    }
}

/// What goes into the model at a step.
pub struct Input {
    /// Scaled latents, `[branches·batch, 4, height/8, width/8]`.
    pub latents: Tensor,
    /// Embeddings, `[branches·batch, tokens, width]`.
    pub text: Tensor,
    /// Whose the rows are.
    pub rows: Rows,
}

/// Puts the rows of the donors that lend something at a step behind a run's own.
///
/// # Errors
/// When a donor's latents cannot be read, or its prompt fills another number of windows.
pub fn put_beside(
    donors: &[Beside],
    own: Input,
    scheduler: &dyn Scheduler,
    (step, call): (usize, usize),
) -> Result<Input> {
    let (mut latents, mut texts, mut rows) = (vec![own.latents], vec![own.text], own.rows);
    for (index, Beside { donor, text }) in donors.iter().enumerate().filter(|(_, d)| d.donor.rows.contains(&step)) {
        let (device, batch) = (latents[0].device(), rows.batch);
        let row = donor.latents(step, device)?;
        let mut size = row.size();
        size[0] = batch;
        latents.push(scheduler.scale_model_input(&row.expand(&size, false), call)?);
        let told = text.at(step);
        let first = text.branches().iter().position(|branch| *branch == Branch::Text(0)).unwrap_or_default() as i64;
        let told = told.narrow(0, first * batch, batch);
        if told.size()[1..] != texts[0].size()[1..] {
            return Err(Error::invalid(
                format!("the prompt of the donor `{}` fills another number of windows", donor.lender.run.name()),
                "both prompts need as many chunks of 75 tokens",
            ));
        }
        texts.push(told);
        rows.branches.push(Branch::Donor(index));
    }
    if latents.len() == 1 {
        return Ok(Input { latents: latents.remove(0), text: texts.remove(0), rows });
    }
    Ok(Input { latents: Tensor::cat(&latents, 0), text: Tensor::cat(&texts, 0), rows })
}

impl Donor {
    /// The latents that entered the call of the run's step, `[1 or batch, 4, height/8, width/8]`.
    fn latents(&self, step: usize, device: Device) -> Result<Tensor> {
        let from = self.lender.steps.get(&(step - 1)).copied().unwrap_or(step - 1);
        let latents = self.lender.run.tensor(from, Quantity::Latents.key())?;
        let latents = latents.ok_or_else(|| Error::NotRecorded {
            message: format!("the donor `{}` does not have the latents of step {from}", self.lender.run.name()),
            hint: "record them: `--record latents` when it is made".into(),
        })?;
        Ok(latents.to_device(device))
    }
}
