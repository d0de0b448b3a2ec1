//! Finds the first tensor that is not finite, instead of a black picture or a record of nothing.

use super::device::dtype_name;
use crate::error::{Error, Result};
use crate::watch::observer::{Ask, Event, Flow, Observer};
use crate::watch::probe::{Probe, Through};
use crate::watch::site::is_inner;
use tch::{Device, Kind, Tensor};

/// Whether all numbers are finite.
pub fn is_finite(tensor: &Tensor) -> bool {
    sum(tensor).double_value(&[]).is_finite()
}

/// Whether all numbers of all these tensors are finite. One look for all: on a GPU each look waits for everything before it.
///
/// # Errors
/// When libtorch refuses.
pub fn are_finite(tensors: &[(&str, &Tensor)]) -> Result<bool> {
    let sums: Vec<Tensor> = tensors.iter().map(|(_, tensor)| sum(tensor)).collect();
    Ok(is_finite(&Tensor::f_stack(&sums, 0)?))
}

/// A number that is finite only if all numbers of the tensor are.
fn sum(tensor: &Tensor) -> Tensor {
    match tensor.device() {
        // There is no f64 there, and a sum in f32 could overflow.
        Device::Mps => tensor.abs().max().to_kind(Kind::Float),
        // Up to overflow of the sum itself, which f64 rules out here.
        _ => tensor.sum(Kind::Double),
    }
}

/// Refuses numbers that are not finite among what a step has computed: the first of `tensors`, with their names, that
/// holds one is named.
///
/// # Errors
/// [`Error::NotFinite`].
pub fn check(step: usize, tensors: &[(&str, &Tensor)]) -> Result<()> {
    if are_finite(tensors)? {
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
