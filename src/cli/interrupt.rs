//! Ctrl-C: the first one asks the work to stop where it may, the second ends the program.

use super::report::Talk;
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The flag that Ctrl-C raises.
///
/// # Errors
/// When the system refuses to tell of interrupts.
pub fn listen(talk: Talk) -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(2);
        }
        talk.say("\nstopping; press Ctrl-C again to stop at once");
    })?;
    Ok(flag)
}
