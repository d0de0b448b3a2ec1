//! From a plan to the record of its run: what it means with this model, checked before anything is computed.
//!
//! Enters: a plan. Leaves: tokens, schedule, every setting as it takes effect, and the schedulers that carry it out.

use super::donors::Donor;
use super::limits::{self, Demand};
use super::load::Pipeline;
use super::noise::HELD;
use super::past::Past;
use super::{device, hires, inversion, start};
use crate::edit::edits::Edits;
use crate::error::Result;
use crate::prompt::conditions;
use crate::record::conditions::{Conditions, at};
use crate::record::inversion::{InversionRecord, RunKind};
use crate::record::plan::Plan;
use crate::record::schema::{Environment, RunRecord, SCHEMA_VERSION, Status, Timings, Tokens};
use crate::scheduler::{self, Scheduler, SchedulerConfig, SchedulerKind};
use tch::{Device, Tensor};

/// A plan as it is carried out.
pub struct Resolved {
    /// The record, of a run that has not begun.
    pub record: RunRecord,
    /// The sampling algorithm.
    pub scheduler: Box<dyn Scheduler>,
    /// That of the second pass, if there is one.
    pub second_scheduler: Option<Box<dyn Scheduler>>,
    /// The editor that its plan has, if it has one.
    pub edits: Option<Edits>,
    /// The steps that are made already, if it goes on from an earlier run.
    pub past: Option<Past>,
    /// The latents of an inversion that it begins with, f32, if it does.
    pub start: Option<Tensor>,
    /// The runs that run beside it.
    pub donors: Vec<Donor>,
}

impl Pipeline {
    /// Fills in what a plan leaves to the model: a width or height of 0, a scheduler without a name.
    ///
    /// # Errors
    /// As [`Pipeline::default_scheduler`].
    pub fn complete(&self, plan: &mut Plan) -> Result<()> {
        for size in [&mut plan.width, &mut plan.height] {
            if *size == 0 {
                *size = self.native_size();
            }
        }
        if plan.scheduler.is_empty() {
            plan.scheduler = self.default_scheduler()?.name().into();
        }
        Ok(())
    }

    /// The record and the scheduler of [`Pipeline::resolve`].
    ///
    /// # Errors
    /// As there.
    pub fn plan(&self, plan: &Plan) -> Result<(RunRecord, Box<dyn Scheduler>)> {
        self.resolve(plan).map(|resolved| (resolved.record, resolved.scheduler))
    }

    /// Checks a plan and resolves it to a record: tokens, schedule, every scheduler setting. Nothing is computed yet.
    ///
    /// # Errors
    /// When the plan cannot be carried out with this model.
    pub fn resolve(&self, plan: &Plan) -> Result<Resolved> {
        limits::check_plan(plan, self.model.vae_scale_factor)?;
        inversion::check(plan)?;
        let kind = SchedulerKind::parse(&plan.scheduler)?;
        let scheduler = self.sampler(plan, kind)?;
        self.text_encoder.check_clip_skip(plan.clip_skip)?;
        let begin = start::beginning(plan, scheduler.as_ref())?;
        let first_call = begin.as_ref().map_or(0, |begin| begin.first_call);
        let mut schedule = scheduler::levels(scheduler.as_ref(), first_call);
        let (calls, factor) = (schedule.len() - 1, self.model.vae_scale_factor);
        let config = self.scheduler_config_of(plan);
        let (hires, second_scheduler) = hires::plan(plan, &config, factor, calls)?.unzip();
        if let (Some(second), Some(scheduler)) = (&hires, &second_scheduler) {
            schedule.extend(scheduler::levels(scheduler.as_ref(), second.begin.first_call));
        }
        let (tokens, conditions) = self.read_prompts(plan, calls)?;
        let mut plan = plan.clone();
        plan.scheduler = kind.name().into();
        plan.scheduler_config = config.resolve(kind)?.to_json();
        let largest = hires.as_ref().map_or((plan.width, plan.height), |second| (second.width, second.height));
        plan.vae_tile = self.vae_tile(largest.0, largest.1);
        let draws = if hires.is_none() { HELD.min(1 + scheduler::draws(scheduler.as_ref(), first_call)) } else { 1 };
        let demand = Demand {
            draws,
            tile: plan.vae_tile,
            ..Demand::of(&plan, (self.unet.config(), self.vae.config()), largest)
        };
        self.check_memory(demand)?;
        let mut record = RunRecord {
            schema_version: SCHEMA_VERSION,
            sdviz_version: env!("CARGO_PKG_VERSION").into(),
            kind: match (&plan.inversion, &plan.look) {
                (Some(_), _) => RunKind::Inversion,
                (None, Some(_)) => RunKind::Look,
                (None, None) => RunKind::Drawing,
            },
            inversion: plan.inversion.as_ref().map(InversionRecord::planned),
            status: Status::Running,
            failure: None,
            plan,
            model: self.model.clone(),
            tokens,
            conditions,
            schedule,
            begin,
            hires,
            attention: None,
            sites: None,
            edits_fired: vec![],
            on_step: None,
            environment: self.environment(),
            timings: Timings::default(),
        };
        self.resolve_attention(&mut record)?;
        let edits = self.edits(&record)?;
        record.plan.edits = edits.as_ref().map(Edits::planned).unwrap_or_default();
        let (plan, kept) = (&record.plan, record.attention.as_ref());
        let attention = kept.map_or((0, 0), |kept| kept.memory(plan.batch_size));
        let donors = rows_of_donors(plan.donors.len(), edits.as_ref());
        self.check_memory(Demand { donors, attention, ..demand })?;
        Ok(Resolved { record, scheduler, second_scheduler, edits, past: None, start: None, donors: vec![] })
    }

