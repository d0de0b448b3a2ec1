//! The model's `scheduler_config.json`, and what it means for the scheduler that was chosen.
//!
//! Enters: the JSON file of a diffusers model. Leaves: [`Resolved`], every value that the chosen scheduler reads. The
//! rule is that of diffusers' `from_config`: a field that the file lacks takes the default of the *chosen* class, not of
//! the class that wrote the file; a field that the chosen class does not read changes nothing. A value that is read but
//! not implemented is refused by name.

use super::SchedulerKind;
use super::prediction::Prediction;
use super::resolved::{
    BETA_SCHEDULES, BetaSchedule, FINAL_SIGMAS, FinalSigma, PREDICTIONS, Resolved, SPACINGS, VARIANCES, Variance,
};
use crate::error::{Error, IoContext, Result};
use crate::record::sigmas::Sigmas;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The switch for zero terminal SNR.
const ZERO_SNR: &str = "rescale_betas_zero_snr";
/// No model is trained on more noise levels.
const MOST_TIMESTEPS: usize = 100_000;

/// The fields of a `scheduler_config.json` that matter to the schedulers here, as they stand in the file: `None` means
/// that the field is absent, or that the file lists it in `_use_default_values`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, remote = "Self")]
#[allow(missing_docs, reason = "the names are those of the diffusers classes, whose docs explain them")]
pub struct SchedulerConfig {
    /// The diffusers class that wrote the file, for [`SchedulerKind::from_class_name`].
    #[serde(rename = "_class_name")]
    pub class_name: Option<String>,
    pub num_train_timesteps: Option<usize>,
    pub beta_start: Option<f64>,
    pub beta_end: Option<f64>,
    pub beta_schedule: Option<String>,
    pub trained_betas: Option<Vec<f64>>,
    pub prediction_type: Option<String>,
    pub timestep_spacing: Option<String>,
    pub steps_offset: Option<i64>,
    pub skip_prk_steps: Option<bool>,
    pub set_alpha_to_one: Option<bool>,
    pub clip_sample: Option<bool>,
    pub clip_sample_range: Option<f64>,
    pub thresholding: Option<bool>,
    pub variance_type: Option<String>,
    pub rescale_betas_zero_snr: Option<bool>,
    pub use_karras_sigmas: Option<bool>,
    pub use_exponential_sigmas: Option<bool>,
    pub use_beta_sigmas: Option<bool>,
    pub use_lu_lambdas: Option<bool>,
    pub use_flow_sigmas: Option<bool>,
    pub use_dynamic_shifting: Option<bool>,
    pub shift_terminal: Option<f64>,
    pub sigma_min: Option<f64>,
    pub sigma_max: Option<f64>,
    pub final_sigmas_type: Option<String>,
    pub interpolation_type: Option<String>,
    pub timestep_type: Option<String>,
    pub solver_order: Option<usize>,
    pub solver_type: Option<String>,
    pub algorithm_type: Option<String>,
    pub lower_order_final: Option<bool>,
    pub euler_at_final: Option<bool>,
    #[serde(deserialize_with = "number_or_infinity")]
    pub lambda_min_clipped: Option<f64>,
    pub predict_x0: Option<bool>,
    pub disable_corrector: Option<Vec<usize>>,
    pub solver_p: Option<Value>,
    pub original_inference_steps: Option<usize>,
    pub timestep_scaling: Option<f64>,
    /// Where the noise levels lie, whatever the three switches say; diffusers has no such field.
    pub sigmas: Option<Sigmas>,
    /// Whether zero terminal SNR was asked for, and not just found in the file.
    #[serde(skip)]
    zero_terminal_snr: bool,
    /// The file this was read from, for messages.
    #[serde(skip)]
    pub path: Option<PathBuf>,
    /// The fields that the file sets to `null`, which for most of them is no value at all.
    #[serde(skip)]
    nulls: BTreeSet<String>,
    /// What [`SchedulerConfig::in_pipeline`] set right although the file says otherwise, in words.
    #[serde(skip)]
    corrections: Vec<String>,
}

