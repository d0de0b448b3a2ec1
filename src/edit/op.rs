//! What an edit does, and which keys each says it with: the one table of the operations.

use crate::edit::keys::Keys;
use crate::edit::selector::{self, Word};
use crate::edit::tensor_file::TensorFile;
use crate::error::{Error, Result};

/// What is done to what an edit selects.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// All numbers become 0.
    Zero,
    /// Times a number.
    Scale(f64),
    /// No number below the first or above the second.
    Clamp(f64, f64),
    /// The mean, over places, tokens, channels or the batch.
    Mean(Over),
    /// Each place has what another place of the same tensor has, drawn with replacement.
    Resample(u64),
    /// Noise of this many standard deviations of the tensor is added.
    Noise {
        /// How much, in standard deviations of the tensor.
        std: f64,
        /// The seed of the edit's own generator.
        seed: u64,
    },
    /// A direction is added, so many times.
    Add {
        /// The direction.
        direction: TensorFile,
        /// How many times.
        by: f64,
    },
    /// What lies along a direction is taken out, or is all that is kept.
    Project {
        /// The direction, along the channels.
        direction: TensorFile,
        /// Whether it is kept rather than taken out.
        keep: bool,
    },
    /// A module gives what it was given; what stands beside a residual adds nothing to it.
    Skip,
    /// Each place looks at itself only.
    Identity,
    /// Each place looks everywhere alike.
    Uniform,
    /// The places, or the tokens, in another order.
    Permute(u64),
    /// Words are not looked at; the rest of the attention grows to one.
    Mask,
    /// Words are looked at so many times as much; the rest stays as it is.
    Weigh(f64),
    /// Another prompt is what is looked at.
    Prompt(String),
    /// The tensor of a file.
    Replace(TensorFile),
    /// What another run has there, which runs beside this one.
    Copy {
        /// Which of the plan's donors, from 0.
        from: usize,
        /// How its tokens belong to this run's.
        map: TokenMap,
        /// How much of it: 1 all, 0 nothing.
        blend: f64,
        /// Of latents: the words that stay this run's, where either run looks at them.
        outside: Option<Vec<Word>>,
    },
    /// Another number.
    Set(f64),
    /// The first half of the backbone's channels times `b`, the low frequencies of the skips times `s` (FreeU, Si et al.
    /// 2023, arXiv 2309.11497, as diffusers has it): b1 and s1 in the first block on the way up, b2 and s2 in the second.
    Freeu {
        /// The backbone's.
        b: [f64; 2],
        /// The skips'.
        s: [f64; 2],
    },
}

/// How the tokens of another run's prompt belong to those of this one, where attention to them is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenMap {
    /// Place by place.
    Same,
    /// Word by word where both have as many words, else by the tokens that both have.
    Words,
    /// Word by word: prompt-to-prompt's replacement.
    Replace,
    /// By the tokens that both have; new ones keep their own: prompt-to-prompt's refinement.
    Refine,
}

/// Over what a mean is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// All places of the image, or all tokens of the text.
    Places,
    /// All channels.
    Channels,
    /// The pictures of the batch.
    Batch,
}

/// An operation in the table.
#[derive(Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Whether it names a site.
    pub sited: bool,
    /// Its own keys.
    pub keys: &'static [&'static str],
    /// What it does, in a line.
    pub about: &'static str,
    /// Reads its keys.
    read: fn(&mut Keys) -> Result<Op>,
}

