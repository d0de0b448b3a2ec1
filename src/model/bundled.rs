//! What is inside the program: the pocket model, and CLIP's tokenizer for checkpoints that bring none. A program that is
//! built from a registry's crate, which has no room for the model's weights, is without the model.

/// A file inside the program: its name in the model folder and its bytes.
pub type EmbeddedFile = (&'static str, &'static [u8]);

/// Aligns a file's bytes, so that its tensors can be used where they lie.
#[cfg(not(without_pocket))]
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

#[cfg(not(without_pocket))]
macro_rules! embed {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, {
            static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!("../../assets/pocket/", $name)));
            &FILE.0
        })),+]
    };
}

/// The embedded model's files; none in a program that is without it.
#[cfg(without_pocket)]
pub static POCKET_FILES: &[EmbeddedFile] = &[];

/// The embedded model's files; none in a program that is without it.
#[cfg(not(without_pocket))]
pub static POCKET_FILES: &[EmbeddedFile] = embed![
    "model_index.json",
    "preview_vae/config.json",
    "preview_vae/diffusion_pytorch_model.safetensors",
    "scheduler/scheduler_config.json",
    "sdviz.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
];

/// What the embedded model is called.
pub const POCKET: &str = "pocket";

/// CLIP's tokenizer, by the names of its files in a model folder.
pub const CLIP_TOKENIZER: [(&str, &str); 3] = [
    ("tokenizer/merges.txt", include_str!("../../assets/clip-tokenizer/merges.txt")),
    ("tokenizer/tokenizer_config.json", include_str!("../../assets/clip-tokenizer/tokenizer_config.json")),
    ("tokenizer/vocab.json", include_str!("../../assets/clip-tokenizer/vocab.json")),
];
