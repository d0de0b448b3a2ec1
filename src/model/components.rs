//! The components of a model, and the files of its folder: the one list that load, inspect, fetch, merge, convert, LoRAs
//! and single files take them from.
//!
//! A second text encoder would be an entry here, and a field of the pipeline with its use.

use super::compvis_names::{self, Depth};
use super::config::TINY_CLASS;
use super::infer::{self, ComponentShapes};
use super::open_clip_names;
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// What a model is and of what parts.
pub const INDEX: &str = "model_index.json";
/// The noise schedule.
pub const SCHEDULER_CONFIG: &str = "scheduler/scheduler_config.json";
/// What a model says of itself beside diffusers' files.
pub const ABOUT_FILE: &str = "sdviz.json";

const TOKENIZER: [&str; 6] = [
    "tokenizer/added_tokens.json",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
];

/// A network with its configuration and weights.
#[derive(Debug)]
pub struct Component {
    /// Its folder; its sites begin with it.
    pub name: &'static str,
    /// Its configuration.
    pub config: &'static str,
    /// What the files with its weights are called before variant and ending.
    pub stem: &'static str,
    /// The Python library with its class, by which the model's index names it.
    pub library: &'static str,
    /// The class.
    pub class: &'static str,
    /// The site of a run that shows what it gives.
    pub output: &'static str,
    /// What its files may hold that the network does not take, by the beginnings and endings of diffusers' names; such
    /// tensors change no number of it.
    pub unused: (&'static [&'static str], &'static [&'static str]),
    /// How a checkpoint in one file has it.
    pub single_file: SingleFileNames,
    /// How LoRAs have it; none changes the autoencoder.
    pub lora: Option<LoraNames>,
}

/// How a checkpoint in one file has a component.
#[derive(Debug)]
pub struct SingleFileNames {
    /// What its keys begin with.
    pub prefix: &'static str,
    /// What all of diffusers' names begin with, which some files leave away after the prefix.
    pub root: &'static str,
    /// Reads its depth and `config.json` off its shapes.
    pub describe: fn(&ComponentShapes, &mut Depth) -> Result<Value>,
    /// diffusers' name of a key, which stands without the prefix.
    pub to_diffusers: fn(&str, &Depth) -> Option<String>,
    /// And back.
    pub to_compvis: fn(&str, &Depth) -> Option<String>,
    /// Beginnings of keys that it may have without use here.
    pub unused: &'static [&'static str],
}

/// How LoRAs have a component.
#[derive(Debug)]
pub struct LoraNames {
    /// What kohya's names begin with.
    pub prefixes: &'static [&'static str],
    /// Today's names of attention projections that older files called the same in all components.
    pub projections: &'static [(&'static str, &'static str)],
}

/// Ids to embeddings.
pub static TEXT_ENCODER: Component = Component {
    name: "text_encoder",
    config: "text_encoder/config.json",
    stem: "model",
    library: "transformers",
    class: "CLIPTextModel",
    output: "text_embeddings",
    // A whole CLIP's: transformers passes over them too.
    unused: (
        &["vision_model.", "visual_projection.", "text_model.vision_model.", "text_model.visual_projection."],
        &["text_projection.weight", "logit_scale"],
    ),
    single_file: SingleFileNames {
        prefix: "cond_stage_model.transformer.",
        root: "text_model.",
        describe: infer::text,
        to_diffusers: |key, depth| match depth.open_clip {
            true => open_clip_names::to_diffusers(key),
            false => key.starts_with("text_model.").then(|| key.to_string()),
        },
        to_compvis: |name, _| Some(name.to_string()),
        unused: open_clip_names::UNUSED,
    },
    lora: Some(LoraNames {
        prefixes: &["lora_te_", "lora_te1_"],
        projections: &[("to_q", "q_proj"), ("to_k", "k_proj"), ("to_v", "v_proj"), ("to_out", "out_proj")],
    }),
};

/// The noise prediction.
pub static UNET: Component = Component {
    name: "unet",
    config: "unet/config.json",
    stem: "diffusion_pytorch_model",
    library: "diffusers",
    class: "UNet2DConditionModel",
    output: "noise_pred",
    unused: (&[], &[]),
    single_file: SingleFileNames {
        prefix: "model.diffusion_model.",
        root: "",
        describe: infer::unet,
        to_diffusers: compvis_names::unet,
        to_compvis: compvis_names::unet_back,
        unused: &[],
    },
    lora: Some(LoraNames { prefixes: &["lora_unet_"], projections: &[("to_out", "to_out.0")] }),
};

