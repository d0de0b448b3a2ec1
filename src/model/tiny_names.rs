//! The halves of a tiny autoencoder as its author's files have them: `taesd_decoder.safetensors`, `taesd_encoder.safetensors`.
//!
//! Enters: keys and shapes: `1.weight`, `3.conv.0.weight`, places in a sequence of layers. Leaves: which half it is, its
//! configuration, and diffusers' names. In the decoder's sequence the bending of the latents is a layer, in diffusers' it is
//! not: there the places are one lower.

use super::infer::Shapes;
use crate::model::config::TINY_CLASS;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A half in a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfFile {
    decoder: bool,
    /// What is taken off a place.
    shift: usize,
}

/// A layer that has weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Conv { input: i64, output: i64, bias: bool },
    Block,
}

impl HalfFile {
    /// Which half a file's keys are, and its `config.json`; none if they are something else.
    pub fn of(shapes: &Shapes) -> Option<(HalfFile, Value)> {
        let layers = layers(shapes)?;
        let (&first, &Found::Conv { input, output: width, bias: true }) = layers.first_key_value()? else {
            return None;
        };
        let (_, &Found::Conv { output: last, bias: true, .. }) = layers.last_key_value()? else { return None };
        let (decoder, latents) = match (input, last) {
            (3, latents) => (false, latents),
            (latents, 3) => (true, latents),
            _ => return None,
        };
        // Blocks between two convolutions; the last convolution ends the last stage.
        let mut blocks = vec![0];
        let inner = layers.values().skip(1).take(layers.len().saturating_sub(2));
        for layer in inner {
            match layer {
                Found::Block => blocks.iter_mut().last().into_iter().for_each(|count| *count += 1),
                Found::Conv { .. } => blocks.push(0),
            }
        }
        let (half, other) = if decoder { ("decoder", "encoder") } else { ("encoder", "decoder") };
        let stages = blocks.len();
        let config = json!({
            "_class_name": TINY_CLASS,
            "latent_channels": latents,
            format!("{half}_block_out_channels"): vec![width; stages],
            format!("num_{half}_blocks"): blocks,
            // The half that is not there.
            format!("{other}_block_out_channels"): vec![width; stages],
            format!("num_{other}_blocks"): vec![0; stages],
        });
        Some((HalfFile { decoder, shift: if decoder { first } else { 0 } }, config))
    }

    /// Whether it is the half that turns latents into pictures.
    pub fn is_decoder(self) -> bool {
        self.decoder
    }

    /// diffusers' name of a key.
    pub fn to_diffusers(self, key: &str) -> Option<String> {
        let (place, rest) = key.split_once('.')?;
        let place = place.parse::<usize>().ok()?.checked_sub(self.shift)?;
        let half = if self.decoder { "decoder" } else { "encoder" };
        Some(format!("{half}.layers.{place}.{rest}"))
    }
}

/// The layers with weights by their places; none if a key is no layer's.
fn layers(shapes: &Shapes) -> Option<BTreeMap<usize, Found>> {
    let mut layers = BTreeMap::new();
    for (key, shape) in shapes {
        let (place, rest) = key.split_once('.')?;
        let place = place.parse::<usize>().ok()?;
        let found = match (rest, shape.as_slice()) {
            ("weight", &[output, input, 3, 3]) => {
                Found::Conv { input, output, bias: shapes.contains_key(&format!("{place}.bias")) }
            }
            ("bias", [_]) => continue,
            (rest, _) if rest.starts_with("conv.") => Found::Block,
            _ => return None,
        };
        layers.insert(place, found);
    }
    Some(layers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn conv(shapes: &mut Shapes, key: &str, (output, input): (i64, i64), bias: bool) {
        shapes.insert(format!("{key}.weight"), vec![output, input, 3, 3]);
        if bias {
            shapes.insert(format!("{key}.bias"), vec![output]);
        }
    }

    fn block(shapes: &mut Shapes, place: usize) {
        [0, 2, 4].into_iter().for_each(|i| conv(shapes, &format!("{place}.conv.{i}"), (64, 64), true));
    }

    /// The author's decoder and encoder: 3, 3, 3, 1 and 1, 3, 3, 3 blocks of 64.
    #[test]
    fn the_authors_files_are_read() {
        let mut decoder = Shapes::new();
        conv(&mut decoder, "1", (64, 4), true);
        let mut place = 3;
        for blocks in [3, 3, 3] {
            (0..blocks).for_each(|i| block(&mut decoder, place + i));
            conv(&mut decoder, &format!("{}", place + blocks + 1), (64, 64), false);
            place += blocks + 2;
        }
        block(&mut decoder, place);
        conv(&mut decoder, &format!("{}", place + 1), (3, 64), true);
        let (half, config) = HalfFile::of(&decoder).unwrap();
        assert_eq!(config["num_decoder_blocks"], json!([3, 3, 3, 1]));
        assert_eq!(config["decoder_block_out_channels"], json!([64, 64, 64, 64]));
        assert!(half.is_decoder());
        assert_eq!(half.to_diffusers("1.weight").unwrap(), "decoder.layers.0.weight");
        assert_eq!(half.to_diffusers("19.bias").unwrap(), "decoder.layers.18.bias");

        let mut encoder = Shapes::new();
        conv(&mut encoder, "0", (64, 3), true);
        block(&mut encoder, 1);
        for stage in 0..3 {
            conv(&mut encoder, &format!("{}", 2 + 4 * stage), (64, 64), false);
            (3..6).for_each(|i| block(&mut encoder, i + 4 * stage));
        }
        conv(&mut encoder, "14", (4, 64), true);
        let (half, config) = HalfFile::of(&encoder).unwrap();
        assert_eq!(config["num_encoder_blocks"], json!([1, 3, 3, 3]));
        assert!(!half.is_decoder());
        assert_eq!(half.to_diffusers("14.weight").unwrap(), "encoder.layers.14.weight");
    }

    #[test]
    fn other_files_are_not() {
        let one = |key: &str, shape: Vec<i64>| Shapes::from([(key.to_string(), shape)]);
        for shapes in [Shapes::new(), one("conv_in.weight", vec![64, 4, 3, 3]), one("1.weight", vec![64, 4])] {
            assert_eq!(HalfFile::of(&shapes), None);
        }
    }
}
