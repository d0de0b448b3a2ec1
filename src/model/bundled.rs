//! The pocket model, inside the program.

use super::files::{EmbeddedFile, ModelFiles};

/// Aligns a file's bytes, so that its tensors can be used where they lie.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

macro_rules! embed {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, {
            static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!("../../assets/pocket/", $name)));
            &FILE.0
        })),+]
    };
}

static FILES: &[EmbeddedFile] = embed![
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
];

/// What the embedded model is called.
pub const POCKET: &str = "pocket";

/// The embedded model's files.
pub fn pocket() -> ModelFiles {
    ModelFiles::Embedded(POCKET, FILES)
}
