//! What a cell is called: a hash over everything that shapes its bytes.
//!
//! Enters: a cell's plan, and the model it is made with. Leaves: sixteen hexadecimal digits. Weights do not say it all:
//! the same ones draw another picture under another configuration or with another tokenizer. Neither the device nor the
//! folder of the model belongs to it, so that machines which keep the model in different places can share a sweep.

use crate::error::Result;
use crate::model::components;
use crate::model::files::ModelFiles;
use crate::model::fingerprint::of_bytes;
use crate::record::model::ModelRecord;
use crate::record::plan::Plan;
use serde_json::{Map, Value, json};

/// Fields that say where a file came from, and nothing else.
const PROVENANCE: [&str; 3] = ["name_or_path", "special_tokens_map_file", "transformers_version"];

/// What shapes a cell's bytes beside its plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The weights' SHA-256 sums, in the order of the model's components.
    pub weights: Vec<String>,
    /// The SHA-256 sum over configurations and tokenizer.
    pub settings: String,
    /// The dtype the model computes in.
    pub dtype: &'static str,
}

impl Identity {
    /// Of the model in these files.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn new(files: &ModelFiles, weights: Vec<String>, dtype: &'static str) -> Result<Identity> {
        let mut all = Map::new();
        // The scheduler's settings are in the plan, and what stands beside the folders draws nothing.
        let texts = components::texts().into_iter();
        let shaping = texts.filter(|name| name.contains('/') && *name != components::SCHEDULER_CONFIG);
        for name in shaping {
            let Some(text) = files.text(name)? else { continue };
            let essence = match serde_json::from_str::<Value>(&text) {
                Ok(Value::Object(fields)) if name.ends_with("config.json") => json!(essence(fields)),
                _ => of_bytes(text.as_bytes()).into(),
            };
            all.insert(name.into(), essence);
        }
        Ok(Identity { weights, settings: of_bytes(Value::Object(all).to_string().as_bytes()), dtype })
    }

    /// The name of the cell that this plan makes.
    pub fn name(&self, plan: &Plan, model: &ModelRecord) -> String {
        let mut all = json!({
            "plan": plan_without_names(plan), "weights": self.weights, "settings": self.settings, "dtype": self.dtype,
            "prediction_type": model.prediction_type, "scaling_factor": model.scaling_factor,
            "class_name": model.class_name,
        });
        if !model.loras.is_empty() {
            let loras = model.loras.iter().map(|lora| json!({ "sha256": lora.sha256, "weight": lora.weight }));
            all["loras"] = loras.collect();
        }
        if !model.embeddings.is_empty() {
            let embeddings = model.embeddings.iter().map(|e| json!({ "name": e.name, "sha256": e.sha256 }));
            all["embeddings"] = embeddings.collect();
        }
        if let Some(preview) = &model.preview {
            all["preview"] = json!({ "sha256": preview.sha256, "map": preview.map });
        }
        of_bytes(all.to_string().as_bytes()).chars().take(16).collect()
    }
}

/// A configuration in one order, without what has no effect: a copy that another program has written anew means the same.
fn essence(fields: Map<String, Value>) -> Map<String, Value> {
    let private = |name: &str| name.starts_with('_') || PROVENANCE.contains(&name);
    let mut fields: Vec<_> = fields.into_iter().filter(|(name, value)| !private(name) && !value.is_null()).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    let inner = |value| match value {
        Value::Object(inner) => Value::Object(essence(inner)),
        other => other,
    };
    fields.into_iter().map(|(name, value)| (name, inner(value))).collect()
}

