//! Carrying out a plan: from a loaded model, a plan and a place to a finished record. Whoever makes a run, be it the
//! command, a sweep or a program, takes this way.
//!
//! Enters: a [`Job`], a place that keeps the record (a run directory, several of them for the pictures of one batch, or
//! memory), and who else watches or changes the run. Leaves: the record, finished with status, hashes and timings whatever
//! happened, and word of how it ended. libtorch's refusals, which arrive as panics, leave as errors.

pub mod branch;
pub mod donor;
pub mod extras;
mod place;
pub mod start;

use crate::edit::edits::Edits;
use crate::error::{Error, Result, caught};
use crate::model::fingerprint::Fingerprints;
use crate::model::resolve::ModelChoice;
use crate::pipeline::init_image::Input;
use crate::pipeline::shared::Shared;
use crate::pipeline::{Outcome, Pipeline, Resolved};
use crate::record::answers::OnStepRecord;
use crate::record::plan::Decode;
use crate::record::schema::{RunRecord, Stage, Status, Timings};
use crate::trace::on_step::OnStep;
use crate::trace::progress::Interrupt;
use crate::trace::writer::Recorded;
use crate::viz::distance::psnr;
use crate::watch::editor::Editor;
use crate::watch::observer::Observer;
use crate::watch::probe::Probe;
pub use place::{Ending, Place};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What is to be made.
pub struct Job<'a> {
    /// With which model.
    pub pipeline: &'a Pipeline,
    /// What was asked for, as it is carried out with that model.
    pub resolved: Resolved,
    /// The seed of each picture of the batch; the plan's, and those that follow it, where none are given.
    pub seeds: Option<Vec<u64>>,
    /// The picture that it begins from, if the plan has a strength.
    pub input: Option<&'a Input>,
    /// What earlier runs have left for this one, and this one leaves for later ones.
    pub shared: Option<&'a Shared>,
    /// Where the weights' hashes come from.
    pub hashes: Hashes<'a>,
    /// When it began: the loading of its model may belong to it.
    pub started: Instant,
    /// The stages that lie behind it by now.
    pub before: Vec<Stage>,
}

/// Where the weights' hashes come from.
#[derive(Debug, Clone, Copy)]
pub enum Hashes<'a> {
    /// They are computed beside the run.
    Of(&'a ModelChoice),
    /// They are known.
    Known(&'a [String]),
}

impl<'a> Job<'a> {
    /// A run of its own, beginning now.
    pub fn new(pipeline: &'a Pipeline, resolved: Resolved, hashes: Hashes<'a>) -> Job<'a> {
        let (started, before) = (Instant::now(), vec![]);
        Job { pipeline, resolved, seeds: None, input: None, shared: None, hashes, started, before }
    }
}

/// Who else takes part in a run.
#[derive(Default)]
pub struct Company<'a> {
    /// Who changes it.
    pub editors: Vec<&'a mut dyn Editor>,
    /// Who watches it, after the place has what it is to keep.
    pub observers: Vec<&'a mut dyn Observer>,
    /// What is done with each step.
    pub on_step: Option<OnStep>,
    /// Raised when the user wants to stop.
    pub interrupted: Arc<AtomicBool>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// What it gave, or why not.
    pub outcome: Result<Outcome>,
    /// What the place has kept.
    pub kept: Result<Recorded>,
    /// The weights' hashes, as far as they are known.
    pub hashes: Vec<String>,
    /// Where the time went.
    pub timings: Timings,
    /// What came of `on_step`.
    pub answers: Option<OnStepRecord>,
    /// The words for a run that `on_step` stopped.
    pub asked_to_stop: Option<String>,
}