impl<'de> Deserialize<'de> for SchedulerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        // diffusers' `extract_init_dict`: a field that only holds its writer's default counts as absent.
        if let Some(Value::Array(defaults)) = fields.remove("_use_default_values") {
            fields.retain(|name, _| !defaults.iter().any(|default| default.as_str() == Some(name)));
        }
        let nulls: BTreeSet<String> =
            fields.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()).collect();
        let config = SchedulerConfig::deserialize(Value::Object(fields.clone()));
        let config = config.map_err(|error| serde::de::Error::custom(blamed(fields, &error)))?;
        Ok(SchedulerConfig { nulls, ..config })
    }
}

/// Names the field whose value is of the wrong type.
fn blamed(fields: Map<String, Value>, whole: &serde_json::Error) -> String {
    let wrong = |(name, value): (String, Value)| {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        SchedulerConfig::deserialize(Value::Object(alone)).err().map(|error| format!("`{name}` is {value}: {error}"))
    };
    fields.into_iter().find_map(wrong).unwrap_or_else(|| whole.to_string())
}

/// A number, or one of Python's infinities as [`quoted_infinities`] writes them.
fn number_or_infinity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    match (&value, value.as_f64()) {
        (Value::Null, _) => Ok(None),
        (Value::String(text), _) if text == "-Infinity" => Ok(Some(f64::NEG_INFINITY)),
        (_, Some(number)) => Ok(Some(number)),
        _ => Err(serde::de::Error::custom("not a number")),
    }
}