/// Every operation.
pub const KINDS: &[Kind] = &[
    Kind { name: "zero", sited: true, keys: &[], about: "all numbers become 0", read: |_| Ok(Op::Zero) },
    Kind {
        name: "scale",
        sited: true,
        keys: &["by"],
        about: "times a number",
        read: |keys| Ok(Op::Scale(keys.number("by")?)),
    },
    Kind {
        name: "clamp",
        sited: true,
        keys: &["min", "max"],
        about: "no number below `min` or above `max`",
        read: |keys| {
            let (min, max) = (keys.number_or("min", f64::NEG_INFINITY)?, keys.number_or("max", f64::INFINITY)?);
            match min <= max && (min.is_finite() || max.is_finite()) {
                true => Ok(Op::Clamp(min, max)),
                false => Err(Error::invalid("a clamp between nothing", "write `min=-1 max=1`, or one of them")),
            }
        },
    },
    Kind {
        name: "mean",
        sited: true,
        keys: &["over"],
        about: "the mean over `places` (or tokens), `channels` or `batch`",
        read: |keys| Ok(Op::Mean(over(&keys.text_or("over", "places"))?)),
    },
    Kind {
        name: "resample",
        sited: true,
        keys: &["seed"],
        about: "each place has what another place has, drawn with replacement",
        read: |keys| Ok(Op::Resample(keys.seed()?)),
    },
    Kind {
        name: "noise",
        sited: true,
        keys: &["std", "seed"],
        about: "noise of `std` standard deviations of the tensor is added",
        read: |keys| Ok(Op::Noise { std: keys.number("std")?, seed: keys.seed()? }),
    },
    Kind {
        name: "add",
        sited: true,
        keys: &["direction", "key", "by"],
        about: "the tensor of a file is added, `by` times",
        read: |keys| Ok(Op::Add { direction: keys.file("direction")?, by: keys.number_or("by", 1.0)? }),
    },
    Kind {
        name: "project",
        sited: true,
        keys: &["direction", "key", "keep"],
        about: "what lies along a direction of the channels is taken out, or with `keep=true` all that is kept",
        read: |keys| Ok(Op::Project { direction: keys.file("direction")?, keep: keys.yes("keep")? }),
    },
    Kind { name: "skip", sited: true, keys: &[], about: "a module gives what it was given", read: |_| Ok(Op::Skip) },
    Kind {
        name: "identity",
        sited: true,
        keys: &[],
        about: "each place looks at itself only (self-attention)",
        read: |_| Ok(Op::Identity),
    },
    Kind {
        name: "uniform",
        sited: true,
        keys: &[],
        about: "each place looks everywhere alike",
        read: |_| Ok(Op::Uniform),
    },
    Kind {
        name: "permute",
        sited: true,
        keys: &["seed"],
        about: "the places, or the tokens, in another order",
        read: |keys| Ok(Op::Permute(keys.seed()?)),
    },
    Kind {
        name: "mask",
        sited: true,
        keys: &[],
        about: "`words` are not looked at; the rest of the attention grows to one",
        read: |_| Ok(Op::Mask),
    },
    Kind {
        name: "weigh",
        sited: true,
        keys: &["by"],
        about: "`words` are looked at `by` times as much; the rest stays",
        read: |keys| Ok(Op::Weigh(keys.number("by")?)),
    },
    Kind {
        name: "prompt",
        sited: true,
        keys: &["text"],
        about: "another prompt is what is looked at",
        read: |keys| Ok(Op::Prompt(keys.text("text")?)),
    },
    Kind {
        name: "replace",
        sited: true,
        keys: &["file", "key"],
        about: "the tensor of a file",
        read: |keys| Ok(Op::Replace(keys.file("file")?)),
    },
    Kind {
        name: "copy",
        sited: true,
        keys: &["from", "map", "blend", "outside"],
        about: "what the donor (`--donor RUN`) number `from` has there; of attention to words by `map`",
        read: |keys| {
            let blend = keys.number_or("blend", 1.0)?;
            let outside = keys.read("outside", selector::words)?;
            Ok(Op::Copy { from: keys.whole_or("from", 0)?, map: map(&keys.text_or("map", "same"))?, blend, outside })
        },
    },
    Kind {
        name: "set",
        sited: true,
        keys: &["by"],
        about: "another number: `set guidance_scale by=1`",
        read: |keys| Ok(Op::Set(keys.number("by")?)),
    },
    Kind {
        name: "freeu",
        sited: false,
        keys: &["b1", "b2", "s1", "s2"],
        about: "backbone times b, low frequencies of the skips times s, in the first two blocks on the way up",
        read: |keys| {
            let number = |name| keys.number_or(name, 1.0);
            Ok(Op::Freeu { b: [number("b1")?, number("b2")?], s: [number("s1")?, number("s2")?] })
        },
    },
];

impl Kind {
    /// The operation of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(name: &str) -> Result<&'static Kind> {
        let found = KINDS.iter().find(|kind| kind.name == name);
        found.ok_or_else(|| Error::unknown("operation", name, KINDS.iter().map(|kind| kind.name)))
    }

    /// Reads what it is to do.
    pub(super) fn op(&self, keys: &mut Keys) -> Result<Op> {
        (self.read)(keys)
    }
}

fn map(text: &str) -> Result<TokenMap> {
    match text {
        "same" => Ok(TokenMap::Same),
        "words" => Ok(TokenMap::Words),
        "replace" => Ok(TokenMap::Replace),
        "refine" => Ok(TokenMap::Refine),
        _ => Err(Error::unknown("way to map tokens", text, ["same", "words", "replace", "refine"])),
    }
}

fn over(text: &str) -> Result<Over> {
    match text {
        "places" | "tokens" => Ok(Over::Places),
        "channels" => Ok(Over::Channels),
        "batch" => Ok(Over::Batch),
        _ => Err(Error::unknown("way to take a mean", text, ["places", "channels", "batch"])),
    }
}

impl Op {
    /// Whether it changes what an attention looks at, rather than a tensor as such: then whatever encloses attentions
    /// stands for them.
    pub fn is_of_attention(&self) -> bool {
        self.is_mapped() || matches!(self, Op::Identity | Op::Uniform | Op::Mask | Op::Weigh(_) | Op::Prompt(_))
    }

    /// Whether it copies attention to words.
    pub fn is_mapped(&self) -> bool {
        matches!(self, Op::Copy { map, .. } if *map != TokenMap::Same)
    }

    /// The file that it reads, if it reads one.
    pub fn file(&self) -> Option<&TensorFile> {
        match self {
            Op::Add { direction, .. } | Op::Project { direction, .. } => Some(direction),
            Op::Replace(file) => Some(file),
            _ => None,
        }
    }
}
