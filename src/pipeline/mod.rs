//! The pipeline: a model loaded and ready, and the way from a plan to pictures.
//!
//! Enters: a model and a [`Plan`]. Leaves: pictures, latents, and on the way events for whoever watches. The step loop
//! itself stands in [`denoise`].

pub mod allocator;
pub mod clock;
pub mod conditioning;
pub mod denoise;
pub mod device;
pub mod hires;
pub mod init_image;
pub mod limits;
pub mod noise;
mod sentinel;
pub mod several;
pub mod shared;
pub mod start;
mod teller;

use crate::config::{Config, TextConfig, UNetConfig, VaeConfig};
use crate::error::{Error, Result};
use crate::model::about::About;
use crate::model::embedding::{Embedding, EmbeddingChoice};
use crate::model::files::ModelFiles;
use crate::model::index;
use crate::model::lora::{Adapters, LoraChoice};
use crate::model::resolve::ModelChoice;
use crate::model::text_encoder::TextEncoder;
use crate::model::tiling::Tiling;
use crate::model::unet::UNet;
use crate::model::vae::Vae;
use crate::model::weights::{WeightFile, Weights};
use crate::prompt::conditions;
use crate::prompt::tokenizer::Tokenizer;
use crate::scheduler::{self, Scheduler, SchedulerConfig, SchedulerKind};
use crate::trace::conditions::{Conditions, at};
use crate::trace::observer::{Event, Flow, Probe};
use crate::trace::schema::{
    ComponentRecord, Environment, Level, ModelRecord, Plan, RunRecord, SCHEMA_VERSION, Stage, Status, Timings, Tokens,
};
use clock::Clock;
use conditioning::{Conditioning, Request};
use denoise::Denoise;
use image::RgbImage;
use init_image::Input;
use limits::Demand;
use shared::Shared;
use std::path::PathBuf;
use tch::{Device, Kind, Tensor};
use teller::Teller;

/// The most parameters of a small model. The pocket model has 11 million, Stable Diffusion 1.x a thousand million.
const SMALL_MODEL: u64 = 100_000_000;

/// How a model is loaded.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Where it computes.
    pub device: Device,
    /// What it computes in. The VAE falls back to f32 where its configuration says that half precision overflows.
    pub kind: Kind,
    /// Which files: `fp16` for `*.fp16.safetensors`.
    pub variant: Option<String>,
    /// What is merged into the weights of text encoder and UNet.
    pub loras: Vec<LoraChoice>,
    /// Words that are added to tokenizer and text encoder.
    pub embeddings: Vec<EmbeddingChoice>,
    /// Whether the VAE decodes in tiles.
    pub vae_tiling: Tiling,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            device: Device::Cpu,
            kind: Kind::Float,
            variant: None,
            loras: vec![],
            embeddings: vec![],
            vae_tiling: Tiling::default(),
        }
    }
}

/// A Stable Diffusion pipeline, loaded.
#[derive(Debug)]
pub struct Pipeline {
    /// Prompts to ids.
    pub tokenizer: Tokenizer,
    /// Ids to embeddings.
    pub text_encoder: TextEncoder,
    /// The noise prediction.
    pub unet: UNet,
    /// Latents to pictures.
    pub vae: Vae,
    scheduler_config: SchedulerConfig,
    model: ModelRecord,
    about: About,
    weight_files: Vec<PathBuf>,
    notes: Vec<String>,
    options: LoadOptions,
}

/// What a run gives back.
#[derive(Debug)]
pub struct Outcome {
    /// The finished latents, `[batch, 4, height/8, width/8]`.
    pub latents: Tensor,
    /// The finished pictures, one per batch item; empty when nothing was decoded or the run was stopped.
    pub images: Vec<RgbImage>,
    /// Whether an observer stopped it before its last step.
    pub stopped: bool,
    /// Where the time went.
    pub stages: Vec<Stage>,
}

