//! What runs of one sweep share: text embeddings and noise, computed once and handed to every run that needs them.
//!
//! Enters: what a run asks for and how to compute it. Leaves: the same numbers as if it had been computed anew. The
//! tensors that arose on the way to the embeddings are kept too and shown again, so that the record of a run does not
//! tell whether its embeddings were computed for it.

use super::conditioning::Key;
use super::noise::{self, NoiseStream};
use crate::error::Result;
use crate::watch::observer::{Ask, Event, Flow, Observer};
use crate::watch::probe::Probe;
use crate::watch::site::{Axes, is_inner};
use std::cell::RefCell;
use std::collections::HashMap;
use tch::Tensor;

/// How many entries each of the two shelves holds before it is emptied: enough for the axes of a sweep, and for
/// Stable Diffusion 1.x less than a gigabyte.
const SHELF: usize = 32;

/// Text embeddings and noise that were computed before. Belongs to one loaded model.
#[derive(Debug, Default)]
pub struct Shared {
    keep: bool,
    texts: RefCell<HashMap<Key, Text>>,
    noises: RefCell<HashMap<Source, Vec<Tensor>>>,
}

/// Where noise comes from: a seed, and the shape of one draw.
type Source = (u64, Vec<i64>);

/// Embeddings and what was seen on the way to them.
#[derive(Debug)]
struct Text {
    embeddings: Tensor,
    seen: Vec<(String, Axes, Tensor)>,
}

impl Shared {
    /// Empty, and filled by the runs that use it.
    pub fn new() -> Shared {
        Shared { keep: true, ..Shared::default() }
    }

    /// Empty, and staying so: for a run that comes alone.
    pub fn nothing() -> Shared {
        Shared::default()
    }

    /// The embeddings of texts, `[texts, tokens, width]`: kept ones, or those that `compute` makes. Tensors that
    /// arise inside are shown to `probe` in both cases.
    ///
    /// # Errors
    /// Those of `compute` and of the observers.
    pub fn text(&self, key: &Key, probe: &Probe, compute: impl Fn(&Probe) -> Result<Tensor>) -> Result<Tensor> {
        // An editor may make other embeddings of the same texts.
        if !self.keep || probe.has_editors() {
            return compute(probe);
        }
        let mut texts = self.texts.borrow_mut();
        if !texts.contains_key(key) {
            let mut collector = TensorCollector::default();
            let embeddings = compute(&Probe::new(vec![&mut collector]))?;
            make_room(&mut texts);
            texts.insert(key.clone(), Text { embeddings, seen: collector.seen });
        }
        let text = &texts[key];
        for (name, axes, tensor) in &text.seen {
            probe.see(name, *axes, tensor)?;
        }
        Ok(text.embeddings.shallow_clone())
    }

    /// The noise of a batch, as [`NoiseStream::new`] draws it. Of a long run the first portion is kept.
    pub fn noise(&self, seeds: &[u64], shape: &[i64], count: usize) -> NoiseStream {
        if !self.keep {
            return NoiseStream::new(seeds, shape, count);
        }
        let mut noises = self.noises.borrow_mut();
        let kept = count.min(noise::HELD);
        let mut of = |seed: u64| {
            let key = (seed, shape.to_vec());
            if noises.get(&key).is_none_or(|draws| draws.len() < kept) {
                make_room(&mut noises);
                noises.insert(key.clone(), noise::draw(seed, shape, kept));
            }
            noises[&key][..kept].iter().map(Tensor::shallow_clone).collect()
        };
        NoiseStream::begun(seeds, shape, count, &seeds.iter().map(|seed| of(*seed)).collect::<Vec<_>>())
    }
}

fn make_room<K, V>(shelf: &mut HashMap<K, V>) {
    if shelf.len() >= SHELF {
        shelf.clear();
    }
}

/// Keeps every tensor it is shown.
#[derive(Default)]
struct TensorCollector {
    seen: Vec<(String, Axes, Tensor)>,
}

impl Observer for TensorCollector {
    fn wants(&self, ask: Ask) -> bool {
        // Attention probabilities would switch off the fused kernel.
        matches!(ask, Ask::Site(name, _) if !is_inner(name))
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        if let Event::Tensor(site, tensor) = event {
            self.seen.push((site.name.to_string(), site.axes, tensor.shallow_clone()));
        }
        Ok(Flow::Continue)
    }
}