impl SchedulerConfig {
    /// Reads a `scheduler_config.json`. Errors: [`Error::Io`], [`Error::BadFile`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).at("read", path)?;
        let config = Self::parse(&text).map_err(|e| Error::bad_file(path, "scheduler config", e))?;
        Ok(SchedulerConfig { path: Some(path.to_path_buf()), ..config })
    }

    /// Parses the text of a `scheduler_config.json`, including the bare `-Infinity` that Python writes for
    /// `lambda_min_clipped` and that JSON does not know.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        match serde_json::from_str(text) {
            Err(error) if error.is_syntax() => {
                serde_json::from_str(&quoted_infinities(text)).map_err(|new| if new.is_syntax() { error } else { new })
            }
            done => done,
        }
    }

    /// The configuration as diffusers' Stable Diffusion pipelines take it: `class` is the scheduler that the model's index
    /// names, which goes before the class in the file; the steps have an offset of 1 and samples are not clipped, whatever
    /// an old file says or leaves to its class.
    pub fn in_pipeline(mut self, class: Option<&str>) -> Self {
        if let Some(class) = class {
            self.class_name = Some(class.into());
        }
        let offset = self.steps_offset.replace(1).filter(|offset| *offset != 1);
        let clipped = self.clip_sample.replace(false) == Some(true);
        self.nulls.retain(|field| !["steps_offset", "clip_sample"].contains(&field.as_str()));
        let offset = offset.map(|offset| format!("`steps_offset` is {offset}: taken as 1, as diffusers takes it"));
        let clipped = clipped.then(|| "`clip_sample` is true: taken as false, as diffusers takes it".to_string());
        self.corrections = offset.into_iter().chain(clipped).collect();
        self
    }

    /// The same with what a run asks for itself: where its noise levels lie, and a schedule that begins with nothing of the
    /// signal left, whose timesteps then are spaced `trailing`, for no other spacing visits the last.
    pub fn asked(&self, sigmas: Option<Sigmas>, zero_terminal_snr: bool) -> Self {
        let mut config = self.clone();
        config.sigmas = sigmas.or(config.sigmas);
        if zero_terminal_snr {
            config.zero_terminal_snr = true;
            config.rescale_betas_zero_snr = Some(true);
            config.timestep_spacing = Some("trailing".into());
        }
        config
    }

    /// What [`SchedulerConfig::in_pipeline`] set right although the file says otherwise, in words.
    pub fn corrections(&self) -> &[String] {
        &self.corrections
    }

    /// ᾱ of every training timestep: the noise that a model is trained with, whatever it is sampled with later.
    ///
    /// # Errors
    /// As [`SchedulerConfig::resolve`]; also when the betas make no schedule.
    pub fn training_alphas(&self) -> Result<Vec<f32>> {
        self.alphas(&self.resolve(SchedulerKind::Ddpm)?)
    }

    /// What the configuration means for `kind`. `dpmpp_2m` and `dpmpp_2m_karras` decide `use_karras_sigmas` themselves,
    /// and both with `dpmpp_2m_sde` the `algorithm_type`; every other scheduler takes them from the file.
    ///
    /// Errors: [`Error::Unsupported`] for a value that `kind` reads and this program does not implement,
    /// [`Error::Invalid`] for values that contradict each other.
    pub fn resolve(&self, kind: SchedulerKind) -> Result<Resolved> {
        self.refuse_unsupported(kind)?;
        let leading = !kind.steps_by_sigma();
        let (beta_start, beta_end, beta_schedule) = kind.default_betas();
        let (spacing, solver) = (if leading { "leading" } else { "linspace" }, kind.default_solver_type());
        let own = |field, value: Option<bool>| value.filter(|_| kind.reads(field));
        let resolved = Resolved {
            kind,
            num_train_timesteps: self.num_train_timesteps.unwrap_or(1000),
            beta_start: self.beta_start.unwrap_or(beta_start),
            beta_end: self.beta_end.unwrap_or(beta_end),
            beta_schedule: self.word(kind, "beta_schedule", &self.beta_schedule, beta_schedule, BETA_SCHEDULES)?,
            trained_betas: self.trained_betas.clone(),
            prediction_type: self.word(kind, "prediction_type", &self.prediction_type, "epsilon", PREDICTIONS)?,
            timestep_spacing: self.word(kind, "timestep_spacing", &self.timestep_spacing, spacing, SPACINGS)?,
            steps_offset: self.steps_offset.unwrap_or(0),
            skip_prk_steps: own("skip_prk_steps", self.skip_prk_steps).unwrap_or(false),
            set_alpha_to_one: own("set_alpha_to_one", self.set_alpha_to_one)
                .unwrap_or(matches!(kind, SchedulerKind::Ddim | SchedulerKind::Lcm | SchedulerKind::Tcd)),
            clip_sample: own("clip_sample", self.clip_sample)
                .unwrap_or(matches!(kind, SchedulerKind::Ddim | SchedulerKind::Ddpm)),
            clip_sample_range: self.clip_sample_range.filter(|_| kind.reads("clip_sample_range")).unwrap_or(1.0),
            variance_type: match kind {
                SchedulerKind::Ddpm => {
                    self.word(kind, "variance_type", &self.variance_type, "fixed_small", VARIANCES)?
                }
                _ => Variance::Small,
            },
            rescale_betas_zero_snr: own("rescale_betas_zero_snr", self.rescale_betas_zero_snr).unwrap_or(false),
            original_inference_steps: self
                .original_inference_steps
                .filter(|_| kind.reads("original_inference_steps"))
                .unwrap_or(50),
            timestep_scaling: self.timestep_scaling.filter(|_| kind.reads("timestep_scaling")).unwrap_or(10.0),
            sigmas: self.placed(kind)?,
            sigma_min: self.sigma_min.filter(|_| kind.reads("sigma_min")),
            sigma_max: self.sigma_max.filter(|_| kind.reads("sigma_max")),
            final_sigmas: self.word(kind, "final_sigmas_type", &self.final_sigmas_type, "zero", FINAL_SIGMAS)?,
            solver_order: self.solver_order.filter(|_| kind.reads("solver_order")).unwrap_or(2),
            solver_type: self.word(kind, "solver_type", &self.solver_type, solver, kind.solver_types())?,
            lower_order_final: own("lower_order_final", self.lower_order_final).unwrap_or(true),
            euler_at_final: own("euler_at_final", self.euler_at_final).unwrap_or(false),
            lambda_min_clipped: self
                .lambda_min_clipped
                .filter(|_| kind.reads("lambda_min_clipped"))
                .unwrap_or(f64::NEG_INFINITY),
            disable_corrector: self
                .disable_corrector
                .clone()
                .filter(|_| kind.reads("disable_corrector"))
                .unwrap_or_default(),
        };
        self.check(&resolved)?;
        Ok(resolved)
    }

    /// Values that `kind` reads and that only one setting of is implemented.
    fn refuse_unsupported(&self, kind: SchedulerKind) -> Result<()> {
        let null = |field: &&str| self.nulls.contains(*field) && NULL_IS_FALSE.contains(field);
        if let Some(field) = kind.fields().find(null) {
            return Err(self.unsupported(field, "null", "true, false"));
        }
        let switches = [
            ("thresholding", self.thresholding),
            ("use_lu_lambdas", self.use_lu_lambdas),
            ("use_flow_sigmas", self.use_flow_sigmas),
            ("use_dynamic_shifting", self.use_dynamic_shifting),
        ];
        if let Some((field, _)) = switches.iter().find(|(field, on)| *on == Some(true) && kind.reads(field)) {
            return Err(self.unsupported(field, "true", "false"));
        }
        self.word(kind, "interpolation_type", &self.interpolation_type, "linear", &[("linear", ())])?;
        self.word(kind, "timestep_type", &self.timestep_type, "discrete", &[("discrete", ())])?;
        match kind {
            _ if kind.is_dpmpp_2m() => self.refuse_for_dpmpp(),
            SchedulerKind::Unipc => self.refuse_for_unipc(),
            SchedulerKind::Deis => self.refuse_for_deis(),
            _ => Ok(()),
        }
    }

    fn refuse_for_dpmpp(&self) -> Result<()> {
        match self.algorithm_type.as_deref() {
            // diffusers reads DEIS's value as DPM-Solver++, so that a DEIS file can be used.
            None | Some("dpmsolver++" | "sde-dpmsolver++" | "deis") => {}
            Some(found) => {
                let supported = "`dpmsolver++`, `sde-dpmsolver++`";
                return Err(self.unsupported("algorithm_type", &format!("`{found}`"), supported));
            }
        }
        if let Some(order) = self.solver_order.filter(|order| *order != 2) {
            return Err(self.unsupported("solver_order", &order.to_string(), "2"));
        }
        match self.variance_type.as_deref() {
            Some(found @ ("learned" | "learned_range")) => {
                Err(self.unsupported("variance_type", &format!("`{found}`"), "null"))
            }
            _ => Ok(()),
        }
    }

    fn refuse_for_deis(&self) -> Result<()> {
        match self.algorithm_type.as_deref() {
            None | Some("deis" | "dpmsolver" | "dpmsolver++") => self.refuse_order(),
            Some(found) => Err(self.unsupported("algorithm_type", &format!("`{found}`"), "`deis`")),
        }
    }

    fn refuse_order(&self) -> Result<()> {
        match self.solver_order.filter(|order| !(1..=3).contains(order)) {
            Some(order) => Err(self.unsupported("solver_order", &order.to_string(), "1, 2, 3")),
            None => Ok(()),
        }
    }

    fn refuse_for_unipc(&self) -> Result<()> {
        self.refuse_order()?;
        if self.predict_x0 == Some(false) {
            return Err(self.unsupported("predict_x0", "false", "true"));
        }
        if let Some(solver) = &self.solver_p {
            return Err(self.unsupported("solver_p", &format!("`{solver}`"), "null"));
        }
        match self.shift_terminal {
            Some(value) => Err(self.unsupported("shift_terminal", &value.to_string(), "null")),
            None => Ok(()),
        }
    }

    /// Numbers that make no schedule, and values that are implemented one by one but not together.
    fn check(&self, resolved: &Resolved) -> Result<()> {
        let place = self.place();
        let (train, number) = (resolved.num_train_timesteps, |x: f64| x.is_finite() && x > 0.0);
        if !(2..=MOST_TIMESTEPS).contains(&train) {
            let supported = format!("2 to {MOST_TIMESTEPS}, 1000 for Stable Diffusion");
            return Err(self.unsupported("num_train_timesteps", &train.to_string(), &supported));
        }
        self.check_betas(resolved)?;
        self.check_zero_snr(resolved)?;
        let distilled = resolved.kind.reads("original_inference_steps");
        if distilled && !(1..=train).contains(&resolved.original_inference_steps) {
            let (found, supported) = (resolved.original_inference_steps.to_string(), format!("1 to {train}"));
            return Err(self.unsupported("original_inference_steps", &found, &supported));
        }
        for (field, value) in [
            ("sigma_min", resolved.sigma_min),
            ("sigma_max", resolved.sigma_max),
            ("clip_sample_range", Some(resolved.clip_sample_range)),
            ("timestep_scaling", Some(resolved.timestep_scaling)),
        ] {
            if let Some(value) = value.filter(|value| !number(*value)) {
                return Err(self.unsupported(field, &value.to_string(), "a number above 0"));
            }
        }
        if let (Some(min), Some(max)) = (resolved.sigma_min, resolved.sigma_max)
            && min >= max
        {
            return Err(self.unsupported("sigma_min", &min.to_string(), &format!("below `sigma_max`, {max}")));
        }
        let divides_by_zero = resolved.kind == SchedulerKind::Unipc
            && !resolved.lower_order_final
            && resolved.solver_order > 1
            && resolved.final_sigmas == FinalSigma::Zero;
        if divides_by_zero {
            return Err(Error::invalid(
                format!(
                    "`lower_order_final` false and `final_sigmas_type` `zero` in {place} end in a division by zero"
                ),
                "set `lower_order_final` to true, or `final_sigmas_type` to `sigma_min`",
            ));
        }
        Ok(())
    }

    /// Where nothing is left of the signal, noise says nothing of it.
    fn check_zero_snr(&self, resolved: &Resolved) -> Result<()> {
        let kind = resolved.kind;
        if self.zero_terminal_snr && !kind.reads(ZERO_SNR) {
            let known = SchedulerKind::all().filter(|kind| kind.reads(ZERO_SNR)).map(|kind| format!("`{kind}`"));
            return Err(Error::invalid(
                format!("scheduler `{kind}` has no schedule with zero terminal SNR"),
                format!("these have one: {}", known.collect::<Vec<_>>().join(", ")),
            ));
        }
        let divides = self.zero_terminal_snr || !kind.steps_by_sigma();
        if resolved.rescale_betas_zero_snr && divides && resolved.prediction_type == Prediction::Epsilon {
            return Err(Error::invalid(
                "the model predicts noise, and with zero terminal SNR its first prediction says nothing of the picture",
                "it is for models that predict v (`prediction_type` `v_prediction`)",
            ));
        }
        Ok(())
    }

    /// Each beta takes away a share of the signal.
    fn check_betas(&self, resolved: &Resolved) -> Result<()> {
        let (place, train) = (self.place(), resolved.num_train_timesteps);
        let share = |beta: &f64| *beta > 0.0 && *beta < 1.0;
        match &resolved.trained_betas {
            Some(betas) if betas.len() != train => {
                let message = format!(
                    "`trained_betas` holds {} values in {place}, but `num_train_timesteps` is {train}",
                    betas.len()
                );
                return Err(Error::invalid(message, "give one beta per training timestep"));
            }
            Some(betas) => {
                if let Some(beta) = betas.iter().find(|beta| !share(beta)) {
                    return Err(self.unsupported("trained_betas", &beta.to_string(), "numbers between 0 and 1"));
                }
            }
            // The cosine schedule has no start and no end.
            None if resolved.beta_schedule == BetaSchedule::SquaredCos => {}
            None => {
                let (start, end) = (resolved.beta_start, resolved.beta_end);
                for (field, beta) in [("beta_start", start), ("beta_end", end)] {
                    if !share(&beta) {
                        return Err(self.unsupported(field, &beta.to_string(), "a number between 0 and 1"));
                    }
                }
                if start > end {
                    let supported = format!("up to `beta_end`, {end}");
                    return Err(self.unsupported("beta_start", &start.to_string(), &supported));
                }
            }
        }
        Ok(())
    }

    /// Where `kind` has its noise levels: where the run asks for, or the file's switches say.
    fn placed(&self, kind: SchedulerKind) -> Result<Option<Sigmas>> {
        if let Some(sigmas) = self.sigmas {
            kind.check_sigmas(sigmas)?;
            return Ok(Some(sigmas));
        }
        if kind == SchedulerKind::Dpmpp2mKarras {
            return Ok(Some(Sigmas::Karras));
        }
        let karras = self.use_karras_sigmas.filter(|_| kind != SchedulerKind::Dpmpp2m);
        let switches = [
            (Sigmas::Karras, karras),
            (Sigmas::Exponential, self.use_exponential_sigmas),
            (Sigmas::Beta, self.use_beta_sigmas),
        ];
        let on = |(how, on): &(Sigmas, Option<bool>)| {
            *on == Some(true) && how.diffusers_field().is_some_and(|field| kind.reads(field))
        };
        let mut found = switches.iter().filter(|switch| on(switch)).map(|(how, _)| *how);
        match (found.next(), found.next()) {
            (first, None) => Ok(first),
            (_, Some(second)) => {
                let field = second.diffusers_field().unwrap_or_default();
                Err(self.unsupported(field, "true beside another of its kind", "one of the three at a time"))
            }
        }
    }

    /// ᾱ of a resolved configuration, for those who are about to use it.
    ///
    /// # Errors
    /// When the betas leave all of the signal, or none of it.
    pub(super) fn alphas(&self, resolved: &Resolved) -> Result<Vec<f32>> {
        let alphas = super::betas::alphas_cumprod(resolved)?;
        let all = if resolved.rescale_betas_zero_snr { alphas.len().saturating_sub(2) } else { alphas.len() - 1 };
        let falls = alphas.first().is_some_and(|first| *first < 1.0) && alphas.get(all).is_some_and(|last| *last > 0.0);
        if falls {
            return Ok(alphas);
        }
        let place = self.place();
        Err(Error::invalid(
            format!("the betas in {place} make no schedule: they leave all of the signal, or none of it"),
            "Stable Diffusion has `beta_start` 0.00085, `beta_end` 0.012 and `beta_schedule` `scaled_linear`",
        ))
    }

    /// The meaning of a word in the file, or of the default if the file lacks it or `kind` does not read it.
    fn word<T: Copy>(
        &self,
        kind: SchedulerKind,
        field: &str,
        found: &Option<String>,
        default: &str,
        known: &[(&str, T)],
    ) -> Result<T> {
        let word = found.as_deref().filter(|_| kind.reads(field)).unwrap_or(default);
        let meaning = known.iter().find(|(name, _)| *name == word).map(|(_, meaning)| *meaning);
        meaning
            .ok_or_else(|| self.unsupported(field, &format!("`{word}`"), &quoted(known.iter().map(|(name, _)| name))))
    }

    fn unsupported(&self, field: &str, found: &str, supported: &str) -> Error {
        let (field, found) = (field.to_string(), found.to_string());
        Error::Unsupported { field, found, place: self.place(), supported: supported.to_string() }
    }

    fn place(&self) -> String {
        self.path.as_ref().map_or("the scheduler config".to_string(), |path| format!("`{}`", path.display()))
    }
}

/// Switches that are on unless a file says otherwise: null is off to Python, and no value at all to others.
const NULL_IS_FALSE: &[&str] = &["set_alpha_to_one", "clip_sample", "lower_order_final", "predict_x0"];

fn quoted<'a>(words: impl Iterator<Item = &'a &'a str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Puts Python's bare `Infinity`, `-Infinity` and `NaN` between quotes, outside strings.
fn quoted_infinities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Pieces between quotes are alternately outside and inside strings; no name or value here holds an escaped quote.
    for (i, piece) in text.split('"').enumerate() {
        if i > 0 {
            out.push('"');
        }
        if i % 2 == 0 {
            let piece = piece.replace("Infinity", "\"Infinity\"").replace("NaN", "\"NaN\"");
            out += &piece.replace("-\"Infinity\"", "\"-Infinity\"");
        } else {
            out += piece;
        }
    }
    out
}
