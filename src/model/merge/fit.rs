//! Whether models can be mixed: tensors of one shape may still mean different things.
//!
//! Enters: the models. Leaves: nothing, or an error that names the two that differ, and in what.

use crate::error::{Error, Result};
use crate::model::components::{SCHEDULER_CONFIG, TEXT_ENCODER, UNET, VAE};
use crate::model::config::{TextConfig, UNetConfig, VaeConfig};
use crate::model::resolve::ModelChoice;
use crate::model::tokenizer::Tokenizer;
use crate::scheduler::SchedulerConfig;
use std::collections::HashMap;

/// Something that models must have in common: in words, how it is with a model, and why.
struct Trait {
    what: &'static str,
    of: fn(&ModelChoice) -> Result<String>,
    hint: &'static str,
}

const TRAITS: [Trait; 5] = [
    Trait {
        what: "prediction type",
        of: prediction,
        hint: "a model that predicts the noise (epsilon) and one that predicts v have nothing in common that could be \
               mixed: take models of one prediction type",
    },
    Trait {
        what: "number of heads in the UNet",
        of: unet_heads,
        hint: "only models of one architecture can be merged",
    },
    Trait {
        what: "number of heads in the text encoder",
        of: text_heads,
        hint: "only models of one architecture can be merged",
    },
    Trait { what: "text encoder's activation", of: activation, hint: "only models of one architecture can be merged" },
    Trait {
        what: "autoencoder's scaling factor",
        of: scaling,
        hint: "their latents differ: give both the same autoencoder first, `sdviz convert MODEL OUT --vae OTHER`",
    },
];

/// Checks that the models' tensors mean the same.
///
/// # Errors
/// When they do not, or a configuration cannot be read.
pub fn check(models: &[ModelChoice]) -> Result<()> {
    let Some((first, others)) = models.split_first() else { return Ok(()) };
    for wanted in &TRAITS {
        let own = (wanted.of)(first)?;
        for other in others {
            let theirs = (wanted.of)(other)?;
            if theirs != own {
                let (a, b, what) = (&first.id, &other.id, wanted.what);
                let message = format!("the {what} of `{a}` is {own}, that of `{b}` is {theirs}");
                return Err(Error::invalid(message, wanted.hint));
            }
        }
    }
    let own = vocabulary(first)?;
    for other in others {
        let theirs = vocabulary(other)?;
        if let Some(difference) = difference(&own, &theirs) {
            return Err(Error::invalid(
                format!("the tokenizers of `{}` and `{}` differ: {difference}", first.id, other.id),
                "a token's vector stands for another piece of text in each: take models that share a tokenizer",
            ));
        }
    }
    Ok(())
}

fn prediction(model: &ModelChoice) -> Result<String> {
    let config = SchedulerConfig::parse(&model.files.required_text(SCHEDULER_CONFIG)?)
        .map_err(|e| Error::bad_file(&model.files.path(SCHEDULER_CONFIG), "scheduler configuration", e))?;
    Ok(config.prediction_type.unwrap_or_else(|| "epsilon".into()))
}

fn unet_heads(model: &ModelChoice) -> Result<String> {
    let config: UNetConfig = model.files.config(&UNET)?;
    let mut heads: Vec<String> = (0..config.block_out_channels.len()).map(|i| config.heads(i).to_string()).collect();
    heads.dedup();
    Ok(heads.join(", "))
}

fn text_heads(model: &ModelChoice) -> Result<String> {
    Ok(model.files.config::<TextConfig>(&TEXT_ENCODER)?.num_attention_heads.to_string())
}

fn activation(model: &ModelChoice) -> Result<String> {
    Ok(model.files.config::<TextConfig>(&TEXT_ENCODER)?.hidden_act)
}

fn scaling(model: &ModelChoice) -> Result<String> {
    Ok(model.files.config::<VaeConfig>(&VAE)?.scaling_factor.to_string())
}

fn vocabulary(model: &ModelChoice) -> Result<HashMap<String, u32>> {
    let text: TextConfig = model.files.config(&TEXT_ENCODER)?;
    Ok(Tokenizer::load(&model.files, text.max_position_embeddings as usize)?.vocabulary())
}

/// The first piece that two vocabularies have under different numbers.
fn difference(own: &HashMap<String, u32>, theirs: &HashMap<String, u32>) -> Option<String> {
    let differ = |(piece, id): (&String, &u32), other: &HashMap<String, u32>| {
        let found = other.get(piece);
        (found != Some(id)).then(|| (*id, piece.clone(), found.copied()))
    };
    let lacks = own.iter().filter_map(|pair| differ(pair, theirs)).min();
    if let Some((id, piece, found)) = lacks {
        let there = found.map_or("not there".into(), |id| format!("token {id}"));
        return Some(format!("`{piece}` is token {id} in the first and {there} in the second"));
    }
    let (id, piece, _) = theirs.iter().filter_map(|pair| differ(pair, own)).min()?;
    Some(format!("`{piece}` is not there in the first and token {id} in the second"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_piece_that_differs_is_named() {
        let map = |pairs: &[(&str, u32)]| pairs.iter().map(|(piece, id)| (piece.to_string(), *id)).collect();
        let (own, same) = (map(&[("a", 0), ("b", 1)]), map(&[("b", 1), ("a", 0)]));
        assert_eq!(difference(&own, &same), None);
        let said = |theirs: &[(&str, u32)]| difference(&own, &map(theirs)).unwrap_or_default();
        assert_eq!(said(&[("a", 1), ("b", 0)]), "`a` is token 0 in the first and token 1 in the second");
        assert_eq!(said(&[("a", 0)]), "`b` is token 1 in the first and not there in the second");
        assert_eq!(said(&[("a", 0), ("b", 1), ("c", 2)]), "`c` is not there in the first and token 2 in the second");
    }
}
