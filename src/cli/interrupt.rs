//! Ctrl-C: the first one asks the work to stop where it may, the second ends the program. So do a request to end and a
//! terminal that is closed, unless the program was started to outlive them, as `nohup` and a shell's background do.

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
    handle(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(2);
        }
        talk.say("\nstopping; press Ctrl-C again to stop at once");
    })?;
    Ok(flag)
}

/// Calls `then` at each interrupt that the program was not started to ignore.
fn handle(then: impl FnMut() + Send + 'static) -> Result<()> {
    let ignored = ignored();
    ctrlc::set_handler(then)?;
    ignore(&ignored);
    Ok(())
}

/// The signals among those that are heard which the program was started to ignore.
#[cfg(unix)]
fn ignored() -> Vec<libc::c_int> {
    let is_ignored = |signal: &libc::c_int| {
        // SAFETY: a struct of plain numbers and pointers, for which zeros are a value.
        let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: changes nothing and writes into `now`, which outlives the call.
        let asked = unsafe { libc::sigaction(*signal, std::ptr::null(), &mut now) };
        asked == 0 && now.sa_sigaction == libc::SIG_IGN
    };
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().filter(is_ignored).collect()
}

/// Ignores them again. Between the two a few microseconds pass in which one of them would stop the work, with everything
/// kept.
#[cfg(unix)]
fn ignore(signals: &[libc::c_int]) {
    for signal in signals {
        // SAFETY: installs no code.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

#[cfg(not(unix))]
fn ignored() -> Vec<i32> {
    vec![]
}

#[cfg(not(unix))]
fn ignore(_: &[i32]) {}

/// Has Ctrl-C end the program at once, after `tidy`: for work that leaves nothing that would be worth keeping.
///
/// # Errors
/// When the system refuses to tell of interrupts.
pub fn tidy_up(tidy: fn()) -> Result<()> {
    handle(move || {
        tidy();
        std::process::exit(2);
    })
}
