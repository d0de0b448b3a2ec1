//! The worker: takes one run after the other from the desk and carries it out, as `sdviz trace` would.
//!
//! Enters: entries of the queue. Leaves: run directories, and word of each step. A preview is told before the step is
//! decoded, the step when it is whole on the disk.

use super::desk::Desk;
use super::id::RunId;
use super::preview::Painter;
use super::store::Entry;
use super::summary::State;
use crate::error::{Error, Result};
use crate::model::resolve::ModelChoice;
use crate::pipeline::Pipeline;
use crate::record::plan::Quantity;
use crate::run::{self, Company, Hashes, Job};
use crate::trace::writer::Recorder;
use crate::watch::observer::{Ask, Event, Flow, Observer};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tch::Tensor;

/// Previews come no faster than the eye follows.
const PREVIEW_EVERY: Duration = Duration::from_millis(80);

/// Where latents arise that are previewed: the start, and what each step believes the picture to be.
const START: &str = "starting_latents";

/// Makes the runs of the queue until the server ends.
pub fn work(desk: &Desk, pipeline: &Pipeline, choice: &ModelChoice, mut painter: Option<Painter>) {
    let mut hashes = None;
    while let Some((entry, stop)) = desk.next() {
        let (state, failure) = match make(desk, (pipeline, choice), painter.as_mut(), &entry, stop, &mut hashes) {
            Ok(state) => (state, None),
            // In the middle of a step.
            Err(Error::Cancelled) => (State::Cancelled, None),
            Err(error) => {
                let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                (State::Failed, Some(format!("{error}{hint}")))
            }
        };
        // A map that cannot be fitted stays as it was.
        let _ = painter.as_mut().map_or(Ok(()), Painter::fit);
        desk.ended(&entry.id, state, failure);
    }
}

fn make(
    desk: &Desk,
    (pipeline, choice): (&Pipeline, &ModelChoice),
    painter: Option<&mut Painter>,
    entry: &Entry,
    stop: Arc<AtomicBool>,
    hashes: &mut Option<Vec<String>>,
) -> Result<State> {
    let (id, plan) = (&entry.id, &entry.plan);
    let input = desk.input(id)?.map(|input| input.fit(plan.width, plan.height, plan.resize.unwrap_or_default()));
    let resolved = pipeline.resolve(plan)?;
    let mut recorder = Recorder::create(&desk.settings.runs.join(id.as_str()), plan)?;
    let known = hashes.clone();
    let from = known.as_deref().map_or(Hashes::Of(choice), Hashes::Known);
    let job = Job { input: input.as_ref(), ..Job::new(pipeline, resolved, from) };
    let limit = Duration::from_secs(desk.settings.limits.seconds);
    let previewing = pipeline.model().preview.is_some();
    let mut live =
        Live { desk, id, painter, began: Instant::now(), limit, last: 0, scale: 1.0, painted: None, previewing };
    let company = Company { observers: vec![&mut live], interrupted: stop, ..Company::default() };
    let ended = run::carry_out(job, &mut recorder, company);
    let outcome = ended.outcome?;
    ended.kept?;
    if !outcome.stopped {
        *hashes = Some(ended.hashes);
    }
    Ok(if outcome.stopped { State::Cancelled } else { State::Complete })
}

/// Tells of a run that is being made, and ends it when it takes too long.
struct Live<'a> {
    desk: &'a Desk,
    id: &'a RunId,
    painter: Option<&'a mut Painter>,
    began: Instant,
    limit: Duration,
    last: usize,
    /// What the starting latents are divided by to have the model's variance.
    scale: f64,
    painted: Option<Instant>,
    /// Whether the pictures of the steps are not the model's own decoder's.
    previewing: bool,
}

impl Live<'_> {
    fn preview(&mut self, (what, step): (&str, usize), latents: &Tensor) -> Result<()> {
        let early = step <= 1 || step == self.last;
        let due = early || self.painted.is_none_or(|time| time.elapsed() > PREVIEW_EVERY);
        let Some(painter) = self.painter.as_deref().filter(|_| due) else { return Ok(()) };
        self.painted = Some(Instant::now());
        let _no_gradients = tch::no_grad_guard();
        let png = match what {
            START => painter.paint(&(latents / self.scale))?,
            _ => painter.paint(latents)?,
        };
        let what = if what == START { Quantity::Latents } else { Quantity::PredictedOriginal };
        let image = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(&png));
        let told = json!({ "run": self.id, "step": step, "last_step": self.last, "what": what, "image": image });
        self.desk.hub.tell("preview", &told);
        self.desk.keep_preview(png);
        Ok(())
    }
}

impl Observer for Live<'_> {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Site(name, _) if name == START || name == Quantity::PredictedOriginal.key())
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        if self.began.elapsed() > self.limit {
            let message = format!("it took longer than {} s, which is this server's limit", self.limit.as_secs());
            return Err(Error::invalid(message, "ask for fewer steps or a smaller picture"));
        }
        match event {
            Event::Begin(record) => {
                (self.last, self.began) = (record.last_step(), Instant::now());
                self.scale = record.schedule.first().map_or(1.0, |level| level.latent_scale);
                self.desk.advance(self.id, 0, self.last);
            }
            Event::Tensor(site, latents) if self.wants(Ask::Site(site.name, site.step)) => {
                // No preview is worth a run.
                let _ = self.preview((site.name, site.step), latents);
            }
            Event::Step(step) => {
                let what = Quantity::PredictedOriginal;
                // From what a preview decoder makes there is nothing to learn.
                let painter = self.painter.as_deref_mut().filter(|_| !self.previewing);
                if let (Some(painter), Some(latents), Some([picture, ..])) =
                    (painter, step.tensor(what), step.pictures(what))
                {
                    let _ = painter.see(latents, picture);
                }
                let pictures: Vec<Quantity> = step.pictures.iter().map(|(what, _)| *what).collect();
                self.desk.advance(self.id, step.index, step.last);
                let mut told =
                    json!({ "run": self.id, "step": step.index, "last_step": step.last, "pictures": pictures });
                if self.previewing {
                    told["preview_decoder"] = true.into();
                }
                self.desk.hub.tell("step", &told);
            }
            Event::Tensor(..) | Event::Finished(_) => {}
        }
        Ok(Flow::Continue)
    }
}
