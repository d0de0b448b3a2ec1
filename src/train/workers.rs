//! Threads that share a batch: on a processor, small networks learn faster side by side than one after the other with all
//! threads in each layer.
//!
//! Enters: networks over the same weights, the parts of a batch. Leaves: what the whole batch teaches.

use super::parameters::Parameters;
use super::trainer::Lesson;
use crate::error::{Error, Result};
use tch::Kind;

/// The weights that learn, as the networks see them: themselves, or a copy in half precision that follows them.
pub struct Seen {
    learning: Parameters,
    seen: Parameters,
}

impl Seen {
    /// Of weights in f32.
    pub fn of(learning: &Parameters, kind: Kind) -> Seen {
        Seen { learning: learning.shared(), seen: learning.in_kind(kind, true) }
    }

    /// What networks are built over.
    pub fn weights(&self) -> &Parameters {
        &self.seen
    }

    /// To be called before each step.
    pub fn follow(&self) {
        if self.seen.flat().kind() != self.learning.flat().kind() {
            self.seen.follow(&self.learning);
        }
    }
}

/// What `learn` finds in each part, one worker and one thread for each, put together: a part counts what `size` says.
///
/// # Errors
/// Those of `learn`.
pub fn share<W: Send, P: Send>(
    workers: &mut [W],
    parts: Vec<P>,
    size: impl Fn(&P) -> i64,
    learn: impl Fn(&W, &P) -> Result<Lesson> + Sync,
) -> Result<Lesson> {
    if let ([worker, ..], [part]) = (&*workers, &parts[..]) {
        return learn(worker, part);
    }
    let threads = tch::get_num_threads();
    let each = (threads / parts.len() as i32).max(1);
    let whole: i64 = parts.iter().map(&size).sum();
    let shares: Vec<f64> = parts.iter().map(|part| size(part) as f64 / whole as f64).collect();
    let learn = &learn;
    let lessons = std::thread::scope(|scope| {
        let mut running = vec![];
        for (worker, part) in workers.iter_mut().zip(parts) {
            running.push(scope.spawn(move || {
                tch::set_num_threads(each);
                learn(worker, &part)
            }));
        }
        running.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    tch::set_num_threads(threads);
    let stopped = |_| Error::Torch("a thread of the training panicked".into());
    let lessons = lessons.into_iter().map(|lesson| lesson.map_err(stopped)?).collect::<Result<Vec<_>>>()?;
    Ok(Lesson::mean(lessons, &shares))
}

/// How many share a batch of so many pictures: a GPU computes each layer for all of them.
pub fn count(asked: usize, batch: i64, device: tch::Device) -> usize {
    if device.is_cuda() { 1 } else { asked.clamp(1, batch.max(1) as usize) }
}
