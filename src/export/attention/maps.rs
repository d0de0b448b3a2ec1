//! From recorded attention to the map of a word: how it is put together of layers, heads and tokens.
//!
//! Enters: for each size of map that the model has, what each token gets at each place. Leaves: one map at the latents'
//! size. In words, with `a` the recorded numbers (means over the heads of all layers of a size):
//!
//! ```text
//! shares     max(0, Σ_f c_f · U_f(Σ_{t in word} a_f[t])), c_f as many as the heads of that size, Σ c_f = 1
//! relative   the same, divided at each place by what all words of the prompt get together
//! daam       mean over all heads, but those of layers at an eighth of the latents' size, of max(0, U(mean_{t in word} a))
//! p2p        mean over the heads of down and up blocks of one size, over all steps, of mean_{t in word} a
//! a-and-e    softmax over the tokens of 100 · a of one size; mean_{t in word}
//! ```
//!
//! U is bicubic ([`crate::viz::upsample`]). `shares` is a share of the attention: of all columns together it is 1 at
//! every place. DAAM is Tang et al. 2023 (castorini/daam), p2p Hertz et al. 2022 (google/prompt-to-prompt), a-and-e
//! Chefer et al. 2023 (AttendAndExcite); the latter two look at 16×16 places, which of SD's 64×64 latents is a quarter:
//! that is the size unless another is named. The softmax of a-and-e is over the prompt's tokens (its `normalize_eot`), or,
//! where every place of the padding was recorded by itself, over all places but the first and the last, as it is by default.

use crate::error::{Error, Result};
use crate::viz::upsample::{bicubic, repeated};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, Zip};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// What DAAM adds to a sum that it divides by.
const TINY: f32 = 1e-6;
/// What Attend-and-Excite multiplies by before its softmax.
const SHARPEN: f32 = 100.0;
/// The factor below the latents' size that p2p and a-and-e look at.
pub const QUARTER: usize = 4;
/// The factor that DAAM leaves out.
const EIGHTH: usize = 8;

/// Names that the command line knows, for an enum without fields.
macro_rules! named {
    ($type:ident, $kind:literal, $($variant:ident = $name:literal),+) => {
        impl $type {
            /// All of them.
            pub const ALL: &[$type] = &[$($type::$variant),+];

            /// Its name on the command line and in records.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let hit = $type::ALL.iter().find(|known| known.name() == text.trim());
                hit.copied().ok_or_else(|| Error::unknown($kind, text.trim(), $type::ALL.iter().map(|known| known.name())))
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
                to.serialize_str(self.name())
            }
        }
    };
}

/// How the maps of layers and heads become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The share of all attention.
    #[default]
    Shares,
    /// DAAM's.
    Daam,
    /// Prompt-to-prompt's.
    P2p,
    /// Attend-and-Excite's.
    AttendAndExcite,
}
named!(Method, "method", Shares = "shares", Daam = "daam", P2p = "p2p", AttendAndExcite = "a-and-e");

impl Method {
    /// Whether it takes all steps together, so that there is one map and no film.
    pub fn takes_all_steps(self) -> bool {
        matches!(self, Method::Daam | Method::P2p)
    }
}

/// How the tokens of a word become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Merge {
    /// What all of them get together.
    #[default]
    Sum,
    /// What each gets in the mean.
    Mean,
}
named!(Merge, "way to merge tokens", Sum = "sum", Mean = "mean");

/// How small maps become as large as the latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upsampling {
    /// Bicubic.
    #[default]
    Bicubic,
    /// Every number a square.
    Hard,
}
named!(Upsampling, "upsampling", Bicubic = "bicubic", Hard = "hard");

impl Upsampling {
    fn apply(self, map: ArrayView2<'_, f32>, to: (usize, usize)) -> Array2<f32> {
        match self {
            Upsampling::Bicubic => bicubic(map, to),
            Upsampling::Hard => repeated(map, to),
        }
    }
}

/// The maps of one size in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct SizeMaps {
    /// How many times smaller than the latents.
    pub factor: usize,
    /// Heads of all layers of this size, of which the maps are the mean.
    pub heads: usize,
    /// `[tokens, height, width]`; the tokens' columns add to 1.
    pub maps: Array3<f32>,
}

/// The maps of one layer's heads.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadMaps {
    /// The layer's site: `unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2`.
    pub site: String,
    /// How many times smaller than the latents.
    pub factor: usize,
    /// `[tokens, height, width]` of each head.
    pub heads: Vec<Array3<f32>>,
}

