//! What a page keeps of a run, and how, so that it stays within its limit. The rule, in the order in which it gives way:
//!
//! 1. Everything as it was recorded: tensors in f32, pictures as PNG.
//! 2. Tensors take at most two thirds of the room (nine tenths where nothing was decoded). Those that follow from
//!    others by a formula are computed in the page; then the predictions go to f16, then the latents too, then the
//!    predictions are thinned to one step in 2, in 4, left out, and the latents thinned.
//! 3. Pictures take what is left: PNG, else WebP of falling quality and then size, then thinned.
//!
//! Before these two comes recorded attention, with two fifths of the room at most; `attention` says how it gives way.
//!
//! Enters: a run and its room in bytes. Leaves: blocks, and the run's data changed to what they hold.

use super::attention;
use super::describe::{Kept, KeptPicture, KeptPictures, Reduction, ReductionKind, RunData};
use super::pictures::{self, Form};
use super::tensors::{self, Precision};
use crate::error::Result;
use crate::record::plan::Quantity;
use crate::trace::reader::Run;
use rayon::prelude::*;

/// Characters of a block beside its text.
pub(super) const TAGS: u64 = 80;
/// Steps by which a size is estimated.
pub(super) const SAMPLES: usize = 4;

/// A block of a page: an inert script element.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub id: String,
    pub text: String,
}

impl Block {
    pub(super) fn size(&self) -> u64 {
        self.text.len() as u64 + TAGS
    }
}

/// What a run's data became.
pub(super) struct KeptBlocks {
    pub blocks: Vec<Block>,
    pub attention: u64,
    pub tensors: u64,
    pub pictures: u64,
}

/// How a quantity is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As numbers, of one step in `every`.
    Held(Precision, usize),
    /// Computed in the page.
    Derived,
    Dropped,
}

/// Packs a run into `room` bytes, or whole where there is no limit.
///
/// # Errors
/// When a step or a picture cannot be read.
pub(super) fn keep(run: &Run, data: &mut RunData, room: Option<u64>) -> Result<KeptBlocks> {
    let attended = attention::keep(run, data, room.map(|room| room / 5 * 2))?;
    let attention = attended.iter().map(Block::size).sum();
    let room = room.map(|room| room.saturating_sub(attention));
    let decoded = data.finished.is_some() || !data.pictures.is_empty();
    let tensor_room = room.map(|room| if decoded { room / 3 * 2 } else { room / 10 * 9 });
    let ways = choose(run, data, tensor_room)?;
    let held = hold(run, data, &ways)?;
    let tensors: u64 = held.iter().map(Block::size).sum();
    let shown = show(run, data, room.map(|room| room.saturating_sub(tensors)))?;
    let pictures = shown.iter().map(Block::size).sum();
    let blocks = attended.into_iter().chain(held).chain(shown).collect();
    Ok(KeptBlocks { blocks, attention, tensors, pictures })
}

/// Whether a quantity is a prediction, which gives way before the latents do.
fn is_prediction(what: Quantity) -> bool {
    what != Quantity::Latents
}

/// How each quantity is kept.
fn choose(run: &Run, data: &RunData, room: Option<u64>) -> Result<Vec<(Quantity, Way)>> {
    let all = |way: &dyn Fn(Quantity) -> Way| -> Vec<(Quantity, Way)> {
        data.tensors.keys().map(|what| (*what, way(*what))).collect()
    };
    let whole = all(&|_| Way::Held(Precision::Single, 1));
    let Some(room) = room else { return Ok(whole) };
    let mut sizes = vec![];
    for (what, kept) in &data.tensors {
        for precision in [Precision::Single, Precision::Half] {
            sizes.push(((*what, precision), estimate(run, *what, kept, data.batch, precision)?));
        }
    }
    let size = |ways: &[(Quantity, Way)]| -> u64 {
        let of = |(what, way): &(Quantity, Way)| match way {
            Way::Held(precision, every) => {
                let known = sizes.iter().find(|(key, _)| *key == (*what, *precision));
                known.map_or(0, |(_, size)| size / *every as u64)
            }
            Way::Derived | Way::Dropped => 0,
        };
        ways.iter().map(of).sum()
    };
    if size(&whole) <= room {
        return Ok(whole);
    }
    let mut derived = vec![];
    for what in [Quantity::NoiseGuided, Quantity::PredictedOriginal] {
        if let Some(kept) = data.tensors.get(&what)
            && tensors::follows(run, what, &kept.steps, data.batch)?
        {
            derived.push(what);
        }
    }
    use Precision::{Half, Single};
    let ladder: [(Way, Way); 8] = [
        (Way::Held(Single, 1), Way::Held(Single, 1)),
        (Way::Held(Single, 1), Way::Held(Half, 1)),
        (Way::Held(Half, 1), Way::Held(Half, 1)),
        (Way::Held(Half, 1), Way::Held(Half, 2)),
        (Way::Held(Half, 1), Way::Held(Half, 4)),
        (Way::Held(Half, 1), Way::Dropped),
        (Way::Held(Half, 2), Way::Dropped),
        (Way::Held(Half, 4), Way::Dropped),
    ];
    let rung = |(latents, predictions): (Way, Way)| {
        all(&|what| match what {
            what if derived.contains(&what) && predictions != Way::Dropped => Way::Derived,
            what if is_prediction(what) => predictions,
            _ => latents,
        })
    };
    let found = ladder.into_iter().map(rung).find(|ways| size(ways) <= room);
    Ok(found.unwrap_or_else(|| all(&|_| Way::Dropped)))
}