impl Pipeline {
    /// Loads a model.
    ///
    /// # Errors
    /// When a file is missing, damaged, or describes something that is not implemented.
    pub fn load(choice: &ModelChoice, options: LoadOptions) -> Result<Pipeline> {
        let _no_gradients = tch::no_grad_guard();
        let files = &choice.files;
        let class_name = index::class_name(files)?;
        let unet_config: UNetConfig = config(files, "unet/config.json")?;
        let vae_config: VaeConfig = config(files, "vae/config.json")?;
        let text_config: TextConfig = config(files, "text_encoder/config.json")?;
        let scheduler_config = index::scheduler(files)?;
        let about = About::read(files)?;
        let mut tokenizer = Tokenizer::of_model(files, &text_config)?;
        let notes = notes(files, &unet_config, &vae_config, &scheduler_config);

        let variant = options.variant.as_deref();
        let adapters = Adapters::open(&options.loras, &unet_config, |name| Ok(files.weights(name, variant)?.1))?;
        let mut model = ModelRecord {
            id: choice.id.clone(),
            chosen_by: choice.chosen_by.into(),
            class_name,
            components: vec![],
            latent_channels: vae_config.latent_channels as usize,
            vae_scale_factor: vae_config.scale_factor(),
            scaling_factor: vae_config.scaling_factor,
            prediction_type: scheduler_config.prediction_type.clone().unwrap_or_else(|| "epsilon".into()),
            loras: adapters.records().to_vec(),
            embeddings: vec![],
        };
        let mut weight_files = vec![];
        let mut open = |component: &'static str, kind: Kind| -> Result<Weights> {
            let (file, weights) = files.weights(component, variant)?;
            model.components.push(component_record(component, files, &file, &weights));
            weight_files.extend(weights.paths().map(PathBuf::from));
            Ok(adapters.weights(component, weights, options.device, kind))
        };
        let mut text_encoder = TextEncoder::new(&open("text_encoder", options.kind)?, text_config)?;
        let unet = UNet::new(&open("unet", options.kind)?, unet_config)?;
        let overflows = options.kind == Kind::Half && vae_config.force_upcast;
        let vae = Vae::new(&open("vae", if overflows { Kind::Float } else { options.kind })?, vae_config)?
            .with_tiling(options.vae_tiling);
        check_fit(&text_encoder, &unet, &vae)?;
        for choice in &options.embeddings {
            let Embedding { vectors, record } = Embedding::open(choice, text_encoder.config().hidden_size)?;
            let first = tokenizer.add_embedding(&record.name, record.vectors)?;
            text_encoder.add_embedding(first, &vectors);
            model.embeddings.push(record);
        }
        Ok(Pipeline {
            tokenizer,
            text_encoder,
            unet,
            vae,
            scheduler_config,
            model,
            about,
            weight_files,
            notes,
            options,
        })
    }

    /// What there is to tell of the model's files, a line each: what was set right, and what was passed over.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The model, as a run's record names it.
    pub fn model(&self) -> &ModelRecord {
        &self.model
    }

    /// What the model says of itself beside diffusers' own files.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The guidance scale for a run that asks for none: the model's own, else 7.5.
    pub fn guidance_scale(&self) -> f64 {
        self.about.guidance_scale.unwrap_or(Plan::default().guidance_scale)
    }

    /// Whether a run with this model is so quick, and its record so small, that everything may be kept of it unasked.
    pub fn is_small(&self) -> bool {
        self.model.components.iter().map(|component| component.parameters).sum::<u64>() <= SMALL_MODEL
    }

    /// The weight files on disk, in the order of the model's components and of their pieces. Those of an embedded model do
    /// not exist.
    pub fn weight_files(&self) -> &[PathBuf] {
        &self.weight_files
    }

    /// The size of picture it was trained on, width and height in pixels.
    pub fn native_size(&self) -> usize {
        self.unet.config().sample_size as usize * self.model.vae_scale_factor
    }

    /// The scheduler that the model's own configuration names.
    ///
    /// # Errors
    /// When it is not implemented: then one must be chosen.
    pub fn default_scheduler(&self) -> Result<SchedulerKind> {
        match &self.scheduler_config.class_name {
            Some(class) => {
                let kind = SchedulerKind::from_class_name(class, &self.scheduler_config);
                kind.map_err(|error| self.scheduler_config.path.iter().fold(error, |error, path| error.blaming(path)))
            }
            None => Ok(SchedulerKind::Pndm),
        }
    }

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

    /// Checks a plan and resolves it to a record: tokens, schedule, every scheduler setting. Nothing is computed yet.
    ///
    /// # Errors
    /// When the plan cannot be carried out with this model.
    pub fn plan(&self, plan: &Plan) -> Result<(RunRecord, Box<dyn Scheduler>)> {
        limits::check_plan(plan, self.model.vae_scale_factor)?;
        let kind = SchedulerKind::parse(&plan.scheduler)?;
        let scheduler = scheduler::build(kind, &self.scheduler_config, plan.steps, plan.eta)?;
        self.text_encoder.check_clip_skip(plan.clip_skip)?;
        let begin = if plan.mask.is_some() { start::begin_behind_mask } else { start::begin };
        let begin = plan.strength.map(|s| begin(scheduler.as_ref(), plan.steps, s)).transpose()?;
        let first_call = begin.as_ref().map_or(0, |begin| begin.first_call);
        let mut schedule = levels(scheduler.as_ref(), first_call);
        let (calls, factor) = (schedule.len() - 1, self.model.vae_scale_factor);
        let hires = hires::plan(plan, &self.scheduler_config, factor, calls)?.map(|(second, scheduler)| {
            schedule.extend(levels(scheduler.as_ref(), second.begin.first_call));
            second
        });
        let (tokens, conditions) = self.read_prompts(plan, calls)?;
        let mut plan = plan.clone();
        plan.scheduler = kind.name().into();
        plan.scheduler_config = self.scheduler_config.resolve(kind)?.to_json();
        let largest = hires.as_ref().map_or((plan.width, plan.height), |second| (second.width, second.height));
        plan.vae_tile = self.vae_tile(largest.0, largest.1);
        let draws = if scheduler.is_stochastic() && hires.is_none() { 1 + calls } else { 1 };
        self.check_memory(&plan, largest, draws)?;
        let record = RunRecord {
            schema_version: SCHEMA_VERSION,
            sdviz_version: env!("CARGO_PKG_VERSION").into(),
            status: Status::Running,
            failure: None,
            plan,
            model: self.model.clone(),
            tokens,
            conditions,
            schedule,
            begin,
            hires,
            on_step: None,
            environment: self.environment(),
            timings: Timings::default(),
        };
        Ok((record, scheduler))
    }

    /// Refuses pictures of a size, or a batch of them, for which there is no memory. The devices that have their own say so
    /// themselves.
    fn check_memory(&self, plan: &Plan, size: (usize, usize), draws: usize) -> Result<()> {
        limits::check_side("width", size.0)?;
        limits::check_side("height", size.1)?;
        if self.options.device != Device::Cpu {
            return Ok(());
        }
        let demand = Demand::of(plan, (self.unet.config(), self.vae.config()), size);
        let widths = (self.options.kind.elt_size_in_bytes(), self.vae.kind().elt_size_in_bytes());
        Demand { widths, tile: plan.vae_tile, draws, ..demand }.check(limits::memory())
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

    /// Carries out a plan, shown to the observers behind `probe`.
    ///
    /// # Errors
    /// When the plan cannot be carried out, a tensor is not finite, or an observer fails.
    pub fn generate(&self, plan: &Plan, probe: &Probe) -> Result<Outcome> {
        limits::check_plan(plan, self.model.vae_scale_factor)?;
        self.generate_shared(plan, &seeds(plan), &Shared::nothing(), None, probe)
    }

    /// Carries out a plan with a strength, from a picture of the plan's size and with its mask if it has one.
    ///
    /// # Errors
    /// As [`Pipeline::generate`]; also when the picture does not fit the plan.
    pub fn generate_from(&self, plan: &Plan, input: &Input, probe: &Probe) -> Result<Outcome> {
        limits::check_plan(plan, self.model.vae_scale_factor)?;
        self.generate_shared(plan, &seeds(plan), &Shared::nothing(), Some(input), probe)
    }

    /// Carries out a plan with one seed per picture of the batch, whatever they are (`plan.seed` is not used), taking
    /// from `shared` what an earlier run has left there, and leaving there what a later one can use. It begins from the
    /// picture `input`, if the plan has a strength, else from noise.
    ///
    /// # Errors
    /// As [`Pipeline::generate_from`]; also when there are not as many seeds as pictures in the batch.
    pub fn generate_shared(
        &self,
        plan: &Plan,
        seeds: &[u64],
        shared: &Shared,
        input: Option<&Input>,
        probe: &Probe,
    ) -> Result<Outcome> {
        let _no_gradients = tch::no_grad_guard();
        if seeds.len() != plan.batch_size {
            let message = format!("{} seeds for a batch of {}", seeds.len(), plan.batch_size);
            return Err(Error::invalid(message, "give each picture its seed"));
        }
        let (record, mut scheduler) = self.plan(plan)?;
        let plan = &record.plan;
        check_input(plan, input)?;
        let clock = Clock::new(self.options.device);
        if probe.tell(&Event::Begin(&record))? == Flow::Stop {
            return Err(Error::Cancelled);
        }

        let conditioning = &clock.time("text", || self.condition(&record, shared, probe))?;

        let calls = record.hires.as_ref().map_or(record.last_step(), |second| second.first_step - 1);
        let draws = start::draws(input) + if scheduler.is_stochastic() { calls } else { 0 };
        let mut noise = shared.noise(seeds, &self.latent_shape(plan), draws);
        let first_call = record.begin.as_ref().map_or(0, |begin| begin.first_call);
        let device = self.options.device;
        let start = match input.map(|input| (input, first_call)) {
            None => start::from_noise(scheduler.as_ref(), &mut noise, device, probe),
            Some(from) => start::from_picture(&self.vae, scheduler.as_ref(), from, &mut noise, device, (probe, &clock)),
        }?;

        let mut teller = Teller::new(&self.vae, probe, &clock, &record);
        let (unet, vae, factor, clock) = (&self.unet, &self.vae, self.model.vae_scale_factor, &clock);
        let (kept, scheduler, noise) = (start.kept.as_ref(), scheduler.as_mut(), &mut noise);
        let mut denoise =
            Denoise { unet, scheduler, conditioning, noise, first_call, first_step: 0, kept, probe, clock };
        let mut denoised = denoise.run(start.latents, &mut teller)?;
        let second = hires::plan(plan, &self.scheduler_config, factor, calls)?;
        if let Some((second, mut scheduler)) = second.filter(|_| !denoised.stopped) {
            let enlarge = hires::Enlarge { vae, second: &second, factor, device, probe, clock };
            let (start, mut noise) =
                enlarge.start(&denoised.latents, (seeds, draws), scheduler.as_ref(), &mut teller)?;
            let (first_call, first_step) = (second.begin.first_call, second.first_step);
            let (scheduler, noise) = (scheduler.as_mut(), &mut noise);
            let mut denoise = Denoise { scheduler, noise, first_call, first_step, kept: None, ..denoise };
            denoised = denoise.run(start, &mut teller)?;
        }
        let wanted = !denoised.stopped && plan.decode != crate::trace::schema::Decode::Nothing;
        let last_step = record.last_step();
        let mut images = if wanted { teller.pictures(&denoised.latents, last_step)? } else { vec![] };
        if let Some(input) = input.filter(|_| plan.paste) {
            images.iter_mut().for_each(|image| *image = input.pasted_over(image));
        }
        if !denoised.stopped {
            probe.tell(&Event::Finished(&images))?;
        }
        Ok(Outcome { latents: denoised.latents, images, stopped: denoised.stopped, stages: clock.stages() })
    }

    /// What the model is told at each step of a run.
    fn condition(&self, record: &RunRecord, shared: &Shared, probe: &Probe) -> Result<Conditioning> {
        let request = Request::of(record, &self.tokenizer)?;
        let encode = |probe: &Probe| request.encode(&self.text_encoder, self.options.device, probe);
        let texts = shared.text(&request.key, probe, encode)?;
        request.arrange(&texts, record.plan.batch_size, probe)
    }

    /// The shape of one picture's latents, `[4, height/8, width/8]`.
    fn latent_shape(&self, plan: &Plan) -> [i64; 3] {
        let factor = self.model.vae_scale_factor;
        [self.unet.config().in_channels, (plan.height / factor) as i64, (plan.width / factor) as i64]
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

/// The seeds of the batch's pictures: consecutive ones, as web UIs have it.
fn seeds(plan: &Plan) -> Vec<u64> {
    (0..plan.batch_size as u64).map(|i| plan.seed.wrapping_add(i)).collect()
}

/// The noise levels before each call from `first_call` on, and after the last.
fn levels(scheduler: &dyn Scheduler, first_call: usize) -> Vec<Level> {
    let level = |call| {
        let level = scheduler.level(call);
        Level {
            timestep: scheduler.timesteps().get(call).copied(),
            sigma: level.sigma,
            alpha_cumprod: level.alpha_cumprod,
            latent_scale: level.latent_scale,
        }
    };
    (first_call..=scheduler.timesteps().len()).map(level).collect()
}

/// The picture is there if and only if the plan has a strength, and fits it.
fn check_input(plan: &Plan, input: Option<&Input>) -> Result<()> {
    match (plan.strength, input) {
        (None, None) => Ok(()),
        (Some(_), None) => {
            Err(Error::invalid("a strength, but no picture to begin from", "name one with `--init-image`"))
        }
        (None, Some(_)) => Err(Error::invalid("a picture to begin from, but no strength", "give the plan a strength")),
        (Some(_), Some(input)) => {
            let planned = (plan.width as u32, plan.height as u32);
            let sizes =
                [Some(input.picture.dimensions()), input.mask.as_ref().map(image::GenericImageView::dimensions)];
            match sizes.into_iter().flatten().find(|size| *size != planned) {
                None => Ok(()),
                Some((width, height)) => Err(Error::invalid(
                    format!(
                        "the initial picture is {width}×{height}, the plan asks for {}×{}",
                        plan.width, plan.height
                    ),
                    "make it fit with `InitImage::fit`",
                )),
            }
        }
    }
}

fn config<C: Config>(files: &ModelFiles, name: &str) -> Result<C> {
    C::parse(&files.required_text(name)?, &files.path(name))
}

/// What there is to tell of a model's configuration files, with their paths.
fn notes(files: &ModelFiles, unet: &UNetConfig, vae: &VaeConfig, scheduler: &SchedulerConfig) -> Vec<String> {
    [
        ("unet/config.json", unet.notes()),
        ("vae/config.json", vae.notes()),
        ("scheduler/scheduler_config.json", scheduler.corrections().to_vec()),
    ]
    .into_iter()
    .flat_map(|(name, notes)| notes.into_iter().map(move |note| format!("`{}`: {note}", files.path(name).display())))
    .collect()
}

fn component_record(name: &str, files: &ModelFiles, file: &str, weights: &WeightFile) -> ComponentRecord {
    ComponentRecord {
        name: name.into(),
        from: files.origin(name).map(String::from),
        file: file.into(),
        sha256: String::new(),
        parameters: weights.parameters(),
        file_dtype: weights.dtype().map(|d| format!("{d:?}").to_lowercase()).unwrap_or_default(),
    }
}

/// Components of one model fit each other.
fn check_fit(text: &TextEncoder, unet: &UNet, vae: &Vae) -> Result<()> {
    let (unet, vae, text) = (unet.config(), vae.config(), text.config());
    let pairs = [
        ("text_encoder hidden_size", text.hidden_size, "unet cross_attention_dim", unet.cross_attention_dim),
        ("unet in_channels", unet.in_channels, "vae latent_channels", vae.latent_channels),
        ("unet out_channels", unet.out_channels, "vae latent_channels", vae.latent_channels),
    ];
    for (a, a_value, b, b_value) in pairs {
        if a_value != b_value {
            return Err(Error::invalid(
                format!("the model's parts do not fit: {a} is {a_value}, {b} is {b_value}"),
                "take all folders from one model",
            ));
        }
    }
    Ok(())
}