/// How the sizes and tokens of a word are put together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mix {
    /// Factors below the latents' size to take; none for all.
    pub sizes: Vec<usize>,
    /// How tokens become a word.
    pub merge: Merge,
    /// How small maps become large.
    pub upsampling: Upsampling,
}

/// What some columns get at each place, `[height, width]`.
pub fn merged(maps: ArrayView3<'_, f32>, columns: &[usize], merge: Merge) -> Array2<f32> {
    let mut sum = Array2::zeros((maps.len_of(Axis(1)), maps.len_of(Axis(2))));
    for column in columns.iter().filter(|column| **column < maps.len_of(Axis(0))) {
        sum += &maps.index_axis(Axis(0), *column);
    }
    if merge == Merge::Mean { sum / columns.len().max(1) as f32 } else { sum }
}

/// The share of the attention that a word gets at each place of the latents, `to`: see the head of this file. Zeros where
/// none of the sizes is there.
pub fn share(sizes: &[SizeMaps], columns: &[usize], to: (usize, usize), mix: &Mix) -> Array2<f32> {
    let taken: Vec<&SizeMaps> =
        sizes.iter().filter(|size| mix.sizes.is_empty() || mix.sizes.contains(&size.factor)).collect();
    let heads: usize = taken.iter().map(|size| size.heads).sum();
    let mut sum = Array2::<f32>::zeros(to);
    for size in taken {
        let map = mix.upsampling.apply(merged(size.maps.view(), columns, mix.merge).view(), to);
        sum.scaled_add(size.heads as f32 / heads.max(1) as f32, &map);
    }
    sum.mapv_into(|value| value.max(0.0))
}

/// The map, divided at each place by what all `words` get together there.
pub fn relative(map: &Array2<f32>, words: &Array2<f32>) -> Array2<f32> {
    Zip::from(map).and(words).map_collect(|value, all| value / (all + TINY))
}

/// DAAM's map of a word at the latents' size, from the heads' means over the steps. Its own is a sum over the steps, so
/// many times as much.
pub fn daam(layers: &[HeadMaps], columns: &[usize], to: (usize, usize)) -> Array2<f32> {
    let mut sum = Array2::<f32>::zeros(to);
    let mut count = 0;
    // It clamps each token's map before it takes the mean over the word's tokens.
    for head in layers.iter().filter(|layer| layer.factor != EIGHTH).flat_map(|layer| &layer.heads) {
        count += 1;
        for column in columns.iter().filter(|column| **column < head.len_of(Axis(0))) {
            sum += &bicubic(head.index_axis(Axis(0), *column), to).mapv_into(|value| value.max(0.0));
        }
    }
    sum / (count * columns.len()).max(1) as f32
}

/// Prompt-to-prompt's map of a word in layers of a size, at that size, from the heads' means over the steps: `None` where
/// no down or up block has it.
pub fn p2p(layers: &[HeadMaps], columns: &[usize], factor: usize) -> Option<Array2<f32>> {
    let outer = |layer: &&HeadMaps| {
        layer.factor == factor && (layer.site.contains("down_blocks.") || layer.site.contains("up_blocks."))
    };
    let heads: Vec<&Array3<f32>> = layers.iter().filter(outer).flat_map(|layer| &layer.heads).collect();
    let mut sum = Array2::<f32>::zeros(heads.first()?.index_axis(Axis(0), 0).raw_dim());
    heads.iter().for_each(|head| sum += &merged(head.view(), columns, Merge::Mean));
    Some(sum / heads.len() as f32)
}

