//! What a single-file checkpoint says of how it was trained, and what is taken for granted where it says nothing.
//!
//! Enters: keys, header and name of the file. Leaves: whether it predicts the noise or v, the size of its latents, and the
//! scheduler's configuration.

use super::infer::{self, Shapes};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// How a checkpoint was trained.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// Whether it predicts v in place of the noise.
    v: bool,
    /// Whether its last training timestep is pure noise.
    zero_snr: bool,
    /// Height and width of its latents.
    pub sample_size: i64,
    /// What was taken for granted, in words.
    pub note: Option<String>,
}

impl Prediction {
    /// As far as the file says it: whoever trained it to predict v leaves a key `v_pred`, and one `ztsnr` where the last
    /// training timestep is pure noise; or the header has the type, as the model specification of Stability AI calls it.
    ///
    /// The published checkpoints of Stable Diffusion 2.x (`open_clip`) say nothing, and there are both kinds: without a
    /// word they predict v, as for diffusers, but for those of 512 pixels, whose names have it.
    pub fn of(path: &Path, shapes: &Shapes, metadata: &HashMap<String, String>, open_clip: bool) -> Prediction {
        let said = metadata.get("modelspec.prediction_type").map(|said| said.trim().to_lowercase());
        let says = |words: &[&str]| said.as_ref().is_some_and(|said| words.contains(&said.as_str()));
        let mut found = Prediction { v: false, zero_snr: shapes.contains_key("ztsnr"), sample_size: 64, note: None };
        if shapes.contains_key("v_pred") || says(&["v", "v_prediction", "v-prediction"]) {
            found.v = true;
        } else if open_clip && !says(&["epsilon", "eps"]) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            found.v = !["512", "base"].iter().any(|word| name.contains(word));
            let (taken, why) = match found.v {
                true => ("v", "as diffusers takes it"),
                false => ("the noise", "by its name"),
            };
            found.note = Some(format!(
                "`{}`: Stable Diffusion 2.x, which does not say what it predicts: taken for {taken}, {why}; if pictures \
                 are wrong, `sdviz convert` it to a folder and change `prediction_type` in \
                 scheduler/scheduler_config.json",
                path.display()
            ));
        }
        if open_clip && found.v {
            found.sample_size = 96;
        }
        found
    }

    /// `scheduler_config.json`.
    pub fn scheduler(&self) -> Value {
        let mut config = infer::scheduler();
        if self.v {
            config["prediction_type"] = "v_prediction".into();
        }
        if self.zero_snr {
            // As diffusers has it: its PNDM does not know of such a schedule.
            config["_class_name"] = "DDIMScheduler".into();
            config["rescale_betas_zero_snr"] = true.into();
            config["timestep_spacing"] = "trailing".into();
        }
        config
    }
}