/// About how many bytes a quantity takes, from some of its steps.
fn estimate(run: &Run, what: Quantity, kept: &Kept, batch: usize, precision: Precision) -> Result<u64> {
    let sampled = super::super::words::spread(&kept.steps, SAMPLES);
    let mut sum = 0;
    for step in &sampled {
        if let Some(values) = run.tensor(*step, what, batch)? {
            sum += tensors::pack(&values, precision)?.len() as u64 + TAGS;
        }
    }
    Ok(sum * kept.steps.len() as u64 / sampled.len().max(1) as u64)
}

/// Packs what is held, and says of each quantity in the data how it is kept.
fn hold(run: &Run, data: &mut RunData, ways: &[(Quantity, Way)]) -> Result<Vec<Block>> {
    let mut blocks = vec![];
    let (mut halved, mut dropped) = (vec![], vec![]);
    for (what, way) in ways {
        let Some(kept) = data.tensors.get_mut(what) else { continue };
        match *way {
            Way::Held(precision, every) => {
                if every > 1 {
                    kept.steps = thinned(&kept.steps, every);
                    data.reduced.push(reduction(ReductionKind::Thinned, vec![what.key()], Some(every as u32)));
                }
                kept.dtype = precision.name();
                if precision == Precision::Half {
                    halved.push(what.key());
                }
                let packed = kept.steps.par_iter().map(|step| -> Result<Option<Block>> {
                    let Some(values) = run.tensor(*step, *what, data.batch)? else { return Ok(None) };
                    let id = format!("t-{}-{}-{step}", data.id, what.key());
                    Ok(Some(Block { id, text: tensors::pack(&values, precision)? }))
                });
                let packed = packed.collect::<Result<Vec<_>>>()?;
                blocks.extend(packed.into_iter().flatten());
            }
            Way::Derived => kept.derived = true,
            Way::Dropped => dropped.push(what.key()),
        }
    }
    data.tensors.retain(|what, _| !dropped.contains(&what.key()));
    computable(data);
    if !halved.is_empty() {
        data.reduced.push(reduction(ReductionKind::F16, halved, None));
    }
    if !dropped.is_empty() {
        data.reduced.push(reduction(ReductionKind::Dropped, dropped, None));
    }
    Ok(blocks)
}

/// Keeps of what is computed only the steps that have what it takes.
fn computable(data: &mut RunData) {
    let steps = |data: &RunData, what| data.tensors.get(&what).map(|kept| kept.steps.clone()).unwrap_or_default();
    if data.tensors.get(&Quantity::NoiseGuided).is_some_and(|kept| kept.derived) {
        let (uncond, text) = (steps(data, Quantity::NoiseUncond), steps(data, Quantity::NoiseText));
        if let Some(kept) = data.tensors.get_mut(&Quantity::NoiseGuided) {
            kept.steps.retain(|step| uncond.contains(step) && text.contains(step));
        }
    }
    let guided = match data.tensors.contains_key(&Quantity::NoiseGuided) {
        true => steps(data, Quantity::NoiseGuided),
        // The page computes it on the way.
        false => steps(data, Quantity::NoiseText),
    };
    let latents = steps(data, Quantity::Latents);
    if let Some(kept) = data.tensors.get_mut(&Quantity::PredictedOriginal)
        && kept.derived
    {
        kept.steps.retain(|step| guided.contains(step) && step.checked_sub(1).is_some_and(|s| latents.contains(&s)));
    }
}

pub(super) fn reduction(kind: ReductionKind, of: Vec<&'static str>, to: Option<u32>) -> Reduction {
    Reduction { kind, of, to }
}