/// Attend-and-Excite's map of a word in a step, in layers of a size and at that size; `text` are the columns that the
/// attention is divided among. `None` where no layer has the size.
pub fn attend_and_excite(sizes: &[SizeMaps], columns: &[usize], text: &[usize], factor: usize) -> Option<Array2<f32>> {
    let maps = &sizes.iter().find(|size| size.factor == factor)?.maps;
    let (_, height, width) = maps.dim();
    let at = |y: usize, x: usize| {
        let scores: Vec<f32> = text.iter().map(|column| SHARPEN * maps[[*column, y, x]]).collect();
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
        let own = text.iter().zip(&powers).filter(|(column, _)| columns.contains(column)).map(|(_, power)| power);
        own.sum::<f32>() / powers.iter().sum::<f32>().max(f32::MIN_POSITIVE) / columns.len().max(1) as f32
    };
    Some(Array2::from_shape_fn((height, width), |(y, x)| at(y, x)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Three tokens whose columns add to 1, on 4×4 and 2×2 places.
    fn sizes() -> Vec<SizeMaps> {
        let one = |factor, heads, side: usize, first: f32| {
            let maps = Array3::from_shape_fn((3, side, side), |(t, y, x)| match t {
                0 => first + 0.05 * (y + x) as f32 / side as f32,
                1 => 0.2,
                _ => 0.8 - first - 0.05 * (y + x) as f32 / side as f32,
            });
            SizeMaps { factor, heads, maps }
        };
        vec![one(1, 6, 4, 0.1), one(2, 2, 2, 0.5)]
    }

    #[test]
    fn the_shares_of_all_columns_are_one() {
        let mix = Mix::default();
        let all = share(&sizes(), &[0, 1, 2], (4, 4), &mix);
        assert!(all.iter().all(|v| (v - 1.0).abs() < 1e-6), "{all}");
        let each: Array2<f32> =
            [0, 1, 2].iter().map(|c| share(&sizes(), &[*c], (4, 4), &mix)).fold(Array2::zeros((4, 4)), |a, b| a + b);
        assert!(each.iter().all(|v| (v - 1.0).abs() < 1e-6));
    }

    #[test]
    fn sizes_count_by_their_heads() {
        let hard = Mix { upsampling: Upsampling::Hard, ..Mix::default() };
        let found = share(&sizes(), &[0], (4, 4), &hard);
        // 6 heads of 0.1 and 2 of 0.5 in the first place.
        assert!((found[[0, 0]] - (0.75 * 0.1 + 0.25 * 0.5)).abs() < 1e-7);
        let only = share(&sizes(), &[0], (4, 4), &Mix { sizes: vec![2], ..hard.clone() });
        assert!((only[[3, 3]] - 0.55).abs() < 1e-6 && (only[[0, 1]] - 0.5).abs() < 1e-6);
        let mean = share(&sizes(), &[0, 1], (4, 4), &Mix { merge: Merge::Mean, ..hard.clone() });
        assert!((mean[[0, 0]] - 0.5 * (found[[0, 0]] + 0.2)).abs() < 1e-6);
        let none = share(&sizes(), &[0], (4, 4), &Mix { sizes: vec![8], ..hard });
        assert_eq!(none, Array2::<f32>::zeros((4, 4)));
    }

    #[test]
    fn relative_maps_are_shares_of_the_words() {
        let (one, all) = (Array2::from_elem((1, 1), 0.02f32), Array2::from_elem((1, 1), 0.08f32));
        assert!((relative(&one, &all)[[0, 0]] - 0.25).abs() < 1e-5);
    }

    #[test]
    fn others_methods_follow_their_formulas() {
        let head = |value: f32| {
            Array3::from_shape_fn((3, 2, 2), |(t, y, x)| value * (1 + t) as f32 * if y == x { 1.0 } else { 0.0 })
        };
        let layer =
            |site: &str, factor, value| HeadMaps { site: site.into(), factor, heads: vec![head(value), head(0.0)] };
        let layers = [
            layer("unet.down_blocks.2.attn2", 4, 0.1),
            layer("unet.mid_block.attn2", 8, 0.9),
            layer("unet.mid_block.attn2", 4, 0.3),
        ];
        // Tokens 1 and 2 have 2 and 3 times the value; of the mid block nothing, half the heads are empty.
        let found = p2p(&layers, &[1, 2], 4).unwrap();
        assert!((found[[0, 0]] - 0.125).abs() < 1e-6 && found[[0, 1]] == 0.0);
        assert_eq!(p2p(&layers[1..], &[1], 4), None);
        let found = daam(&layers, &[0], (2, 2));
        assert!((found[[0, 0]] - (0.1 + 0.3) / 4.0).abs() < 1e-6);
        // Clamped by head and token: bicubic falls below 0 beside the peak, and what falls there is not taken from others.
        let large = daam(&layers, &[0], (8, 8));
        assert!(large.iter().all(|value| *value >= 0.0));
        let sizes = vec![SizeMaps {
            factor: 4,
            heads: 8,
            maps: Array3::from_shape_fn((4, 1, 1), |(t, ..)| [0.9, 0.02, 0.03, 0.05][t]),
        }];
        let found = attend_and_excite(&sizes, &[2], &[1, 2], 4).unwrap();
        assert!((found[[0, 0]] - 1.0 / (1.0 + (-1.0f32).exp())).abs() < 1e-5, "{found}");
        assert_eq!(attend_and_excite(&sizes[..0], &[2], &[1, 2], 4), None);
    }

    #[test]
    fn names_come_back() {
        assert!(Method::ALL.iter().all(|method| method.name().parse::<Method>().unwrap() == *method));
        assert_eq!("dam".parse::<Method>().unwrap_err().to_string(), "unknown method `dam`; did you mean `daam`?");
    }
}
