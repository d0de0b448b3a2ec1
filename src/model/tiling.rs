//! Decoding in tiles, as diffusers' `AutoencoderKL.tiled_decode` does: overlapping squares of latents, decoded one after
//! the other, each faded linearly into the ones above and left of it.
//!
//! Enters: latents, and a way to decode a piece of them. Leaves: a picture of the same size as without tiles. Memory is
//! that of one tile's decoding plus the picture. It is not quite the same picture: group norms and attention see a tile
//! instead of everything.

use crate::error::{Error, Result};
use crate::model::config::VaeConfig;
use crate::watch::site::Axes;
use std::str::FromStr;
use tch::{Kind, Tensor};

/// When to decode in tiles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tiling {
    /// Pictures of more than 1024×1024 pixels that are also more than four times what the autoencoder was trained on.
    #[default]
    Auto,
    /// Pictures that are higher or wider than a tile, as after diffusers' `enable_tiling`.
    On,
    /// Never.
    Off,
}

impl FromStr for Tiling {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Tiling::Auto),
            "on" => Ok(Tiling::On),
            "off" => Ok(Tiling::Off),
            _ => Err(Error::unknown("way to tile", name, ["auto", "on", "off"])),
        }
    }
}

/// Pictures up to this many pixels are decoded whole if nothing else is asked for.
const WHOLE_PIXELS: i64 = 1024 * 1024;

/// The tiles of an autoencoder. Lengths are in latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    side: i64,
    stride: i64,
    /// Pixels per latent.
    factor: i64,
}

impl Tiles {
    /// The tiles for latents of this height and width; none if they are to be decoded whole. A tile is what the
    /// autoencoder was trained on, `sample_size` pixels, and shares a quarter with the next. (Sides that a quarter does
    /// not divide are rounded as in diffusers; it then pastes the tiles at other places, here they meet.)
    pub fn of(config: &VaeConfig, tiling: Tiling, height: i64, width: i64) -> Option<Tiles> {
        let factor = config.scale_factor() as i64;
        let side = (config.sample_size / factor).max(2);
        let tiles = Tiles { side, stride: side * 3 / 4, factor };
        let (pixels, trained) = (height * width * factor * factor, (side * factor) * (side * factor));
        let wanted = match tiling {
            Tiling::Auto => pixels > WHOLE_PIXELS && pixels > 4 * trained,
            Tiling::On => true,
            Tiling::Off => false,
        };
        (wanted && (height > side || width > side)).then_some(tiles)
    }

    /// The side of a tile.
    pub fn side(&self) -> i64 {
        self.side
    }

    /// Where each next tile begins after the one before it; the rest of the side is what two tiles share.
    pub fn stride(&self) -> i64 {
        self.stride
    }

    /// Decodes latents `[batch, channels, h, w]` tile by tile to `[batch, 3, factor·h, factor·w]`.
    ///
    /// # Errors
    /// Those of `decode`, which is given one tile after the other, row by row.
    pub fn decode(&self, latents: &Tensor, mut decode: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let (_, _, height, width) = latents.size4()?;
        let (shared, step) = ((self.side - self.stride) * self.factor, self.stride * self.factor);
        let (mut above, mut rows): (Vec<Tensor>, _) = (vec![], vec![]);
        for top in (0..height).step_by(self.stride as usize) {
            let high = latents.narrow(2, top, self.side.min(height - top));
            let (mut row, mut kept): (Vec<Tensor>, _) = (vec![], vec![]);
            for (j, left) in (0..width).step_by(self.stride as usize).enumerate() {
                let mut tile = decode(&high.narrow(3, left, self.side.min(width - left)))?;
                if let Some(above) = above.get(j) {
                    tile = fade(above, &tile, 2, shared);
                }
                if let Some(before) = row.last() {
                    tile = fade(before, &tile, 3, shared);
                }
                let (_, _, h, w) = tile.size4()?;
                kept.push(tile.narrow(2, 0, h.min(step)).narrow(3, 0, w.min(step)));
                row.push(tile);
            }
            rows.push(Tensor::cat(&kept, 3));
            above = row;
        }
        Ok(Tensor::cat(&rows, 2))
    }
}

/// `tile` with its first `shared` rows (dimension 2) or columns (3) faded in from the last ones of `before`.
fn fade(before: &Tensor, tile: &Tensor, dim: i64, shared: i64) -> Tensor {
    let (reach, size) = (before.size()[dim as usize], tile.size()[dim as usize]);
    let shared = shared.min(reach).min(size);
    let mut shape = [1; 4];
    shape[dim as usize] = shared;
    let share = (Tensor::arange(shared, (Kind::Float, tile.device())) / shared as f64).view(shape);
    let rest: Tensor = 1.0 - &share;
    let old = before.narrow(dim, reach - shared, shared) * rest.to_kind(tile.kind());
    let new = tile.narrow(dim, 0, shared) * share.to_kind(tile.kind());
    Tensor::cat(&[old + new, tile.narrow(dim, shared, size - shared)], dim)
}

/// What the dimensions of a tensor mean when it belongs to a tile.
pub(super) fn of_tile(axes: Axes) -> Axes {
    if axes == Axes::Image { Axes::Tile } else { axes }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tch::Device;

    fn config(sample_size: i64, levels: usize) -> VaeConfig {
        VaeConfig { sample_size, block_out_channels: vec![8; levels], ..VaeConfig::default() }
    }

    #[test]
    fn large_pictures_are_tiled_relative_to_what_the_autoencoder_knows() {
        let tiled =
            |sample_size, tiling, side: i64| Tiles::of(&config(sample_size, 4), tiling, side / 8, side / 8).is_some();
        assert!(!tiled(512, Tiling::Auto, 1024) && tiled(512, Tiling::Auto, 1032));
        assert!(!tiled(128, Tiling::Auto, 1024) && tiled(128, Tiling::Auto, 1032));
        assert!(!tiled(1024, Tiling::Auto, 2048) && tiled(1024, Tiling::Auto, 2056));
        assert!(!tiled(512, Tiling::On, 512) && tiled(512, Tiling::On, 520) && !tiled(512, Tiling::Off, 4096));
    }

    /// With a decoder that looks at nothing but the place itself, tiles must meet exactly, whatever their sides.
    #[test]
    fn tiles_of_every_size_meet() {
        for (sample_size, levels) in [(64, 4), (16, 4), (8, 4), (40, 3), (28, 3), (7, 1)] {
            for (height, width) in [(16, 9), (5, 23), (31, 13)] {
                let Some(tiles) = Tiles::of(&config(sample_size, levels), Tiling::On, height, width) else { continue };
                let latents = Tensor::randn([1, 2, height, width], (Kind::Double, Device::Cpu));
                let enlarge = |t: &Tensor| {
                    t.repeat_interleave_self_int(tiles.factor, 2, None).repeat_interleave_self_int(
                        tiles.factor,
                        3,
                        None,
                    )
                };
                let decoded = tiles.decode(&latents, |tile| Ok(enlarge(tile))).unwrap();
                let whole = enlarge(&latents);
                assert_eq!(decoded.size(), whole.size(), "{tiles:?}");
                assert!((decoded - whole).abs().max().double_value(&[]) < 1e-6, "{tiles:?}, {height}×{width}");
            }
        }
    }
}