fn plan_without_names(plan: &Plan) -> Value {
    let mut plan = json!(plan);
    if let Value::Object(fields) = &mut plan {
        // Fields that a later version adds stay out of it as long as they are not used.
        fields.retain(|_, value| !value.is_null());
        // A picture is what is in it, not what it is called.
        for picture in ["init_image", "mask"] {
            if let Some(Value::Object(about)) = fields.get_mut(picture) {
                about.remove("file");
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::record::model::{EmbeddingRecord, LoraRecord};

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, ModelFiles) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let files = ModelFiles::Folder(dir.path().to_path_buf());
        (dir, files)
    }

    const MODEL: [(&str, &str); 3] = [
        ("unet/config.json", r#"{"attention_head_dim": 8, "norm_eps": 1e-5}"#),
        ("tokenizer/vocab.json", r#"{"a": 0}"#),
        ("tokenizer/special_tokens_map.json", r#"{"pad_token": "!"}"#),
    ];

    fn settings(changed: &str, text: &str) -> String {
        let files: Vec<_> = MODEL.into_iter().filter(|(name, _)| *name != changed).chain([(changed, text)]).collect();
        let (_dir, files) = folder(&files);
        Identity::new(&files, vec![], "f32").unwrap().settings
    }

    #[test]
    fn configurations_and_tokenizer_belong_to_the_name() {
        let same = settings(MODEL[0].0, MODEL[0].1);
        for (name, text) in [
            ("unet/config.json", r#"{"attention_head_dim": 4, "norm_eps": 1e-5}"#),
            ("unet/config.json", r#"{"attention_head_dim": 8, "norm_eps": 1e-6}"#),
            ("text_encoder/config.json", r#"{"hidden_act": "gelu"}"#),
            ("vae/config.json", r#"{"force_upcast": false}"#),
            ("tokenizer/vocab.json", r#"{"b": 0}"#),
            ("tokenizer/merges.txt", "a b"),
            ("tokenizer/special_tokens_map.json", r#"{"pad_token": "<|endoftext|>"}"#),
            ("tokenizer/added_tokens.json", r#"{"<house>": 49408}"#),
            ("tokenizer/tokenizer_config.json", r#"{"model_max_length": 64}"#),
        ] {
            assert_ne!(settings(name, text), same, "{name}: {text}");
        }
    }

    #[test]
    fn what_has_no_effect_does_not() {
        let same = settings(MODEL[0].0, MODEL[0].1);
        let copied = r#"{"_diffusers_version": "0.9", "norm_eps": 1e-5, "attention_head_dim": 8, "_name_or_path": "/a", "x": null}"#;
        assert_eq!(settings("unet/config.json", copied), same);
        let (dir, files) = folder(&MODEL);
        std::fs::write(dir.path().join("model_index.json"), "{}").unwrap();
        assert_eq!(Identity::new(&files, vec![], "f32").unwrap().settings, same);
    }

    #[test]
    fn everything_else_that_shapes_a_cell_does_too() {
        let identity = |weights: &str, dtype| Identity { weights: vec![weights.into()], settings: "s".into(), dtype };
        let (plan, model) = (Plan::default(), ModelRecord::default());
        let plain = identity("w", "f32").name(&plan, &model);
        assert_eq!(plain.len(), 16);
        let lora = |sha256: &str, weight| ModelRecord {
            loras: vec![LoraRecord { sha256: sha256.into(), weight, ..LoraRecord::default() }],
            ..ModelRecord::default()
        };
        let embedding = |name: &str| ModelRecord {
            embeddings: vec![EmbeddingRecord { name: name.into(), ..EmbeddingRecord::default() }],
            ..ModelRecord::default()
        };
        let mut names = vec![
            plain,
            identity("v", "f32").name(&plan, &model),
            identity("w", "f16").name(&plan, &model),
            Identity { settings: "t".into(), ..identity("w", "f32") }.name(&plan, &model),
            identity("w", "f32").name(&Plan { seed: (1 << 53) + 1, ..plan.clone() }, &model),
            identity("w", "f32").name(&Plan { seed: 1 << 53, ..plan.clone() }, &model),
            identity("w", "f32").name(&plan, &lora("a", 1.0)),
            identity("w", "f32").name(&plan, &lora("b", 1.0)),
            identity("w", "f32").name(&plan, &lora("a", 0.5)),
            identity("w", "f32").name(&plan, &embedding("<a>")),
            identity("w", "f32").name(&plan, &embedding("<b>")),
        ];
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        let elsewhere = ModelRecord { id: "/another/folder".into(), ..ModelRecord::default() };
        assert_eq!(identity("w", "f32").name(&plan, &elsewhere), identity("w", "f32").name(&plan, &model));
    }
}
