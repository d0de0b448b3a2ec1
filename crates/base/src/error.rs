//! What can go wrong, said once: every error names the thing, what was expected and what was found.
//!
//! A message is one line in lower case; the way out stands in [`Error::hint`], which the command line prints under it.

use crate::units::count;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{}`: {}", path.display(), plain(source))]
    Io {
        /// What was being done: `read`, `write`, `create`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is there but does not hold what it should.
    #[error("`{}` is not a valid {kind}: {reason}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What it should be: `safetensors file`, `scheduler config`, …
        kind: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// The weights lack a tensor that the configuration asks for.
    #[error("tensor `{name}` {expected:?} is missing from `{}`", path.display())]
    MissingTensor {
        /// The weight file.
        path: PathBuf,
        /// The tensor's key.
        name: String,
        /// The shape it should have.
        expected: Vec<i64>,
    },
    /// The weights hold a tensor of another shape than the configuration asks for.
    #[error("tensor `{name}` in `{}` has shape {found:?}, the configuration asks for {expected:?}", path.display())]
    WrongShape {
        /// The weight file.
        path: PathBuf,
        /// The tensor's key.
        name: String,
        /// The shape the configuration asks for.
        expected: Vec<i64>,
        /// The shape in the file.
        found: Vec<i64>,
    },
    /// The weights hold tensors that no module asked for.
    #[error("`{}` holds {} the configuration has no place for: {}", path.display(), count(names.len(), "tensor"), listing(names))]
    ExtraTensors {
        /// The weight file.
        path: PathBuf,
        /// Their keys.
        names: Vec<String>,
    },
    /// A configuration value that this program does not implement.
    #[error("`{field}` is {found} in {place}: not supported (supported: {supported})")]
    Unsupported {
        /// The field.
        field: String,
        /// The value found.
        found: String,
        /// Where it stands: a file, or the command line.
        place: String,
        /// What would be accepted.
        supported: String,
    },
    /// A name that is not in a list of known ones.
    #[error("unknown {kind} `{name}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown {
        /// What kind of name: `scheduler`, `format`, …
        kind: &'static str,
        /// The name given.
        name: String,
        /// The closest known name, if any is close.
        nearest: Option<String>,
        /// The known names, for the hint.
        known: Vec<String>,
    },
    /// Something the user asked for that cannot be done.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
        /// The way out.
        hint: Option<String>,
    },
    /// Something that could be shown if the run had recorded it. What else there is can still be shown.
    #[error("{message}")]
    NotRecorded {
        /// What is missing from which run.
        message: String,
        /// How to get it.
        hint: String,
    },
    /// A tensor turned NaN or infinite.
    #[error("`{site}` holds {found} at step {step} in {dtype}: the first tensor of the run that is not finite")]
    NotFinite {
        /// The tensor site.
        site: String,
        /// The step.
        step: usize,
        /// The dtype it was computed in.
        dtype: String,
        /// `NaN` or `infinity`.
        found: &'static str,
    },
    /// An observer stopped the run, at the user's wish.
    #[error("cancelled")]
    Cancelled,
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(String),
    /// The program broke: a mistake of its own.
    #[error("{0}")]
    Broken(String),
}

impl Error {
    /// An [`Error::Invalid`] with a way out.
    pub fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Error::Invalid { message: message.into(), hint: Some(hint.into()) }
    }

    /// The same error with another way out, if it is one that says what the user asked for.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        match self {
            Error::Invalid { message, .. } => Error::invalid(message, hint),
            other => other,
        }
    }

    /// The same error, if it names no file of itself, with the file whose content is to blame.
    pub fn blaming(self, path: &Path) -> Self {
        match &self {
            Error::Invalid { .. } | Error::Unknown { .. } => {
                Error::Invalid { message: format!("{self}: `{}`", path.display()), hint: self.hint() }
            }
            _ => self,
        }
    }

    /// An [`Error::BadFile`].
    pub fn bad_file(path: &Path, kind: &'static str, reason: impl ToString) -> Self {
        Error::BadFile { path: path.to_path_buf(), kind, reason: reason.to_string() }
    }

    /// An [`Error::Unknown`], with the nearest of the known names if one is close.
    pub fn unknown(kind: &'static str, name: &str, known: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let known: Vec<String> = known.into_iter().map(Into::into).collect();
        let close = |k: &&String| strsim::damerau_levenshtein(&name.to_lowercase(), k) <= 1 + k.len() / 4;
        let nearest =
            known.iter().filter(close).min_by_key(|k| strsim::damerau_levenshtein(&name.to_lowercase(), k)).cloned();
        Error::Unknown { kind, name: name.to_string(), nearest, known }
    }

    /// The way out, if there is one to name.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Invalid { hint, .. } => hint.clone(),
            Error::NotRecorded { hint, .. } => Some(hint.clone()),
            Error::Unknown { known, .. } => Some(format!("one of: {}", known.join(", "))),
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some("free some disk space; what was recorded before this stays readable".into())
            }
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("choose a folder that you may write to".into())
            }
            Error::BadFile { kind: "safetensors file", .. } => {
                Some("the file may have been cut short while it was copied or downloaded: fetch it again".into())
            }
            Error::BadFile { kind: "input picture", .. } => {
                Some("PNG, JPEG and WebP are read; open the file in a picture viewer to see whether it is whole".into())
            }
            Error::NotFinite { site, dtype, .. } if dtype == "f32" && site.contains('.') => {
                let component = site.split('.').next().unwrap_or_default();
                Some(format!("the weights of `{component}` may be damaged: compare the file with where it came from"))
            }
            Error::MissingTensor { .. } | Error::WrongShape { .. } | Error::ExtraTensors { .. } => {
                Some("the weights and the config.json beside them belong to different models".into())
            }
            Error::NotFinite { dtype, .. } if dtype != "f32" => Some("run again with `--dtype f32`".into()),
            Error::NotFinite { site, .. } if site == "noise_guided" => {
                Some("ask for less guidance: 7.5 is a usual `--guidance-scale`".into())
            }
            Error::Torch(text) if text.to_lowercase().contains("memory") || text.contains("allocate") => {
                Some("ask for a smaller picture or batch, or use `--dtype bf16`".into())
            }
            Error::Broken(_) => Some("run again with RUST_BACKTRACE=1 for the place, and report it".into()),
            Error::NotFinite { site, .. } => site.split_once('.').map(|(component, _)| {
                format!("the weights of `{component}` may be damaged: compare the file with where it came from")
            }),
            _ => None,
        }
    }
}

