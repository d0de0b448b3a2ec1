//! A drawing: what is asked for, in a chain of words, and carried out.

use crate::draw::Source;
use crate::draw::keep::Keep;
use crate::draw::model::Model;
use crate::error::{Error, Result, caught};
use crate::pipeline::init_image::Input;
use crate::pipeline::{hires, noise, start};
use crate::record::attention::AttentionPlan;
use crate::record::edits::PlannedEdit;
use crate::record::hires::Hires;
use crate::record::inputs::USUAL_STRENGTH;
use crate::record::inversion::InversionPlan;
use crate::record::plan::{Decode, Plan, Quantity};
use crate::record::sigmas::Sigmas;
use crate::run::branch::Fork;
use crate::run::donor;
use crate::run::start::Origin;
use crate::run::{self, Company, Ended, Hashes, Job};
use crate::scheduler::SchedulerKind;
use crate::trace::parameters::PictureSettings;
use crate::trace::reader::Run;
use crate::trace::reservoir::Reservoir;
use crate::trace::writer::{self, Recorder};
use crate::watch::editor::Editor;
use crate::watch::observer::Observer;
use std::path::PathBuf;

/// A picture that is asked for. What is not said is the model's own or the usual.
#[derive(Debug, Clone)]
pub struct Drawing {
    model: Model,
    prompt: String,
    negative_prompt: String,
    prompt_syntax: Option<String>,
    clip_skip: usize,
    seed: Option<u64>,
    steps: Option<usize>,
    guidance_scale: Option<f64>,
    scheduler: Option<String>,
    eta: Option<f64>,
    sigmas: Option<Sigmas>,
    zero_terminal_snr: bool,
    guidance_rescale: f64,
    size: Option<(usize, usize)>,
    batch: usize,
    init_image: Option<Source>,
    strength: Option<f64>,
    mask: Option<Source>,
    /// Its steps are the first pass's where they are 0.
    hires: Option<Hires>,
    edits: Vec<String>,
    donors: Vec<Run>,
    fork: Option<Fork>,
    origin: Option<Origin>,
    pub(super) inversion: Option<InversionPlan>,
    keep: Keep,
    attention: Option<AttentionPlan>,
    decode: Decode,
    out: Option<PathBuf>,
    force: bool,
}

impl Model {
    /// Asks for a picture of this. What is not said further is the model's own: size, scheduler, guidance scale.
    pub fn draw(&self, prompt: impl Into<String>) -> Drawing {
        Drawing::new(self.clone(), prompt.into())
    }
}

impl Drawing {
    fn new(model: Model, prompt: String) -> Drawing {
        let usual = Plan::default();
        Drawing {
            model,
            prompt,
            negative_prompt: String::new(),
            prompt_syntax: None,
            clip_skip: usual.clip_skip,
            seed: None,
            steps: None,
            guidance_scale: None,
            scheduler: None,
            eta: None,
            sigmas: None,
            zero_terminal_snr: false,
            guidance_rescale: 0.0,
            size: None,
            batch: usual.batch_size,
            init_image: None,
            strength: None,
            mask: None,
            hires: None,
            edits: vec![],
            donors: vec![],
            fork: None,
            origin: None,
            inversion: None,
            keep: Keep::from(usual.record),
            attention: None,
            decode: usual.decode,
            out: None,
            force: false,
        }
    }

    /// With what a picture says of its making.
    pub(super) fn filled(mut self, said: PictureSettings) -> Drawing {
        let kind = said.scheduler.as_deref().and_then(|name| SchedulerKind::parse(name).ok());
        let eta = said.eta.filter(|_| kind.is_some_and(SchedulerKind::takes_eta));
        self.sigmas = said.sigmas;
        if let Some(own) = &said.own {
            (self.zero_terminal_snr, self.guidance_rescale) = (own.plan.zero_terminal_snr, own.plan.guidance_rescale);
        }
        self.size = said.width.zip(said.height);
        self.prompt_syntax = said.prompt_syntax.map(|syntax| syntax.name().into());
        self.clip_skip = said.clip_skip.unwrap_or(self.clip_skip);
        self.steps = said.steps.or(self.steps);
        self.eta = eta.or(self.eta);
        let (prompt, negative_prompt, seed) = (said.prompt, said.negative_prompt, said.seed);
        let (guidance_scale, scheduler, hires) = (said.guidance_scale, said.scheduler, said.hires);
        self.edits = said.edits;
        Drawing { prompt, negative_prompt, seed, guidance_scale, scheduler, hires, ..self }
    }

