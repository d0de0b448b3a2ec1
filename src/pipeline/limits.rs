//! What a plan would take, told before it is begun: sizes and numbers for which no machine, or not this one, has room.
//!
//! Enters: a plan, and what the networks look like. Leaves: nothing, or an error that says what it would take and what
//! would fit. The estimate counts only what must lie in memory at one time, so that nothing is refused that could be done.

use crate::error::{Error, Result};
use crate::model::config::{UNetConfig, VaeConfig};
use crate::record::plan::{Decode, Plan};
use crate::units;
use std::path::Path;
use std::sync::OnceLock;

/// The longest side of a picture in pixels, a second pass's too: that of WebP, and more than any picture that one network
/// has drawn at once.
pub const LONGEST_SIDE: usize = 16_384;

/// The most pictures at once.
pub const LARGEST_BATCH: usize = 4096;

/// What a plan must hold whatever the model's weights: sides that are multiples of `factor`, the autoencoder's pixels per
/// latent, and numbers from 1 up to a ceiling.
///
/// # Errors
/// Names the first that is not.
pub fn check_plan(plan: &Plan, factor: usize) -> Result<()> {
    for (name, size) in [("width", plan.width), ("height", plan.height)] {
        check_side(name, size)?;
        if size == 0 || !size.is_multiple_of(factor) {
            let below = (size / factor * factor).max(factor);
            return Err(Error::invalid(
                format!("{name} {size} is not a multiple of {factor}"),
                format!("use {below} or {}", below + factor),
            ));
        }
    }
    if plan.batch_size == 0 {
        return Err(Error::invalid("a batch of 0 pictures", "ask for at least one"));
    }
    if plan.batch_size > LARGEST_BATCH {
        return Err(Error::invalid(
            format!("a batch of {} pictures is more than {LARGEST_BATCH}", plan.batch_size),
            "ask for fewer at once; `sdviz sweep --seed 1-1000` draws them one after the other",
        ));
    }
    if !plan.guidance_scale.is_finite() || plan.guidance_scale < 0.0 {
        return Err(Error::invalid(
            format!("guidance scale {} is not a number from 0 up", plan.guidance_scale),
            "7.5 is usual; 1 switches guidance off",
        ));
    }
    if !(0.0..=1.0).contains(&plan.guidance_rescale) {
        return Err(Error::invalid(
            format!("guidance rescale {} is no share", plan.guidance_rescale),
            "0 leaves the guided prediction as it is, 0.7 is usual with zero terminal SNR, 1 is all the way",
        ));
    }
    Ok(())
}

/// Refuses a side that is too long.
///
/// # Errors
/// Then.
pub fn check_side(name: &str, size: usize) -> Result<()> {
    if size <= LONGEST_SIDE {
        return Ok(());
    }
    let message = format!("{name} {size} is more than {LONGEST_SIDE} pixels");
    Err(Error::invalid(message, format!("ask for {LONGEST_SIDE} at most; a model draws best near its own size")))
}

/// What is computed at one time.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// The UNet.
    pub unet: &'a UNetConfig,
    /// The autoencoder.
    pub vae: &'a VaeConfig,
    /// Bytes of a number in the UNet and in the autoencoder.
    pub widths: (usize, usize),
    /// Width and height of the largest picture in pixels.
    pub size: (usize, usize),
    /// The side of the tiles in which it is decoded, if it is.
    pub tile: Option<usize>,
    /// Pictures at once.
    pub batch: usize,
    /// Predictions for each of them: 2 with guidance.
    pub predictions: usize,
    /// Rows of donors for each of them.
    pub donors: usize,
    /// What the recorder of attention holds, in bytes: of a step, and from step to step.
    pub attention: (usize, usize),
    /// Draws of noise for each of them that are held at one time.
    pub draws: usize,
    /// Whether pictures are decoded.
    pub decodes: bool,
    /// Whether a picture of this size is encoded.
    pub encodes: bool,
}

