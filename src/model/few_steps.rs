//! Models that draw in few steps, told by their files: what to use where a run names neither steps nor guidance scale.
//!
//! Enters: the configurations of a UNet and a scheduler, the class of a pipeline, a model's names. Leaves: [`FewSteps`], or
//! nothing for a model that does not say so. What files leave open, such as a merged LoRA, is not guessed at.

use crate::model::config::UNetConfig;
use crate::scheduler::SchedulerConfig;

/// diffusers' pipeline for latent consistency models, whose usual steps and guidance scale are those here.
pub const LCM_PIPELINE: &str = "LatentConsistencyModelPipeline";
/// Steps of such a model: enough for a strength below 1 to leave some, and as many as any of them was made for.
const STEPS: usize = 4;
/// The guidance scale that a consistency model is told: the default of diffusers' pipeline.
const TOLD: f64 = 8.5;
/// Guidance was distilled into the model: it predicts once a step.
const NO_GUIDANCE: f64 = 1.0;

/// What suits a model that draws in few steps.
#[derive(Debug, Clone, PartialEq)]
pub struct FewSteps {
    /// Steps where none are asked for.
    pub steps: usize,
    /// The guidance scale where none is asked for.
    pub guidance_scale: f64,
    /// What it is, and by what that is told.
    pub why: String,
}

impl FewSteps {
    /// What the files say of a model whose pipeline is `class`. `names` are what it is called.
    ///
    /// Told the guidance scale (`time_cond_proj_dim`) and with the pipeline or the scheduler of consistency models it is
    /// one of these. With the scheduler of LCM or TCD alone it has such a LoRA merged in. SD-Turbo's files differ from a
    /// Stable Diffusion 2.1's only in the spacing of the timesteps, which others have too: its name has to say so as well.
    pub fn told(unet: &UNetConfig, scheduler: &SchedulerConfig, class: &str, names: &[&str]) -> Option<FewSteps> {
        let named = scheduler.class_name.as_deref().unwrap_or_default();
        let few = |guidance_scale, why: String| Some(FewSteps { steps: STEPS, guidance_scale, why });
        match (unet.time_cond_proj_dim, named) {
            (Some(_), _) if named == "LCMScheduler" || class == LCM_PIPELINE => {
                few(TOLD, "a latent consistency model, told the guidance scale".into())
            }
            (None, "LCMScheduler" | "TCDScheduler") => few(NO_GUIDANCE, format!("its scheduler is `{named}`")),
            (None, "EulerDiscreteScheduler" | "EulerAncestralDiscreteScheduler")
                if is_trailing(scheduler) && names.iter().any(|name| says_turbo(name)) =>
            {
                few(NO_GUIDANCE, "a Turbo model: its name, and `trailing` timesteps".into())
            }
            _ => None,
        }
    }
}

/// Timesteps as SD-Turbo has them, in a model that predicts noise and does not begin at nothing of the signal: those that
/// do are spaced so as well.
fn is_trailing(scheduler: &SchedulerConfig) -> bool {
    scheduler.timestep_spacing.as_deref() == Some("trailing")
        && scheduler.prediction_type.as_deref().unwrap_or("epsilon") == "epsilon"
        && scheduler.rescale_betas_zero_snr != Some(true)
}

/// Whether the last part of a name, as of `stabilityai/sd-turbo`, has the word.
fn says_turbo(name: &str) -> bool {
    let last = name.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or_default().to_lowercase();
    last.split(|c: char| !c.is_alphanumeric()).any(|word| word == "turbo")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn told(dim: Option<i64>, scheduler: &serde_json::Value, class: &str, names: &[&str]) -> Option<(usize, f64)> {
        let files = crate::model::files::ModelFiles::pocket().unwrap();
        let mut unet: UNetConfig = files.config(&crate::model::components::UNET).unwrap();
        unet.time_cond_proj_dim = dim;
        let scheduler = SchedulerConfig::parse(&scheduler.to_string()).unwrap();
        let few = FewSteps::told(&unet, &scheduler, class, names)?;
        assert!(!few.why.is_empty());
        Some((few.steps, few.guidance_scale))
    }

    #[test]
    fn a_model_says_that_it_takes_few_steps() {
        let of = |class: &str| json!({ "_class_name": class });
        let (sd, plain) = ("StableDiffusionPipeline", ["my-model"]);
        assert_eq!(told(Some(256), &of("LCMScheduler"), sd, &plain), Some((4, 8.5)));
        assert_eq!(told(Some(256), &of("DDIMScheduler"), LCM_PIPELINE, &plain), Some((4, 8.5)));
        assert_eq!(told(None, &of("LCMScheduler"), sd, &plain), Some((4, 1.0)));
        assert_eq!(told(None, &of("TCDScheduler"), sd, &plain), Some((4, 1.0)));
        assert_eq!(told(None, &of("PNDMScheduler"), sd, &["sd-turbo"]), None);
        // Told the guidance scale, but by another distillation: nobody knows in how many steps.
        assert_eq!(told(Some(256), &of("DDIMScheduler"), sd, &plain), None);
    }

    #[test]
    fn a_turbo_model_is_told_by_name_and_timesteps_together() {
        let sd = "StableDiffusionPipeline";
        let turbo = json!({ "_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing",
            "prediction_type": "epsilon" });
        let with = |field: &str, value: serde_json::Value| {
            let mut other = turbo.clone();
            other[field] = value;
            other
        };
        for name in ["stabilityai/sd-turbo", "/models/SD_Turbo/", "sd.turbo.fp16", r"C:\models\sd-turbo"] {
            assert_eq!(told(None, &turbo, sd, &["", name]), Some((4, 1.0)), "{name}");
        }
        for name in ["my-model", "turbo/v1-4", "turbocharged", ""] {
            assert_eq!(told(None, &turbo, sd, &[name]), None, "{name}");
        }
        let others = [
            ("timestep_spacing", json!("leading")),
            ("prediction_type", json!("v_prediction")),
            ("rescale_betas_zero_snr", json!(true)),
            ("_class_name", json!("DDIMScheduler")),
        ];
        for (field, value) in others {
            assert_eq!(told(None, &with(field, value), sd, &["sd-turbo"]), None, "{field}");
        }
    }
}
