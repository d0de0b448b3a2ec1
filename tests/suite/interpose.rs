//! Programs ended in the midst of their work, or on a disk that fills: a library in C that is preloaded into them counts
//! the calls that change files. Without a C compiler, or on another system than Linux, the tests say so and pass.

use crate::common::{command, root, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The library, compiled once; `None` where that is not possible.
pub fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compiled = LIBRARY.get_or_init(|| {
        let source = root("tests/suite/interpose/interpose.c");
        // Each test program has its own, for they may run at one time.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("interpose-{}.so", std::process::id()));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&target).arg(source).arg("-ldl");
        let made = cfg!(target_os = "linux") && compiler.status().is_ok_and(|status| status.success());
        made.then_some(target)
    });
    if compiled.is_none() {
        eprintln!("not checked: it needs Linux and a C compiler");
    }
    compiled.as_deref()
}

/// The program with arguments, with the library if there is one and what it is to do.
pub fn sdviz(words: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = command();
    command.args(words).envs(settings.iter().copied());
    if let Some(library) = library().filter(|_| !settings.is_empty()) {
        command.env("LD_PRELOAD", library);
    }
    command
}

/// The calls on paths that begin with `under` of a command that goes through: what each does, and with which path in
/// `under`.
#[allow(dead_code)]
pub fn list(words: &[&str], under: &Path) -> Vec<(String, String)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (under, path) = (under.to_str().unwrap(), file.path().to_str().unwrap());
    let output = sdviz(words, &[("INTERPOSE_UNDER", under), ("INTERPOSE_LIST", path)]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(call, path)| (call.into(), path[under.len()..].into()))
        .collect()
}

/// The names in a folder that begin with a dot, also in the folders in it.
#[allow(dead_code)]
pub fn hidden(folder: &Path) -> Vec<String> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.extend(hidden(&entry.path()));
        }
        found.extend(name.starts_with('.').then_some(name));
    }
    found
}