    /// Going on from a step of a run, with its settings.
    pub(super) fn forked(mut self, fork: Fork) -> Drawing {
        let plan = fork.plan().clone();
        self.prompt_syntax = Some(plan.prompt_syntax.to_string());
        (self.prompt, self.negative_prompt, self.clip_skip) = (plan.prompt, plan.negative_prompt, plan.clip_skip);
        (self.seed, self.steps, self.guidance_scale) = (Some(plan.seed), Some(plan.steps), Some(plan.guidance_scale));
        (self.scheduler, self.eta, self.hires) = (Some(plan.scheduler), Some(plan.eta), plan.hires);
        (self.sigmas, self.zero_terminal_snr) = (plan.sigmas, plan.zero_terminal_snr);
        self.guidance_rescale = plan.guidance_rescale;
        (self.size, self.batch) = (Some((plan.width, plan.height)), plan.batch_size);
        self.edits = plan.edits.into_iter().map(|edit| edit.edit).collect();
        (self.keep.quantities, self.decode, self.fork) = (plan.record, plan.decode, Some(fork));
        self
    }

    /// Going from its picture to noise.
    pub(super) fn inverting(mut self, inversion: InversionPlan) -> Drawing {
        self.inversion = Some(inversion);
        self
    }

    /// Beginning with the latents of an inversion, with its settings.
    pub(super) fn starting(mut self, origin: Origin) -> Drawing {
        let plan = origin.plan().clone();
        self.prompt_syntax = Some(plan.prompt_syntax.to_string());
        (self.prompt, self.clip_skip, self.steps) = (plan.prompt, plan.clip_skip, Some(plan.steps));
        (self.scheduler, self.size) = (Some(plan.scheduler), Some((plan.width, plan.height)));
        self.origin = Some(origin);
        self
    }

    /// What to draw: another prompt than before.
    #[must_use]
    pub fn prompt(mut self, text: impl Into<String>) -> Drawing {
        self.prompt = text.into();
        self
    }

    /// What to stay away from.
    #[must_use]
    pub fn negative_prompt(mut self, text: impl Into<String>) -> Drawing {
        self.negative_prompt = text.into();
        self
    }

    /// How both prompts are read: `plain`, or `a1111` for the web UI's weights, schedules and `AND`.
    #[must_use]
    pub fn prompt_syntax(mut self, name: &str) -> Drawing {
        self.prompt_syntax = Some(name.into());
        self
    }

    /// Which layer of the text encoder counts: 1 the last, 2 the one before.
    #[must_use]
    pub fn clip_skip(mut self, layer: usize) -> Drawing {
        self.clip_skip = layer;
        self
    }

