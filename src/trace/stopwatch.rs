//! The stopwatch: an observer that finds how long each part of the UNet takes.
//!
//! Enters: tensors at sites. Leaves: seconds by block and kind of layer, which together are the whole forward pass: what
//! lies between two sites belongs to the later one. On CUDA it waits for the device at each site, for the host runs ahead.

use crate::error::Result;
use crate::watch::observer::{Ask, Event, Flow, Observer};
use crate::watch::site::is_inner;
use std::time::{Duration, Instant};
use tch::{Cuda, Device};

/// Where a forward pass begins and ends.
const ENDS: [&str; 2] = ["unet.sample", "unet.conv_out"];

/// What a part of a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// ResNet blocks.
    Resnet,
    /// Self-attention, with the norm before it.
    SelfAttention,
    /// Cross-attention, with the norm before it.
    CrossAttention,
    /// Feed-forward, with the norm before it.
    FeedForward,
    /// Projections, changes of size, and what is between.
    Other,
}

impl Work {
    /// All of them.
    pub const ALL: [Work; 5] =
        [Work::Resnet, Work::SelfAttention, Work::CrossAttention, Work::FeedForward, Work::Other];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Work::Resnet => "resnets",
            Work::SelfAttention => "attn1",
            Work::CrossAttention => "attn2",
            Work::FeedForward => "ff",
            Work::Other => "other",
        }
    }
}

/// The time of a block.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockTime {
    /// `conv_in`, `down_blocks.0`, …, `conv_out`.
    pub block: String,
    /// By [`Work::ALL`].
    pub spent: [Duration; Work::ALL.len()],
}

impl BlockTime {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.spent.iter().sum()
    }
}

/// Measures forward passes.
#[derive(Debug)]
pub struct Stopwatch {
    device: Device,
    /// The first passes are for warming up.
    skipped: usize,
    passes: usize,
    last: Option<Instant>,
    /// In the order of computation.
    pub blocks: Vec<BlockTime>,
}

impl Stopwatch {
    /// For a device; the first `skipped` forward passes do not count.
    pub fn new(device: Device, skipped: usize) -> Stopwatch {
        Stopwatch { device, skipped, passes: 0, last: None, blocks: vec![] }
    }

    /// How many passes are counted.
    pub fn counted(&self) -> usize {
        self.passes.saturating_sub(self.skipped)
    }

    fn stamp(&mut self, site: &str) {
        if let Device::Cuda(index) = self.device {
            Cuda::synchronize(index as i64);
        }
        let now = Instant::now();
        if site == ENDS[0] {
            self.last = Some(now);
            return;
        }
        let Some(before) = self.last.replace(now) else { return };
        if self.passes >= self.skipped {
            let (block, work) = part(site);
            let at = self.blocks.iter().position(|known| known.block == block).unwrap_or_else(|| {
                self.blocks.push(BlockTime { block, spent: Default::default() });
                self.blocks.len() - 1
            });
            let slot = Work::ALL.iter().position(|known| *known == work).unwrap_or_default();
            self.blocks[at].spent[slot] += now - before;
        }
        if site == ENDS[1] {
            self.passes += 1;
            self.last = None;
        }
    }
}

/// The block and the kind of work that end at a site.
fn part(site: &str) -> (String, Work) {
    let name = site.strip_prefix("unet.").unwrap_or(site);
    let block = match name.split('.').collect::<Vec<_>>().as_slice() {
        [list @ ("down_blocks" | "up_blocks"), index, ..] => format!("{list}.{index}"),
        ["mid_block", ..] => "mid_block".into(),
        ["conv_norm_out" | "conv_out"] => "conv_out".into(),
        _ => "conv_in".into(),
    };
    let number = |after: &str| {
        let mut parts = name.rsplit('.');
        parts.next().is_some_and(|part| part.parse::<usize>().is_ok()) && parts.next() == Some(after)
    };
    let work = match name.rsplit('.').next() {
        Some("attn1") => Work::SelfAttention,
        Some("attn2") => Work::CrossAttention,
        Some("ff") => Work::FeedForward,
        _ if number("resnets") => Work::Resnet,
        _ => Work::Other,
    };
    (block, work)
}

impl Observer for Stopwatch {
    fn wants(&self, ask: Ask) -> bool {
        // Inputs part what is between modules from what is within.
        matches!(ask, Ask::Site(name, _) if name.starts_with("unet.") && (!is_inner(name) || name.ends_with(".in")))
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        if let Event::Tensor(site, _) = event
            && site.name.starts_with("unet.")
        {
            self.stamp(site.name);
        }
        Ok(Flow::Continue)
    }
}
