//! The values that a scheduler runs with, their words in a `scheduler_config.json`, and which class reads which.
//!
//! Enters: nothing; [`super::SchedulerConfig::resolve`] fills it in. Leaves: [`Resolved`], typed for the algorithms and as
//! JSON for the record of a run.

use super::SchedulerKind;
use super::prediction::Prediction;
use crate::record::sigmas::Sigmas;
use serde_json::{Map, Value, json};

/// How the betas run from the first training timestep to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BetaSchedule {
    /// `linear`: evenly from `beta_start` to `beta_end`.
    Linear,
    /// `scaled_linear`: their square roots evenly (latent diffusion, Stable Diffusion 1.x).
    ScaledLinear,
    /// `squaredcos_cap_v2`: from ᾱ = cos²(…), capped at 0.999 (Nichol and Dhariwal 2021); `beta_start` is not used.
    SquaredCos,
}

/// Which training timesteps are visited (table 2 of Lin et al. 2023, arXiv 2305.08891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// Evenly, with both ends.
    Linspace,
    /// Multiples of a whole ratio from 0 up, plus `steps_offset`: misses the last training timesteps.
    Leading,
    /// Multiples of the exact ratio from the last training timestep down.
    Trailing,
}

/// The variance of DDPM's noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variance {
    /// `fixed_small`: the posterior's variance.
    Small,
    /// `fixed_small_log`: the same, by way of its logarithm.
    SmallLog,
    /// `fixed_large`: beta.
    Large,
}

/// The sigma at which the last step arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalSigma {
    /// `zero`.
    Zero,
    /// `sigma_min`: the sigma of training timestep 0.
    SigmaMin,
}

/// The variant of a multistep solver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Solver {
    /// DPM-Solver++ `midpoint`.
    Midpoint,
    /// DPM-Solver++ `heun`.
    Heun,
    /// UniPC `bh1`, B(h) = h.
    Bh1,
    /// UniPC `bh2`, B(h) = exp(h) − 1.
    Bh2,
    /// DEIS `logrho`, polynomials in the logarithm of sigma.
    LogRho,
}

pub(super) const BETA_SCHEDULES: &[(&str, BetaSchedule)] = &[
    ("linear", BetaSchedule::Linear),
    ("scaled_linear", BetaSchedule::ScaledLinear),
    ("squaredcos_cap_v2", BetaSchedule::SquaredCos),
];
pub(super) const PREDICTIONS: &[(&str, Prediction)] =
    &[("epsilon", Prediction::Epsilon), ("v_prediction", Prediction::Velocity)];
pub(super) const SPACINGS: &[(&str, Spacing)] =
    &[("linspace", Spacing::Linspace), ("leading", Spacing::Leading), ("trailing", Spacing::Trailing)];
pub(super) const VARIANCES: &[(&str, Variance)] =
    &[("fixed_small", Variance::Small), ("fixed_small_log", Variance::SmallLog), ("fixed_large", Variance::Large)];
pub(super) const FINAL_SIGMAS: &[(&str, FinalSigma)] =
    &[("zero", FinalSigma::Zero), ("sigma_min", FinalSigma::SigmaMin)];
// Words of other classes are read as diffusers reads them, so that one model's file serves every solver.
const DPMPP_SOLVERS: &[(&str, Solver)] = &[
    ("midpoint", Solver::Midpoint),
    ("heun", Solver::Heun),
    ("logrho", Solver::Midpoint),
    ("bh1", Solver::Midpoint),
    ("bh2", Solver::Midpoint),
];
const UNIPC_SOLVERS: &[(&str, Solver)] = &[
    ("bh2", Solver::Bh2),
    ("bh1", Solver::Bh1),
    ("midpoint", Solver::Bh2),
    ("heun", Solver::Bh2),
    ("logrho", Solver::Bh2),
];