impl<'a> Demand<'a> {
    /// That of a plan for these networks, for pictures of this size.
    pub fn of(plan: &Plan, (unet, vae): (&'a UNetConfig, &'a VaeConfig), size: (usize, usize)) -> Demand<'a> {
        Demand {
            unet,
            vae,
            widths: (4, 4),
            size,
            tile: None,
            batch: plan.batch_size,
            predictions: if plan.guidance_scale > 1.0 { 2 } else { 1 },
            donors: 0,
            attention: (0, 0),
            draws: 1,
            decodes: plan.decode != Decode::Nothing,
            encodes: plan.takes_picture(),
        }
    }

    /// The least memory that it takes beside the weights, in bytes.
    pub fn bytes(&self) -> f64 {
        let pixels = self.size.0 as f64 * self.size.1 as f64;
        let factor = self.vae.scale_factor() as f64;
        let (places, batch) = (pixels / (factor * factor), self.batch as f64);
        let noise = (self.draws * self.unet.in_channels as usize * size_of::<f32>()) as f64 * places * batch;
        let rows = self.predictions + self.donors;
        let (of_step, between) = self.attention;
        let predicted = self.unet_numbers() * places * batch * (rows * self.widths.0) as f64 + of_step as f64;
        let mut coded = 0.0_f64;
        if self.decodes {
            let area = self.tile.map_or(pixels, |tile| pixels.min((tile * tile) as f64));
            coded = coded.max(self.decoder_numbers() * area * self.widths.1 as f64 + 3.0 * pixels);
        }
        if self.encodes {
            // The first ResNet block on the full picture: what enters, its norm, what leaves.
            let first = self.vae.block_out_channels.first().copied().unwrap_or_default();
            coded = coded.max(3.0 * first as f64 * pixels * self.widths.1 as f64);
        }
        noise + between as f64 + predicted.max(coded)
    }

    /// Numbers for each place of the latents that the UNet holds at one time, on its uppermost level on the way up: what
    /// the way down has left there, and in the feed-forward layer of a transformer the eight widths of its projection and
    /// the two halves of four that become of them; in a level without, what enters a ResNet block, its norm, what leaves.
    fn unet_numbers(&self) -> f64 {
        let channels = &self.unet.block_out_channels;
        let first = channels.first().copied().unwrap_or_default();
        let second = channels.get(1).copied().unwrap_or(first);
        let left = (self.unet.layers_per_block + 1) * first;
        let attends = self.unet.up_block_types.last().is_some_and(|kind| kind.starts_with("CrossAttn"));
        (left + if attends { 16 * first } else { 2 * (first + second) + first }) as f64
    }

    /// Numbers for each pixel that the decoder holds at one time: what the last but one level leaves, enlarged, before and
    /// after its convolution.
    fn decoder_numbers(&self) -> f64 {
        let channels = &self.vae.block_out_channels;
        2.0 * channels.get(1).or(channels.first()).copied().unwrap_or_default() as f64
    }

    /// Refuses what takes more than `memory` bytes.
    ///
    /// # Errors
    /// Says what it would take, and what would fit.
    pub fn check(&self, memory: Option<u64>) -> Result<()> {
        let (Some(memory), needed) = (memory.map(|bytes| bytes as f64), self.bytes()) else { return Ok(()) };
        if needed <= memory {
            return Ok(());
        }
        let (width, height) = self.size;
        let what = match self.batch {
            1 => format!("a picture of {width}×{height} takes"),
            n => format!("{n} pictures of {width}×{height} at once take"),
        };
        let (needed_text, memory_text) = (units::size(needed), units::size(memory));
        let message = format!("{what} at least {needed_text} of memory, and there are {memory_text} here");
        let of = |batch: usize| {
            let share = |bytes: usize| bytes / self.batch.max(1) * batch;
            Demand { batch, attention: (share(self.attention.0), share(self.attention.1)), ..*self }
        };
        let fits = (1..self.batch).rev().find(|batch| of(*batch).bytes() <= memory);
        Err(Error::invalid(
            message,
            match fits {
                Some(batch) => format!("ask for fewer at once: `--batch-size {batch}` at most"),
                None => {
                    let smaller = |side: usize| (side as f64 * (memory / needed).sqrt() / 64.0).floor().max(1.0) * 64.0;
                    format!("ask for a smaller picture: {}×{} at most", smaller(width), smaller(height))
                }
            },
        ))
    }
}

