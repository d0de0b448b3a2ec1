//! Finds the first tensor that is not finite, instead of a black picture or a record of nothing.

use super::device::dtype_name;
use crate::error::{Error, Result};
use crate::watch::observer::{Ask, Event, Flow, Observer};
use crate::watch::probe::{Probe, Through};
use crate::watch::site::is_inner;
use tch::{Kind, Tensor};

/// Whether all numbers are finite.
pub fn is_finite(tensor: &Tensor) -> bool {
    // A sum is finite only if every number is, up to overflow of the sum itself, which f64 rules out here.
    tensor.sum(Kind::Double).double_value(&[]).is_finite()
}

/// Refuses numbers that are not finite among what a step has computed: the first of `tensors`, with their names, that
/// holds one is named.
///
/// # Errors
/// [`Error::NotFinite`].
pub fn check(step: usize, tensors: &[(&str, &Tensor)]) -> Result<()> {
    // One look for all: on a GPU each look waits for everything before it.
    let sums: Vec<Tensor> = tensors.iter().map(|(_, tensor)| tensor.sum(Kind::Double)).collect();
    if is_finite(&Tensor::f_stack(&sums, 0)?) {
        return Ok(());
    }
    let bad = tensors.iter().find(|(_, tensor)| !is_finite(tensor));
    bad.map_or(Ok(()), |(name, tensor)| Err(not_finite(name, step, tensor)))
}

fn not_finite(site: &str, step: usize, tensor: &Tensor) -> Error {
    let found = if tensor.isnan().any().int64_value(&[]) != 0 { "NaN" } else { "infinity" };
    Error::NotFinite { site: site.into(), step, dtype: dtype_name(tensor.kind()).into(), found }
}

/// Looks at every site until one holds a NaN or an infinity.
#[derive(Default)]
struct Sentinel {
    first: Option<Error>,
}

impl Observer for Sentinel {
    fn wants(&self, ask: Ask) -> bool {
        self.first.is_none() && matches!(ask, Ask::Site(name, _) if !is_inner(name))
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        if let Event::Tensor(site, tensor) = event
            && !is_finite(tensor)
        {
            self.first = Some(not_finite(site.name, site.step, tensor));
        }
        Ok(Flow::Continue)
    }
}

/// Repeats a forward pass whose result was not finite, with the editors behind `probe`, watching every site, and says where
/// it went wrong first.
pub fn first_bad_site(step: usize, probe: &Probe, forward: impl FnOnce(&Probe) -> Result<Tensor>) -> Error {
    let mut sentinel = Sentinel::default();
    let repeated = Through::new(probe, |axes| axes).with(&mut sentinel, forward);
    match (sentinel.first, repeated) {
        (Some(error), _) | (None, Err(error)) => error,
        (None, Ok(out)) => not_finite("the model's output", step, &out),
    }
}