impl SchedulerKind {
    /// The fields that the diffusers class reads, beside `_class_name`.
    pub(super) fn fields(self) -> impl Iterator<Item = &'static str> {
        let common = "num_train_timesteps beta_start beta_end beta_schedule trained_betas prediction_type \
                      timestep_spacing steps_offset";
        let own = match self {
            SchedulerKind::Pndm => "skip_prk_steps set_alpha_to_one",
            SchedulerKind::Ddim => "set_alpha_to_one clip_sample clip_sample_range thresholding rescale_betas_zero_snr",
            SchedulerKind::Ddpm => "variance_type clip_sample clip_sample_range thresholding rescale_betas_zero_snr",
            SchedulerKind::Lms | SchedulerKind::Dpm2 | SchedulerKind::Dpm2A | SchedulerKind::DpmppSde => {
                "use_karras_sigmas use_exponential_sigmas use_beta_sigmas sigma_min sigma_max"
            }
            SchedulerKind::Euler => {
                "interpolation_type timestep_type use_karras_sigmas use_exponential_sigmas use_beta_sigmas \
                 sigma_min sigma_max final_sigmas_type rescale_betas_zero_snr"
            }
            SchedulerKind::EulerA => "rescale_betas_zero_snr",
            SchedulerKind::Heun => {
                "use_karras_sigmas use_exponential_sigmas use_beta_sigmas sigma_min sigma_max clip_sample \
                 clip_sample_range"
            }
            SchedulerKind::Dpmpp2sA => "use_karras_sigmas use_exponential_sigmas use_beta_sigmas",
            SchedulerKind::Dpmpp2m | SchedulerKind::Dpmpp2mKarras | SchedulerKind::Dpmpp2mSde => {
                "solver_order algorithm_type solver_type lower_order_final euler_at_final thresholding \
                 use_karras_sigmas use_exponential_sigmas use_beta_sigmas use_lu_lambdas use_flow_sigmas \
                 use_dynamic_shifting sigma_min sigma_max final_sigmas_type lambda_min_clipped variance_type \
                 rescale_betas_zero_snr"
            }
            SchedulerKind::Unipc => {
                "solver_order predict_x0 solver_type lower_order_final disable_corrector solver_p thresholding \
                 use_karras_sigmas use_exponential_sigmas use_beta_sigmas use_flow_sigmas use_dynamic_shifting \
                 shift_terminal sigma_min sigma_max final_sigmas_type rescale_betas_zero_snr"
            }
            SchedulerKind::Deis => {
                "solver_order algorithm_type solver_type lower_order_final thresholding use_karras_sigmas \
                 use_exponential_sigmas use_beta_sigmas use_flow_sigmas use_dynamic_shifting sigma_min sigma_max"
            }
            SchedulerKind::Lcm | SchedulerKind::Tcd => {
                "original_inference_steps timestep_scaling clip_sample clip_sample_range set_alpha_to_one thresholding \
                 rescale_betas_zero_snr"
            }
        };
        common.split_whitespace().chain(own.split_whitespace())
    }

    pub(super) fn reads(self, field: &str) -> bool {
        self.fields().any(|name| name == field)
    }

    pub(super) fn default_solver_type(self) -> &'static str {
        match self {
            SchedulerKind::Unipc => "bh2",
            SchedulerKind::Deis => "logrho",
            _ => "midpoint",
        }
    }

    pub(super) fn solver_types(self) -> &'static [(&'static str, Solver)] {
        match self {
            SchedulerKind::Unipc => UNIPC_SOLVERS,
            SchedulerKind::Deis => DEIS_SOLVERS,
            _ => DPMPP_SOLVERS,
        }
    }

    /// What `algorithm_type` says of the class where the scheduler is this one.
    pub(super) fn algorithm(self) -> &'static str {
        match self {
            SchedulerKind::Deis => "deis",
            SchedulerKind::Dpmpp2mSde => "sde-dpmsolver++",
            _ => "dpmsolver++",
        }
    }

    /// Whether it is one of those that diffusers' `DPMSolverMultistepScheduler` is.
    pub(super) fn is_dpmpp_2m(self) -> bool {
        matches!(self, SchedulerKind::Dpmpp2m | SchedulerKind::Dpmpp2mKarras | SchedulerKind::Dpmpp2mSde)
    }

    /// Whether it is DPM-Solver-2, with or without ancestral noise.
    pub(super) fn is_dpm2(self) -> bool {
        matches!(self, SchedulerKind::Dpm2 | SchedulerKind::Dpm2A)
    }

    /// Whether it reckons with sigmas, which must be finite, and not with ᾱ: then they can be placed too.
    pub(super) fn steps_by_sigma(self) -> bool {
        self.takes_sigmas()
    }

    /// `beta_start`, `beta_end` and `beta_schedule` where a file lacks them.
    pub(super) fn default_betas(self) -> (f64, f64, &'static str) {
        use SchedulerKind::{Dpm2, Dpm2A, Dpmpp2sA, DpmppSde, Heun, Lcm, Tcd};
        match self {
            Heun | Dpm2 | Dpm2A | DpmppSde | Dpmpp2sA => (0.00085, 0.012, "linear"),
            Lcm | Tcd => (0.00085, 0.012, "scaled_linear"),
            _ => (0.0001, 0.02, "linear"),
        }
    }
}

const DEIS_SOLVERS: &[(&str, Solver)] = &[
    ("logrho", Solver::LogRho),
    ("midpoint", Solver::LogRho),
    ("heun", Solver::LogRho),
    ("bh1", Solver::LogRho),
    ("bh2", Solver::LogRho),
];

