//! Runs the program as a user would, and watches what it takes.
//!
//! Enters: a folder and a verb's words. Leaves: how it ended, what it said, which limit it went over.

use crate::common::command;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Seconds of a processor. A run of one thread takes about as long on a quiet machine; on a busy one only the clock
/// runs on.
const SECONDS: u64 = 20;
/// For who waits without computing.
const WAIT: Duration = Duration::from_secs(180);
const MEMORY: i64 = 2 << 30;
const FILE_SIZE: u64 = 1 << 30;

/// How the program ended.
pub struct Outcome {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// The limit that was not kept.
    pub over: Option<&'static str>,
    /// What stands on standard error.
    pub said: String,
}

impl Outcome {
    /// Its last lines, and how it ended.
    pub fn describe(&self) -> String {
        let lines: Vec<&str> = self.said.lines().collect();
        let last = lines[lines.len().saturating_sub(6)..].iter().map(|line| line.chars().take(400).collect::<String>());
        let ended = format!("(exit code {:?}, signal {:?})", self.code, self.signal);
        last.chain([ended]).map(|line| format!("  {line}\n")).collect()
    }
}

/// The program with these words, where `{d}` stands for the folder and `~` for a blank in a word.
#[expect(clippy::zombie_processes, reason = "`watch` waits for it, and learns what it took")]
pub fn run(folder: &Path, words: &str) -> Outcome {
    let place = folder.display().to_string();
    let (out, err) = (folder.join(".stdout"), folder.join(".stderr"));
    let mut command = command();
    command.args(words.split(' ').map(|word| word.replace("{d}", &place).replace('~', " "))).current_dir(folder);
    command.env("RUST_BACKTRACE", "0").env("HF_HUB_CACHE", folder.join("hub"));
    // One thread a run: two cases run at once.
    command.env("HOME", folder);
    command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    // SAFETY: only system calls that may be made between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for (what, most) in [(libc::RLIMIT_CPU, SECONDS), (libc::RLIMIT_FSIZE, FILE_SIZE), (libc::RLIMIT_CORE, 0)] {
                libc::setrlimit(what, &libc::rlimit { rlim_cur: most, rlim_max: most + 1 });
            }
            Ok(())
        });
    }
    let child = command.spawn().unwrap();
    let mut outcome = watch(child.id() as i32);
    outcome.said = String::from_utf8_lossy(&std::fs::read(err).unwrap()).into_owned();
    outcome
}

/// Waits for a process; ends it when it takes too much.
fn watch(process: i32) -> Outcome {
    let (begun, mut over) = (Instant::now(), None);
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: the process is our child, which nobody else waits for; the places to write to are ours.
    while unsafe { libc::wait4(process, &mut status, libc::WNOHANG, usage.as_mut_ptr()) } == 0 {
        let too_much = if resident(process) > MEMORY {
            Some("2 GB")
        } else if begun.elapsed() > WAIT {
            Some("20 s")
        } else {
            None
        };
        if too_much.is_some() && over.is_none() {
            over = too_much;
            // SAFETY: the child is not reaped yet, so the number is still its own.
            unsafe { libc::kill(process, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    // SAFETY: zeroed at first and written by `wait4`.
    let peak = unsafe { usage.assume_init() }.ru_maxrss * 1024;
    let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
    over = over.or((signal == Some(libc::SIGXCPU)).then_some("20 s"));
    over = over.or((signal == Some(libc::SIGXFSZ)).then_some("1 GB in a file"));
    over = over.or((peak > MEMORY).then_some("2 GB"));
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    Outcome { code, signal, over, said: String::new() }
}

/// Bytes of memory that a process holds now.
fn resident(process: i32) -> i64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<i64>().ok()).unwrap_or(0) * 4096
}