/// The memory of this machine in bytes, or of the group of processes that this one belongs to, if that may take less.
pub fn memory() -> Option<u64> {
    static FOUND: OnceLock<Option<u64>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Some(total(&text)?.min(group_limit(&groups, Path::new("/sys/fs/cgroup")).unwrap_or(u64::MAX)))
    })
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The lowest limit of a control group in this list, as `/proc/self/cgroup` has it, and of those it lies in.
fn group_limit(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        // The second version of control groups has one tree for all, the first one for each resource.
        let (base, name) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            names if names.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return vec![],
        };
        let own = base.join(path.trim_start_matches('/'));
        let groups = own.ancestors().take_while(|group| group.starts_with(&base));
        let limit = |group: &Path| std::fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        groups.filter_map(limit).collect()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GB: u64 = 1_000_000_000;

    fn vae() -> VaeConfig {
        VaeConfig { block_out_channels: vec![128, 256, 512, 512], ..VaeConfig::default() }
    }

    fn said(change: impl Fn(Demand) -> Demand, memory: u64) -> String {
        let (unet, vae) = (UNetConfig::default(), vae());
        let demand = change(Demand::of(&Plan::default(), (&unet, &vae), (512, 512)));
        demand.check(Some(memory)).map_or_else(|e| format!("{e}\n{}", e.hint().unwrap_or_default()), |()| "fits".into())
    }

    /// Stable Diffusion 1.x at its own size: the decoder is the largest with two copies of 256 channels in f32.
    #[test]
    fn the_estimate_is_what_must_lie_in_memory() {
        let (unet, vae) = (UNetConfig::default(), vae());
        let demand = Demand::of(&Plan::default(), (&unet, &vae), (512, 512));
        let noise = 4.0 * 4.0 * 64.0 * 64.0;
        assert_eq!(demand.bytes(), noise + (2.0 * 256.0 * 4.0 + 3.0) * 512.0 * 512.0);
        // Its uppermost level has attention: 3 + 16 times 320 channels, for two predictions.
        let blind = Demand { decodes: false, ..demand };
        assert_eq!(blind.bytes(), noise + 2.0 * 4.0 * 19.0 * 320.0 * 64.0 * 64.0);
        assert_eq!(Demand { batch: 8, ..blind }.bytes(), 8.0 * blind.bytes());
        assert_eq!(Demand { widths: (2, 2), ..blind }.bytes() - noise, (blind.bytes() - noise) / 2.0);
        assert!(Demand { tile: Some(128), ..demand }.bytes() < demand.bytes());
        assert_eq!(Demand { draws: 1001, ..blind }.bytes() - blind.bytes(), 1000.0 * noise);
        assert!(Demand { encodes: true, ..blind }.bytes() > blind.bytes());
        // A donor is a row beside the two, and attention lies beside them: of a step, and what goes on to the next.
        assert_eq!(Demand { donors: 1, ..blind }.bytes() - noise, 1.5 * (blind.bytes() - noise));
        assert_eq!(Demand { attention: (500, 70), ..blind }.bytes() - blind.bytes(), 570.0);
        assert_eq!(Demand { attention: (500, 70), ..demand }.bytes() - demand.bytes(), 70.0);
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_would() {
        assert_eq!(said(|d| d, 2 * GB), "fits");
        assert_eq!(
            said(|d| Demand { size: (8192, 8192), ..d }, 16 * GB),
            "a picture of 8192×8192 takes at least 137.7 GB of memory, and there are 16.0 GB here\n\
             ask for a smaller picture: 2752×2752 at most"
        );
        assert_eq!(
            said(|d| Demand { batch: 1000, ..d }, 16 * GB),
            "1000 pictures of 512×512 at once take at least 199.3 GB of memory, and there are 16.0 GB here\n\
             ask for fewer at once: `--batch-size 80` at most"
        );
    }

    #[test]
    fn sizes_and_numbers_have_a_ceiling_and_a_floor() {
        let said = |plan: Plan| check_plan(&plan, 8).unwrap_err().to_string();
        let usual = Plan::default;
        assert!(check_plan(&Plan { width: LONGEST_SIDE, batch_size: LARGEST_BATCH, ..usual() }, 8).is_ok());
        assert_eq!(said(Plan { width: 100_000, ..usual() }), "width 100000 is more than 16384 pixels");
        assert_eq!(
            said(Plan { height: usize::MAX, ..usual() }),
            format!("height {} is more than 16384 pixels", usize::MAX)
        );
        assert_eq!(said(Plan { height: 0, ..usual() }), "height 0 is not a multiple of 8");
        assert_eq!(said(Plan { batch_size: 0, ..usual() }), "a batch of 0 pictures");
        assert_eq!(
            said(Plan { batch_size: 1_000_000_000, ..usual() }),
            "a batch of 1000000000 pictures is more than 4096"
        );
    }

    #[test]
    fn the_lower_of_machine_and_group_counts() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       24684084 kB\n"), Some(24_684_084 * 1024));
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(root.join("memory/c")).unwrap();
        std::fs::write(root.join("a/memory.max"), "5000\n").unwrap();
        std::fs::write(root.join("a/b/memory.max"), "max\n").unwrap();
        std::fs::write(root.join("memory/memory.limit_in_bytes"), "9000\n").unwrap();
        assert_eq!(group_limit("0::/a/b\n", root), Some(5000));
        assert_eq!(group_limit("4:cpu,memory:/c\n0::/\n", root), Some(9000));
        assert_eq!(group_limit("1:cpu:/c\n", root), None);
    }
}