/// One step in `every`, the first and the last among them.
pub(super) fn thinned(steps: &[usize], every: usize) -> Vec<usize> {
    let last = steps.len().saturating_sub(1);
    steps.iter().enumerate().filter(|(i, _)| i % every == 0 || *i == last).map(|(_, step)| *step).collect()
}

/// Packs the pictures into the room, and says in the data how they are kept.
fn show(run: &Run, data: &mut RunData, room: Option<u64>) -> Result<Vec<Block>> {
    let sides = data.pictures.values().map(|p| &p.picture).chain(&data.finished).map(|p| p.width.max(p.height));
    let Some(side) = sides.max() else { return Ok(vec![]) };
    let Some(room) = room else { return encode(run, data, Form::Png, 1) };
    let mut tries = vec![];
    for form in pictures::forms(side) {
        tries.push((form, 1));
    }
    if let Some(&(least, _)) = tries.last() {
        tries.extend([2, 4, 8, usize::MAX].map(|every| (least, every)));
    }
    for (form, every) in tries {
        if estimated(run, data, form, every)? > room {
            continue;
        }
        let before = data.clone();
        let blocks = encode(run, data, form, every)?;
        if blocks.iter().map(Block::size).sum::<u64>() <= room {
            return Ok(blocks);
        }
        *data = before;
    }
    // Not even the finished picture fits.
    data.pictures.clear();
    data.finished = None;
    data.reduced.push(reduction(ReductionKind::Dropped, vec!["pictures"], None));
    Ok(vec![])
}

/// About how many bytes the pictures take, from some of them.
fn estimated(run: &Run, data: &RunData, form: Form, every: usize) -> Result<u64> {
    let mut sum = 0;
    for (what, kept) in &data.pictures {
        let sampled = super::super::words::spread(&kept.steps, SAMPLES);
        let sizes = sampled.par_iter().map(|step| pictures::step(run, (*step, *what), data.batch, form));
        let sizes = sizes.collect::<Result<Vec<_>>>()?;
        let bytes: u64 = sizes.iter().flatten().map(|b| pictures::text_length(b.len()) + TAGS).sum();
        sum += bytes * thinned(&kept.steps, every).len() as u64 / sampled.len().max(1) as u64;
    }
    Ok(sum)
}

fn encode(run: &Run, data: &mut RunData, form: Form, every: usize) -> Result<Vec<Block>> {
    let mut blocks = vec![];
    for (what, kept) in &mut data.pictures {
        kept.steps = if every == usize::MAX { vec![] } else { thinned(&kept.steps, every) };
        let coded = kept.steps.par_iter().map(|step| -> Result<Option<Block>> {
            let bytes = pictures::step(run, (*step, *what), data.batch, form)?;
            let id = format!("p-{}-{}-{step}", data.id, what.key());
            Ok(bytes.map(|bytes| Block { id, text: pictures::text(&bytes) }))
        });
        blocks.extend(coded.collect::<Result<Vec<_>>>()?.into_iter().flatten());
        reshape(&mut kept.picture, form);
    }
    if let (Some(kept), Some(bytes)) = (&mut data.finished, pictures::finished(run, data.batch, form)?) {
        blocks.push(Block { id: format!("f-{}", data.id), text: pictures::text(&bytes) });
        reshape(kept, form);
    }
    data.pictures.retain(|_, kept: &mut KeptPictures| !kept.steps.is_empty());
    if let Form::WebP { quality, side } = form {
        let whole = run.record().plan.width.max(run.record().plan.height) as u32;
        data.reduced.push(reduction(ReductionKind::Lossy, vec!["pictures"], Some(u32::from(quality))));
        if side < whole {
            data.reduced.push(reduction(ReductionKind::Smaller, vec!["pictures"], Some(side)));
        }
    }
    match every {
        1 => {}
        usize::MAX => data.reduced.push(reduction(ReductionKind::Dropped, vec!["pictures of the steps"], None)),
        every => data.reduced.push(reduction(ReductionKind::Thinned, vec!["pictures"], Some(every as u32))),
    }
    Ok(blocks)
}

fn reshape(kept: &mut KeptPicture, form: Form) {
    let Form::WebP { quality, side } = form else { return };
    (kept.format, kept.quality) = ("webp", Some(quality));
    let longer = kept.width.max(kept.height);
    if longer > side {
        let scaled = |length: u32| ((f64::from(length) * f64::from(side) / f64::from(longer)).round() as u32).max(1);
        (kept.width, kept.height) = (scaled(kept.width), scaled(kept.height));
    }
}
