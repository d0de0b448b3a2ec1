//! Finds the first tensor that is not finite, instead of a black picture.

use super::device::dtype_name;
use crate::error::{Error, Result};
use crate::trace::observer::{Ask, Event, Flow, Observer};
use crate::trace::probe::{Probe, Through};
use crate::trace::site::is_inner;
use tch::{Kind, Tensor};

/// Whether all numbers are finite.
pub fn is_finite(tensor: &Tensor) -> bool {
    // A sum is finite only if every number is, up to overflow of the sum itself, which f64 rules out here.
    tensor.sum(Kind::Double).double_value(&[]).is_finite()
}

/// Looks at every site until one holds a NaN or an infinity.
#[derive(Default)]
struct Sentinel {
    first: Option<(String, String, &'static str)>,
}

impl Observer for Sentinel {
    fn wants(&self, ask: Ask) -> bool {
        self.first.is_none() && matches!(ask, Ask::Site(name, _) if !is_inner(name))
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        if let Event::Tensor(site, tensor) = event
            && !is_finite(tensor)
        {
            let found = if tensor.isnan().any().int64_value(&[]) != 0 { "NaN" } else { "infinity" };
            self.first = Some((site.name.to_string(), dtype_name(tensor.kind()).to_string(), found));
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
        (Some((site, dtype, found)), _) => Error::NotFinite { site, step, dtype, found },
        (None, Err(error)) => error,
        (None, Ok(out)) => Error::NotFinite {
            site: "the model's output".into(),
            step,
            dtype: dtype_name(out.kind()).into(),
            found: "NaN",
        },
    }
}