/// Latents to pictures, and back.
pub static VAE: Component = Component {
    name: "vae",
    config: "vae/config.json",
    stem: "diffusion_pytorch_model",
    library: "diffusers",
    class: "AutoencoderKL",
    output: "image",
    unused: (&[], &[]),
    single_file: SingleFileNames {
        prefix: "first_stage_model.",
        root: "",
        describe: infer::vae,
        to_diffusers: compvis_names::vae,
        to_compvis: compvis_names::vae_back,
        unused: &["loss.", "model_ema."],
    },
    lora: None,
};

/// Latents to pictures on the way, quickly: not a part of a model, but it may lie beside the parts.
pub static PREVIEW_VAE: Component = Component {
    name: "preview_vae",
    config: "preview_vae/config.json",
    stem: "diffusion_pytorch_model",
    library: "diffusers",
    class: TINY_CLASS,
    output: "image",
    unused: (&[], &[]),
    single_file: SingleFileNames {
        prefix: "preview_vae.",
        root: "",
        describe: infer::vae,
        to_diffusers: |_, _| None,
        to_compvis: |_, _| None,
        unused: &[],
    },
    lora: None,
};

/// All of them, in the order in which a run needs them.
pub static COMPONENTS: [&Component; 3] = [&TEXT_ENCODER, &UNET, &VAE];

impl Component {
    /// Whether the network does not take this tensor, by diffusers' name, though its files may hold it.
    pub fn passes_over(&self, name: &str) -> bool {
        let (beginnings, endings) = self.unused;
        beginnings.iter().any(|begin| name.starts_with(begin)) || endings.iter().any(|end| name.ends_with(end))
    }

    /// The plain weights in one file.
    pub fn weights_file(&self) -> String {
        format!("{}/{}.safetensors", self.name, self.stem)
    }
}

/// The component that is called so.
///
/// # Errors
/// When there is none.
pub fn named(name: &str) -> Result<&'static Component> {
    let all = COMPONENTS.map(|component| component.name);
    COMPONENTS.into_iter().find(|c| c.name == name).ok_or_else(|| Error::unknown("component", name, all))
}

/// The text files of a model folder in alphabetical order, the index first.
pub fn texts() -> Vec<&'static str> {
    let configs = COMPONENTS.iter().map(|component| component.config);
    let mut texts: Vec<&str> = configs.chain(TOKENIZER).chain([SCHEDULER_CONFIG, ABOUT_FILE]).collect();
    texts.sort_unstable();
    texts.insert(0, INDEX);
    texts
}

/// The parts that the index of a model names, as diffusers has them: library and class.
pub fn index(scheduler_class: &str) -> Value {
    let mut parts: Vec<(&str, Value)> =
        COMPONENTS.iter().map(|component| (component.name, json!([component.library, component.class]))).collect();
    parts.push(("scheduler", json!(["diffusers", scheduler_class])));
    parts.push(("tokenizer", json!(["transformers", "CLIPTokenizer"])));
    let absent = ["feature_extractor", "image_encoder", "safety_checker"];
    parts.extend(absent.map(|name| (name, json!([null, null]))));
    parts.push(("_class_name", "StableDiffusionPipeline".into()));
    parts.push(("requires_safety_checker", false.into()));
    parts.sort_unstable_by_key(|(name, _)| *name);
    parts.into_iter().map(|(name, value)| (name.to_string(), value)).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Cells are named, and checkpoints written, in this order: it is part of both.
    #[test]
    fn texts_and_index_keep_their_order() {
        let texts = texts();
        assert_eq!(texts[..4], [INDEX, SCHEDULER_CONFIG, ABOUT_FILE, "text_encoder/config.json"]);
        assert_eq!(texts[9..], ["tokenizer/vocab.json", "unet/config.json", "vae/config.json"]);
        let index = index("PNDMScheduler");
        let names: Vec<&String> = index.as_object().unwrap().keys().collect();
        assert_eq!(names[..3], ["_class_name", "feature_extractor", "image_encoder"]);
        assert_eq!(names[5..], ["scheduler", "text_encoder", "tokenizer", "unet", "vae"]);
    }
}