/// Makes a run and finishes its record.
pub fn carry_out(job: Job, place: &mut dyn Place, company: Company) -> Ended {
    let Job { pipeline, mut resolved, seeds, input, shared, hashes: known, started, before } = job;
    let mut edits = resolved.edits.take();
    let Company { editors, mut observers, mut on_step, interrupted } = company;
    let drawn = caught(|| {
        input.map_or(Ok(()), |input| place.keep_input(input))?;
        let fingerprints = match known {
            Hashes::Of(choice) => Some(Fingerprints::start(choice, pipeline.model())),
            Hashes::Known(_) => None,
        };
        let mut interrupt = Interrupt(interrupted);
        let mut all: Vec<&mut dyn Observer> = vec![&mut *place];
        // After the place: what it keeps of a step is kept by then.
        all.extend(on_step.as_mut().map(|on_step| on_step as &mut dyn Observer));
        all.push(&mut interrupt);
        all.extend(observers.iter_mut().map(|observer| &mut **observer as &mut dyn Observer));
        if let Some(edits) = &mut edits {
            edits.of_pictures(&seeds.clone().unwrap_or_else(|| resolved.record.plan.seeds()));
            pipeline.tell_prompts(edits, &resolved.record)?;
        }
        let own = edits.iter_mut().map(|edits| edits as &mut dyn Editor);
        let editors = own.chain(editors.into_iter().map(|editor| editor as &mut dyn Editor)).collect();
        let (probe, nothing) = (Probe::new(all).with_editors(editors), Shared::nothing());
        let shared = shared.unwrap_or(&nothing);
        let inverted = resolved.record.plan.inversion.as_ref().map(|_| resolved.record.clone());
        let mut outcome = pipeline.generate_resolved(resolved, seeds.as_deref(), shared, input, &probe)?;
        drop(probe);
        if let (Some(record), Some(input), false) = (inverted, input, outcome.stopped) {
            way_back(pipeline, &record, input, &mut outcome, &mut interrupt)?;
        }
        if !outcome.stopped {
            edits.as_ref().map_or(Ok(()), Edits::check_fired)?;
        }
        let computed = fingerprints.map(Fingerprints::finish).transpose()?;
        let known = if let Hashes::Known(known) = known { known.to_vec() } else { vec![] };
        Ok((outcome, computed.unwrap_or(known)))
    });
    let (outcome, hashes) = match drawn {
        Ok((outcome, hashes)) => (Ok(outcome), hashes),
        Err(error) => (Err(error), vec![]),
    };
    let asked_to_stop = on_step.as_ref().and_then(OnStep::why_stopped);
    let answers = on_step.map(OnStep::into_record);
    let (status, failure) = match &outcome {
        Ok(outcome) if !outcome.stopped => (Status::Complete, None),
        Ok(_) => (Status::Failed, asked_to_stop.clone().or(Some(Error::Cancelled.to_string()))),
        Err(error) => (Status::Failed, Some(error.to_string())),
    };
    let stages = outcome.as_ref().map(|outcome| outcome.stages.clone()).unwrap_or_default();
    let timings = timings(started, [before, stages].concat());
    let inversion = outcome.as_ref().ok().and_then(|outcome| outcome.inversion.as_ref());
    let edits_fired = edits.as_ref().map(Edits::fired).unwrap_or_default();
    let kept = place.finish(&Ending {
        status,
        failure,
        hashes: &hashes,
        timings: &timings,
        answers: answers.as_ref(),
        edits_fired: &edits_fired,
        inversion,
    });
    Ended { outcome, kept, hashes, timings, answers, asked_to_stop }
}

/// Makes the way back of an inversion, if it was asked for, and measures what came of the picture. Whoever stops it there has
/// the inversion whole, without that number.
fn way_back(
    pipeline: &Pipeline,
    record: &RunRecord,
    input: &Input,
    outcome: &mut Outcome,
    interrupt: &mut Interrupt,
) -> Result<()> {
    let plan = &record.plan;
    if plan.decode == Decode::Nothing || !plan.inversion.as_ref().is_some_and(|inversion| inversion.way_back) {
        return Ok(());
    }
    let started = Instant::now();
    let back = match pipeline.way_back(record, &outcome.latents, &Probe::new(vec![interrupt])) {
        Err(Error::Cancelled) => return Ok(()),
        back => back?,
    };
    if let (Some(found), Some(picture)) = (&mut outcome.inversion, back.images.first()) {
        found.psnr_reconstructed = psnr(&input.picture, picture);
    }
    let seconds = started.elapsed().as_secs_f64();
    outcome.stages.push(Stage { name: "way back".into(), seconds, count: 1 });
    Ok(())
}

/// The time since a run began, by its stages.
fn timings(started: Instant, stages: Vec<Stage>) -> Timings {
    let total_seconds = started.elapsed().as_secs_f64();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    Timings { started_unix: (now - total_seconds) as u64, total_seconds, stages }
}