    /// The model's scheduler configuration, with what a plan says of it.
    fn scheduler_config_of(&self, plan: &Plan) -> SchedulerConfig {
        self.scheduler_config.asked(plan.sigmas, plan.zero_terminal_snr)
    }

    /// What carries a plan's steps out: the algorithm of this kind, its inverse, or what visits some noise levels.
    fn sampler(&self, plan: &Plan, kind: SchedulerKind) -> Result<Box<dyn Scheduler>> {
        let (config, steps) = (&self.scheduler_config_of(plan), plan.steps);
        match (&plan.inversion, &plan.look) {
            (Some(inversion), _) => scheduler::inverse(kind, config, steps, inversion.refine > 0),
            (None, Some(look)) => scheduler::visiting(config, &look.at),
            (None, None) => scheduler::build(kind, config, steps, plan.eta),
        }
    }

    /// Refuses pictures of a size, or a batch of them, for which there is no memory. The devices that have their own say so
    /// themselves.
    fn check_memory(&self, demand: Demand) -> Result<()> {
        limits::check_side("width", demand.size.0)?;
        limits::check_side("height", demand.size.1)?;
        if self.options.device != Device::Cpu {
            return Ok(());
        }
        let widths = (self.options.kind.elt_size_in_bytes(), self.vae.kind().elt_size_in_bytes());
        Demand { widths, ..demand }.check(limits::memory())
    }

    /// The prompts as tokens, and where they are not plain, what they mean in each of `steps` steps.
    fn read_prompts(&self, plan: &Plan, steps: usize) -> Result<(Tokens, Option<Conditions>)> {
        let window = self.tokenizer.window();
        if plan.prompt_syntax.is_plain() {
            let encode = |text| self.tokenizer.encode(text);
            let (prompt, negative) = (encode(&plan.prompt)?, encode(&plan.negative_prompt)?);
            let tokens = Tokens {
                prompt: prompt.tokens,
                negative_prompt: negative.tokens,
                window,
                prompt_cut: prompt.cut,
                negative_prompt_cut: negative.cut,
            };
            return Ok((tokens, None));
        }
        let all = conditions::read(&self.tokenizer, &plan.prompt, &plan.negative_prompt, steps)?;
        let tokens = Tokens {
            prompt: conditions::tokens(&self.tokenizer, &all.texts[at(&all.prompt[0].schedule, 1)]),
            negative_prompt: conditions::tokens(&self.tokenizer, &all.texts[at(&all.negative_prompt, 1)]),
            window,
            ..Tokens::default()
        };
        Ok((tokens, Some(all)))
    }

    /// The side in pixels of the tiles in which a picture of this size is decoded, if it is.
    fn vae_tile(&self, width: usize, height: usize) -> Option<usize> {
        let factor = self.model.vae_scale_factor;
        let tiles = self.vae.tiles((height / factor) as i64, (width / factor) as i64);
        tiles.map(|tiles| tiles.side() as usize * factor)
    }

    fn environment(&self) -> Environment {
        Environment {
            device: device::device_name(self.options.device),
            dtype: device::dtype_name(self.options.kind).into(),
            threads: tch::get_num_threads() as usize,
            rng: "cpu".into(),
            libtorch: env!("SDVIZ_LIBTORCH_VERSION").into(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// How many of so many donors have rows beside a run's at any step: all where no edit copies from them, else those of which
/// more is copied than what was recorded.
fn rows_of_donors(count: usize, edits: Option<&Edits>) -> usize {
    let lent = edits.map(Edits::lenders).unwrap_or_default();
    (0..count).filter(|donor| lent.get(donor).is_none_or(|steps| !steps.is_empty())).count()
}