    /// The seed of the noise. Without it each run draws a new one, which stands in its record.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Drawing {
        self.seed = Some(seed);
        self
    }

    /// How many steps; 25 unless it is said, or what the model says of itself.
    #[must_use]
    pub fn steps(mut self, steps: usize) -> Drawing {
        self.steps = Some(steps);
        self
    }

    /// How hard the prompt pulls; 1 switches guidance off.
    #[must_use]
    pub fn guidance_scale(mut self, scale: f64) -> Drawing {
        self.guidance_scale = Some(scale);
        self
    }

    /// The scheduler, as `sdviz schedulers` lists them.
    #[must_use]
    pub fn scheduler(mut self, name: &str) -> Drawing {
        self.scheduler = Some(name.into());
        self
    }

    /// DDIM's share of fresh noise in each step, or TCD's, from 0 to 1.
    #[must_use]
    pub fn eta(mut self, eta: f64) -> Drawing {
        self.eta = Some(eta);
        self
    }

    /// Where the noise levels lie.
    #[must_use]
    pub fn sigmas(mut self, sigmas: Sigmas) -> Drawing {
        self.sigmas = Some(sigmas);
        self
    }

    /// Rescales the noise schedule so that it begins with pure noise; for models that predict v.
    #[must_use]
    pub fn zero_terminal_snr(mut self) -> Drawing {
        self.zero_terminal_snr = true;
        self
    }

    /// How far the guided prediction is brought back to the deviation of the one with the prompt, from 0 to 1.
    #[must_use]
    pub fn guidance_rescale(mut self, share: f64) -> Drawing {
        self.guidance_rescale = share;
        self
    }

    /// Width and height in pixels.
    #[must_use]
    pub fn size(mut self, width: usize, height: usize) -> Drawing {
        self.size = Some((width, height));
        self
    }

    /// How many pictures at once; each has the seed after that of the one before.
    #[must_use]
    pub fn batch(mut self, pictures: usize) -> Drawing {
        self.batch = pictures;
        self
    }

    /// The picture to begin from: a [`Picture`](crate::show::picture::Picture) or a file.
    #[must_use]
    pub fn init_image(mut self, picture: impl Into<Source>) -> Drawing {
        self.init_image = Some(picture.into());
        self
    }

    /// How far to go from it, above 0 and up to 1; 0.75 unless it is said.
    #[must_use]
    pub fn strength(mut self, strength: f64) -> Drawing {
        self.strength = Some(strength);
        self
    }

    /// Where to repaint it: white is repainted, black is kept. Of the size of the picture to begin from.
    #[must_use]
    pub fn mask(mut self, mask: impl Into<Source>) -> Drawing {
        self.mask = Some(mask.into());
        self
    }

    /// A second pass over the result, `scale` times larger, that makes this share of its steps.
    #[must_use]
    pub fn hires(mut self, scale: f64, strength: f64) -> Drawing {
        self.hires = Some(Hires { scale, strength, steps: 0, ..Hires::default() });
        self
    }

    /// Changes tensors on their way, as `--edit` says it: `zero unet.mid_block steps=1-5`. Said again, it adds another edit,
    /// which comes after those before.
    #[must_use]
    pub fn edit(mut self, edit: impl Into<String>) -> Drawing {
        self.edits.push(edit.into());
        self
    }

    /// A recorded run of the same size and noise levels that edits copy from, `copy unet.mid_block steps=1-8`. Said again, it
    /// names another, `from=1`. Where no edit copies, its rows are there at every step for an editor of one's own.
    #[must_use]
    pub fn donor(mut self, run: &Run) -> Drawing {
        self.donors.push(run.clone());
        self
    }

    /// What is kept of each step: [`All`](crate::draw::keep::All), or quantities. Latents and predicted originals unless it
    /// is said.
    #[must_use]
    pub fn record(mut self, what: impl Into<Keep>) -> Drawing {
        self.keep = what.into();
        self
    }

    /// Keeps where each word of the prompt is looked at from, too: `.attention(AttentionPlan::default())`, or with more of it.
    /// [`Run::attention`] reads it.
    #[must_use]
    pub fn attention(mut self, what: AttentionPlan) -> Drawing {
        self.attention = Some(what);
        self
    }

    /// Which steps are decoded to pictures; every one unless it is said.
    #[must_use]
    pub fn decode(mut self, which: Decode) -> Drawing {
        self.decode = which;
        self
    }

    /// A folder for the record, instead of memory. It must be empty, or not be there yet.
    #[must_use]
    pub fn out(mut self, folder: impl Into<PathBuf>) -> Drawing {
        self.out = Some(folder.into());
        self
    }

    /// Replaces a run that is in the folder already.
    #[must_use]
    pub fn force(mut self) -> Drawing {
        self.force = true;
        self
    }

    /// The plan as it would be carried out: every setting as it takes effect. Without [`Drawing::seed`] the seed is one of
    /// those that could be drawn.
    ///
    /// # Errors
    /// When it cannot be carried out with this model.
    pub fn plan(&self) -> Result<Plan> {
        caught(|| Ok(self.model.resolve(&self.prepare()?.0)?.record.plan))
    }

    /// Draws, and gives the record.
    ///
    /// # Errors
    /// When it cannot be carried out, a tensor is not finite, or the folder cannot be written.
    pub fn run(&self) -> Result<Run> {
        self.carry_out(Company::default())
    }

    /// Draws while somebody watches. Who stops the run has the record of what was made until then.
    ///
    /// # Errors
    /// As [`Drawing::run`]; also the observer's.
    pub fn watched(&self, observer: &mut dyn Observer) -> Result<Run> {
        self.carry_out(Company { observers: vec![observer], ..Company::default() })
    }

    /// Draws while somebody changes tensors on their way.
    ///
    /// # Errors
    /// As [`Drawing::run`]; also the editor's.
    pub fn edited(&self, editor: &mut dyn Editor) -> Result<Run> {
        self.carry_out(Company { editors: vec![editor], ..Company::default() })
    }

    fn carry_out(&self, company: Company) -> Result<Run> {
        let (plan, input) = caught(|| self.prepare())?;
        let model = self.model.loaded();
        let hashes = model.hashes.get().map_or(Hashes::Of(&model.choice), |known| Hashes::Known(known));
        let resolved = caught(|| {
            let resolved = match (&self.fork, &self.origin) {
                (None, None) => model.pipeline.resolve(&plan),
                (Some(fork), _) => fork.resolve(&model.pipeline, &plan, model.hashes()?),
                (None, Some(origin)) => origin.resolve(&model.pipeline, &plan, model.hashes()?),
            };
            donor::lend(resolved?, &self.donors)
        })?;
        let job = Job { input: input.as_ref(), ..Job::new(&model.pipeline, resolved, hashes) };
        let keep_hashes = |ended: &Ended| {
            if ended.outcome.is_ok() {
                // A second run computes what the first has set already.
                let _ = model.hashes.set(ended.hashes.clone());
            }
        };
        let Some(out) = &self.out else {
            let mut memory = Reservoir::of(&plan, self.keep.all);
            let ended = run::carry_out(job, &mut memory, company);
            keep_hashes(&ended);
            ended.outcome?;
            return memory.into_run()?.ok_or(Error::Cancelled);
        };
        writer::check_out(out, self.force)?;
        let mut recorder = Recorder::create(out, &plan)?;
        let ended = run::carry_out(job, &mut recorder, company);
        drop(recorder);
        keep_hashes(&ended);
        ended.outcome?;
        ended.kept?;
        Run::open(out)
    }

    /// What was asked for as a plan, and the picture that it begins from at its size.
    fn prepare(&self) -> Result<(Plan, Option<Input>)> {
        self.check()?;
        let init = self.init_image.as_ref().map(|picture| picture.read(self.mask.as_ref())).transpose()?;
        let noised = init.as_ref().filter(|_| self.inversion.is_none());
        let strength = noised.map(|_| self.strength.unwrap_or(USUAL_STRENGTH));
        strength.map_or(Ok(()), start::check_strength)?;
        let own = self.steps.unwrap_or(self.model.steps());
        let steps = |second: Hires| if second.steps == 0 { own } else { second.steps };
        let second = self.hires.map(|second| Hires { steps: steps(second), ..second });
        second.map_or(Ok(()), |second| hires::check(&second, init.is_some()))?;
        let (width, height) = self.size.unwrap_or_default();
        let mut plan = Plan {
            prompt: self.prompt.clone(),
            negative_prompt: self.negative_prompt.clone(),
            prompt_syntax: self.prompt_syntax.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            clip_skip: self.clip_skip,
            seed: self.seed.unwrap_or_else(noise::random_seed),
            batch_size: self.batch,
            steps: own,
            guidance_scale: self.guidance_scale.unwrap_or(self.model.guidance_scale()),
            width,
            height,
            scheduler: match &self.scheduler {
                Some(name) => SchedulerKind::parse(name)?.name().into(),
                None => String::new(),
            },
            eta: self.eta.unwrap_or_default(),
            sigmas: self.sigmas,
            zero_terminal_snr: self.zero_terminal_snr,
            guidance_rescale: self.guidance_rescale,
            strength,
            init_image: init.as_ref().map(|init| init.about.clone()),
            resize: init.as_ref().map(|_| Default::default()),
            mask: init.as_ref().and_then(|init| init.mask.as_ref()).map(|(_, about)| about.clone()),
            hires: second,
            inversion: self.inversion.clone(),
            edits: self.edits.iter().map(PlannedEdit::asked).collect(),
            donors: self.donors.iter().map(donor::planned).collect::<Result<_>>()?,
            record: self.keep.quantities.clone(),
            attention: self.attention.clone(),
            decode: self.decode,
            decode_what: self.decode_what(),
            ..Plan::default()
        };
        if let Some(init) = &init {
            (plan.width, plan.height) = init.size(width, height, self.model.model().vae_scale_factor);
        }
        if let Some(fork) = &self.fork {
            fork.apply(&mut plan)?;
            return Ok((plan, fork.input()?));
        }
        self.model.complete(&mut plan)?;
        plan.eta = self.eta.unwrap_or_else(|| SchedulerKind::usual_eta_of(&plan.scheduler));
        self.origin.iter().try_for_each(|origin| origin.apply(&mut plan))?;
        let input = init.map(|init| init.fit(plan.width, plan.height, plan.resize.unwrap_or_default()));
        Ok((plan, input))
    }

    /// Refuses what would mean something else than it says.
    fn check(&self) -> Result<()> {
        let lone = |word: &str| format!("a {word}, but no picture to begin from");
        let hint = "name one with `.init_image(…)`";
        if matches!(self.size, Some((0, _) | (_, 0))) {
            return Err(Error::invalid("a picture of 0 pixels", "leave the size to the model, or give one"));
        }
        if self.decode == Decode::Every(0) {
            return Err(Error::invalid("cannot decode every 0th step", "`Every(1)` decodes all"));
        }
        if self.fork.is_some() && self.init_image.is_some() {
            return Err(Error::invalid(
                "a branch goes on from a run, not from a picture",
                "leave out `.init_image(…)`",
            ));
        }
        if self.origin.is_some() && self.init_image.is_some() {
            return Err(Error::invalid(
                "a drawing that begins from an inversion does not begin from a picture",
                "leave out `.init_image(…)`",
            ));
        }
        match (&self.init_image, &self.mask, self.strength) {
            (None, Some(_), _) => Err(Error::invalid(lone("mask"), hint)),
            (None, _, Some(_)) => Err(Error::invalid(lone("strength"), hint)),
            _ => Ok(()),
        }
    }

    /// Small models decode the predicted originals too: it takes no time.
    fn decode_what(&self) -> Vec<Quantity> {
        let both = self.keep.all || self.model.is_small();
        if both { Quantity::PICTURED.to_vec() } else { vec![Quantity::Latents] }
    }
}
