//! Changing a run: what an editor is asked, and what it may do.

use crate::error::Result;
use crate::watch::site::Site;
use tch::Tensor;

/// Somebody who changes a run: exchanges tensors on their way through the model. Observers see what goes on afterwards.
/// A run with no editor has the bytes that it has without this.
pub trait Editor {
    /// Whether it may want to change the tensor at this site during this step. Asked before anything is formed for it.
    fn wants(&self, site: &str, step: usize) -> bool;

    /// The tensor in place of this one, of the same shape, dtype and device; `None` leaves it as it is. The tensor may be
    /// in use elsewhere: it must not be changed in place.
    ///
    /// # Errors
    /// An error ends the run.
    fn edit(&mut self, site: &Site, tensor: &Tensor) -> Result<Option<Tensor>>;
}