#[cfg(feature = "libtorch")]
impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        // libtorch appends a C++ backtrace of many lines: the first says it all.
        Error::Torch(refusal(error.to_string().lines().next().unwrap_or_default()))
    }
}

/// Carries out some work; a panic in it is an error like others. libtorch's refusals, too little memory above all, arrive
/// as panics.
///
/// # Errors
/// The work's; [`Error::Torch`] for a refusal of libtorch, [`Error::Broken`] for any other panic.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // What the work has left half-done is not looked at again but for what is on disk.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(of_panic(panic.as_ref())))
}

/// The error that a panic stands for: the first line of its message, without what tch wraps around libtorch's.
pub fn of_panic(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("something broke");
    let (torch, text) = match text.rsplit_once("Torch(\"") {
        Some((_, refusal)) => (true, refusal),
        None => (false, text),
    };
    let line = text.split("\\n").next().unwrap_or(text).lines().next().unwrap_or_default().to_string();
    if torch { Error::Torch(refusal(&line)) } else { Error::Broken(line) }
}

/// What libtorch refuses, without the advice on its allocator's settings that follows when a GPU's memory is full.
fn refusal(line: &str) -> String {
    match line.split_once(" Including non-PyTorch memory") {
        Some((what, _)) if line.contains("out of memory") => what.to_string(),
        _ => line.to_string(),
    }
}

/// Attaches the path to an I/O result.
pub trait IoContext<T> {
    /// Says what was being done to which path.
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { action, path: path.to_path_buf(), source })
    }
}

/// The first few names, quoted.
fn listing(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(5).map(|n| format!("`{n}`")).collect();
    let rest = if names.len() > 5 { format!(" and {} more", names.len() - 5) } else { String::new() };
    shown.join(", ") + &rest
}

/// The system's words without Rust's `(os error 2)`, in lower case.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(all(test, feature = "libtorch"))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_a_way_out() {
        let refused = caught::<()>(|| {
            let _ = tch::Tensor::zeros([2, 3], (tch::Kind::Float, tch::Device::Cpu)).view([7]);
            Ok(())
        });
        let Err(Error::Torch(text)) = refused else { panic!("{refused:?}") };
        assert!(text.starts_with("shape '[7]' is invalid") && !text.contains('\n'), "{text}");
        let memory = caught::<()>(|| {
            let _ = tch::Tensor::zeros([1 << 50], (tch::Kind::Float, tch::Device::Cpu));
            Ok(())
        });
        assert!(memory.unwrap_err().hint().unwrap().contains("smaller picture"));
        let full = "CUDA out of memory. Tried to allocate 4 GiB. GPU 0 has 79 GiB of which 1 GiB is free.";
        let said = format!(
            "Torch(\"{full} Including non-PyTorch memory, this process has 78 GiB. Try setting this and that.\")"
        );
        let memory = caught::<()>(|| panic!("{said}")).unwrap_err();
        assert!(matches!(&memory, Error::Torch(text) if text == full), "{memory:?}");
        let broken = caught::<()>(|| panic!("no {}", "way")).unwrap_err();
        assert!(matches!(&broken, Error::Broken(text) if text == "no way"), "{broken:?}");
        assert!(broken.hint().unwrap().contains("report it"));
        assert!(matches!(caught(|| Err::<(), _>(Error::Cancelled)), Err(Error::Cancelled)));
    }
}