/// Every value that a scheduler runs with, after the file and the class's defaults have been put together.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the diffusers classes, whose docs explain them")]
pub struct Resolved {
    pub kind: SchedulerKind,
    pub num_train_timesteps: usize,
    pub beta_start: f64,
    pub beta_end: f64,
    pub beta_schedule: BetaSchedule,
    pub trained_betas: Option<Vec<f64>>,
    pub prediction_type: Prediction,
    pub timestep_spacing: Spacing,
    pub steps_offset: i64,
    pub skip_prk_steps: bool,
    pub set_alpha_to_one: bool,
    pub clip_sample: bool,
    pub clip_sample_range: f64,
    pub variance_type: Variance,
    pub rescale_betas_zero_snr: bool,
    pub original_inference_steps: usize,
    pub timestep_scaling: f64,
    pub sigmas: Option<Sigmas>,
    pub sigma_min: Option<f64>,
    pub sigma_max: Option<f64>,
    pub final_sigmas: FinalSigma,
    pub solver_order: usize,
    pub solver_type: Solver,
    pub lower_order_final: bool,
    pub euler_at_final: bool,
    pub lambda_min_clipped: f64,
    pub disable_corrector: Vec<usize>,
}

impl Resolved {
    /// The clip range if predictions of x0 are clipped.
    pub fn clip(&self) -> Option<f64> {
        self.clip_sample.then_some(self.clip_sample_range)
    }

    /// A `scheduler_config.json` that holds the effective value of every field the scheduler reads: diffusers builds
    /// the same scheduler from it. An infinite `lambda_min_clipped`, the default, is left out: JSON cannot hold it.
    pub fn to_json(&self) -> Value {
        let mut json = Map::new();
        json.insert("_class_name".into(), self.kind.class_name().into());
        let unset = |field: &str| field == "lambda_min_clipped" && self.lambda_min_clipped.is_infinite();
        for field in self.kind.fields().filter(|field| !unset(field)) {
            json.insert(field.into(), self.field(field));
        }
        // What diffusers has no field for.
        if let Some(sigmas) = self.sigmas.filter(|how| !how.diffusers_field().is_some_and(|f| self.kind.reads(f))) {
            json.insert("sigmas".into(), json!(sigmas));
        }
        Value::Object(json)
    }

    fn field(&self, name: &str) -> Value {
        match name {
            "num_train_timesteps" => json!(self.num_train_timesteps),
            "beta_start" => json!(self.beta_start),
            "beta_end" => json!(self.beta_end),
            "beta_schedule" => word(BETA_SCHEDULES, self.beta_schedule),
            "trained_betas" => json!(self.trained_betas),
            "prediction_type" => word(PREDICTIONS, self.prediction_type),
            "timestep_spacing" => word(SPACINGS, self.timestep_spacing),
            "steps_offset" => json!(self.steps_offset),
            "skip_prk_steps" => json!(self.skip_prk_steps),
            "set_alpha_to_one" => json!(self.set_alpha_to_one),
            "clip_sample" => json!(self.clip_sample),
            "clip_sample_range" => json!(self.clip_sample_range),
            "variance_type" if self.kind == SchedulerKind::Ddpm => word(VARIANCES, self.variance_type),
            "use_karras_sigmas" | "use_exponential_sigmas" | "use_beta_sigmas" => {
                json!(self.sigmas.and_then(Sigmas::diffusers_field) == Some(name))
            }
            "rescale_betas_zero_snr" => json!(self.rescale_betas_zero_snr),
            "original_inference_steps" => json!(self.original_inference_steps),
            "timestep_scaling" => json!(self.timestep_scaling),
            "sigma_min" => json!(self.sigma_min),
            "sigma_max" => json!(self.sigma_max),
            "final_sigmas_type" => word(FINAL_SIGMAS, self.final_sigmas),
            "interpolation_type" => json!("linear"),
            "timestep_type" => json!("discrete"),
            "solver_order" => json!(self.solver_order),
            "solver_type" => word(self.kind.solver_types(), self.solver_type),
            "algorithm_type" => json!(self.kind.algorithm()),
            "lower_order_final" => json!(self.lower_order_final),
            "euler_at_final" => json!(self.euler_at_final),
            "lambda_min_clipped" => json!(self.lambda_min_clipped),
            "predict_x0" => json!(true),
            "disable_corrector" => json!(self.disable_corrector),
            "variance_type" | "solver_p" | "shift_terminal" => Value::Null,
            // The rest are switches of which only `false` is implemented.
            _ => json!(false),
        }
    }
}

/// The first word with this meaning.
fn word<T: PartialEq>(known: &[(&str, T)], meaning: T) -> Value {
    known.iter().find(|(_, m)| *m == meaning).map_or(Value::Null, |(name, _)| json!(name))
}
