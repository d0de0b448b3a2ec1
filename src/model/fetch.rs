//! A model fetched from the Hugging Face hub, once and only when asked for, into the cache where `--model owner/name` looks.
//!
//! Enters: a repository's name, revision and variant. Leaves: the folder of its files. Each file is written under another
//! name until it is whole; large ones are checked against their SHA-256 sum. What broke off goes on where it stopped.
//! The hub is asked with timeouts, and a transfer in which nothing moves any more is given up.

pub mod choose;

use super::fingerprint;
use super::resolve;
use crate::error::{Error, IoContext, Result};
use choose::RemoteFile;
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

const ENDPOINT: &str = "https://huggingface.co";

/// What to fetch.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `owner/name`.
    pub name: &'a str,
    /// A branch, a tag or a commit.
    pub revision: &'a str,
    /// `fp16` for `*.fp16.safetensors`.
    pub variant: Option<&'a str>,
}

/// Where from, and where to.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The hub's address.
    pub endpoint: String,
    /// What opens gated and private repositories.
    pub token: Option<String>,
    /// The cache.
    pub cache: PathBuf,
    /// How long nothing may move.
    pub patience: Duration,
}

impl Hub {
    /// As the environment says: `HF_ENDPOINT`, `HF_TOKEN` or the token file, and the cache's variables.
    ///
    /// # Errors
    /// When `HF_HUB_OFFLINE` forbids it, or there is no place for a cache.
    pub fn from_env(name: &str) -> Result<Hub> {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let Some(cache) = resolve::hub_cache() else {
            return Err(Error::invalid("there is no place for the Hugging Face cache", "set HF_HOME to a folder"));
        };
        let offline = ["1", "true", "yes", "on"];
        if var("HF_HUB_OFFLINE").is_some_and(|value| offline.contains(&value.trim().to_lowercase().as_str())) {
            return Err(Error::invalid("nothing is fetched: HF_HUB_OFFLINE is set", by_hand(name, &cache)));
        }
        let home = var("HF_HOME").map(PathBuf::from).or_else(|| cache.parent().map(Path::to_path_buf));
        let file = var("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| home.map(|home| home.join("token")));
        let token = var("HF_TOKEN").or_else(|| file.and_then(|file| std::fs::read_to_string(file).ok()));
        let token = token.map(|token| token.trim().to_string()).filter(|token| !token.is_empty());
        let endpoint = var("HF_ENDPOINT").unwrap_or(ENDPOINT.into()).trim_end_matches('/').to_string();
        Ok(Hub { endpoint, token, cache, patience: Duration::from_secs(60) })
    }

    fn api(&self) -> Result<Api> {
        let builder = ApiBuilder::from_cache(Cache::new(self.cache.clone())).with_endpoint(self.endpoint.clone());
        let builder = builder.with_token(self.token.clone()).with_progress(false);
        let builder = builder.with_user_agent("sdviz", env!("CARGO_PKG_VERSION"));
        builder.build().map_err(|e| Error::invalid(format!("cannot ask `{}`: {e}", self.endpoint), "check HF_ENDPOINT"))
    }
}

/// What a fetch has to tell.
#[derive(Debug)]
pub enum Told<'a> {
    /// What will be fetched: the commit, and the files with those that are there already.
    Files(&'a str, &'a [(RemoteFile, bool)]),
    /// A file begins.
    File(&'a RemoteFile),
    /// So many bytes of it are there.
    Bytes(u64),
}

/// Fetches a model; gives the folder of its files.
///
/// # Errors
/// When the hub cannot be reached or does not have it, it is no model for this program, a transfer breaks off, or a file
/// is not what the hub says it is: then nothing is left of that file.
pub fn fetch(request: Request, hub: &Hub, tell: &mut dyn FnMut(Told)) -> Result<PathBuf> {
    check(request)?;
    let api = hub.api()?;
    let repository = || api.repo(Repo::with_revision(request.name.into(), RepoType::Model, request.revision.into()));
    let info = info(&repository(), request, hub)?;
    let commit = info["sha"].as_str().filter(|sha| !sha.is_empty() && sha.bytes().all(|b| b.is_ascii_hexdigit()));
    let commit =
        commit.ok_or_else(|| Error::invalid(format!("`{}` gives no commit", hub.endpoint), "check HF_ENDPOINT"))?;
    let files = choose::needed(request.name, &info, request.variant)?;
    let home = hub.cache.join(format!("models--{}", request.name.replace('/', "--")));
    let folder = home.join("snapshots").join(commit);
    let there = |file: &RemoteFile| {
        let found = std::fs::metadata(folder.join(&file.name)).ok();
        found.is_some_and(|found| file.size.is_none_or(|size| size == found.len()))
    };
    let files: Vec<(RemoteFile, bool)> = files.into_iter().map(|file| (file.clone(), there(&file))).collect();
    tell(Told::Files(commit, &files));
    for (file, _) in files.iter().filter(|(_, there)| !there) {
        tell(Told::File(file));
        forget(&folder.join(&file.name))?;
        let blob = file.blob.as_ref().map(|blob| home.join("blobs").join(blob));
        if blob.is_some_and(|blob| known(file, &blob, &folder)) {
            continue;
        }
        let path = transfer(repository(), file, hub, tell)?;
        verify(file, &path)?;
        if path != folder.join(&file.name) {
            let message = format!("`{}` changed while it was fetched", request.name);
            return Err(Error::invalid(message, "fetch it again"));
        }
    }
    Ok(folder)
}

/// A name and a revision that can be part of an address and of a path.
fn check(request: Request) -> Result<()> {
    let plain = |text: &str, more: &str| {
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c) || more.contains(c);
        !text.is_empty() && text.chars().all(fine) && !text.contains("..") && !text.starts_with(['.', '/'])
    };
    if request.name.split('/').count() != 2 || !request.name.split('/').all(|part| plain(part, "")) {
        return Err(Error::invalid(
            format!("`{}` is no name of a repository", request.name),
            "write it as the hub does: `owner/name`",
        ));
    }
    if !plain(request.revision, "/") {
        let message = format!("`{}` is no revision", request.revision);
        return Err(Error::invalid(message, "name a branch, a tag or a commit: `--revision main`"));
    }
    Ok(())
}

/// What the hub says of a repository.
fn info(repository: &ApiRepo, request: Request, hub: &Hub) -> Result<Value> {
    let short = Some(Duration::from_secs(10));
    let asked = repository.info_request().query("blobs", "true").config();
    let asked = asked.timeout_resolve(short).timeout_connect(short).timeout_global(Some(hub.patience)).build();
    let answer = asked.call().and_then(|mut answer| answer.body_mut().read_json::<Value>());
    answer.map_err(|e| {
        let (said, name, revision) = (e.to_string(), request.name, request.revision);
        let status = said.strip_prefix("http status: ");
        match status {
            Some("401" | "403") => Error::invalid(
                format!("`{name}` is not open to you: it is gated or private, or there is no such repository"),
                "accept its terms on its page and put your token into HF_TOKEN, or check the name",
            ),
            Some("404") => Error::invalid(
                format!("there is no `{name}` with a revision `{revision}` on {}", hub.endpoint),
                "check both on its page",
            ),
            Some(status) => Error::invalid(format!("{} answers with status {status}", hub.endpoint), "try again later"),
            None => {
                let said = said.trim_start_matches("io: ").split(" (os error").next().unwrap_or(&said);
                Error::invalid(format!("{} cannot be reached: {said}", hub.endpoint), by_hand(name, &hub.cache))
            }
        }
    })
}

/// The way to a model without a network here.
fn by_hand(name: &str, cache: &Path) -> String {
    let folder = format!("models--{}", name.replace('/', "--"));
    if resolve::cached().iter().any(|(cached, _)| cached == name) {
        return format!("it is in the cache already: `--model {name}` needs no network");
    }
    format!(
        "fetch it on another machine and copy `{folder}` from its cache to `{}`; or name any folder in diffusers' layout",
        cache.display()
    )
}

/// What a transfer tells the thread that waits for it.
enum Moved {
    Start,
    Bytes(u64),
    End(Box<Result<PathBuf, ApiError>>),
}

struct Reporter(Sender<Moved>);

impl Progress for Reporter {
    fn init(&mut self, _: usize, _: &str) {
        let _ = self.0.send(Moved::Start);
    }

    fn update(&mut self, bytes: usize) {
        let _ = self.0.send(Moved::Bytes(bytes as u64));
    }

    fn finish(&mut self) {}
}

/// Fetches one file on a thread of its own, which is left behind when nothing moves for too long.
fn transfer(repository: ApiRepo, file: &RemoteFile, hub: &Hub, tell: &mut dyn FnMut(Told)) -> Result<PathBuf> {
    let (sender, receiver) = mpsc::channel();
    let name = file.name.clone();
    std::thread::spawn(move || {
        let fetched = repository.download_with_progress(&name, Reporter(sender.clone()));
        let _ = sender.send(Moved::End(Box::new(fetched)));
    });
    wait(&receiver, hub.patience, &mut |bytes| tell(Told::Bytes(bytes))).map_err(|reason| match reason {
        Broken::Stalled => broken(file, format!("nothing came for {} s", hub.patience.as_secs())),
        Broken::Failed(error) => match *error {
            ApiError::IoError(source) if source.kind() == std::io::ErrorKind::StorageFull => {
                Error::Io { action: "write", path: hub.cache.clone(), source }
            }
            ApiError::LockAcquisition(_) => {
                let message = format!("another process is fetching `{}`", file.name);
                Error::invalid(message, "wait for it, then run this again")
            }
            other => broken(file, other.to_string()),
        },
    })
}

fn broken(file: &RemoteFile, reason: String) -> Error {
    let message = format!("the transfer of `{}` broke off: {reason}", file.name);
    Error::invalid(message, "run the same command again: it goes on where this stopped")
}

enum Broken {
    Stalled,
    Failed(Box<ApiError>),
}

/// Waits for the end of a transfer as long as something moves.
fn wait(moved: &Receiver<Moved>, patience: Duration, tell: &mut dyn FnMut(u64)) -> Result<PathBuf, Broken> {
    let mut bytes = 0;
    loop {
        match moved.recv_timeout(patience) {
            Ok(Moved::Start) => bytes = 0,
            Ok(Moved::Bytes(more)) => bytes += more,
            Ok(Moved::End(end)) => return end.map_err(|error| Broken::Failed(Box::new(error))),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(Broken::Stalled),
        }
        tell(bytes);
    }
}

/// Whether a large file is there from another revision: then it gets its name in this one. A part of it that has all its
/// bytes but was not finished goes, for it cannot be gone on with.
fn known(file: &RemoteFile, blob: &Path, folder: &Path) -> bool {
    let size = |path: &Path| std::fs::metadata(path).map(|found| found.len()).ok();
    let part = blob.with_extension("part");
    if size(&part) >= file.size && file.size.is_some() {
        let _ = std::fs::remove_file(part);
    }
    let whole = file.sha256.is_some() && file.size.is_some() && size(blob) == file.size;
    // Relative, so that the cache can be copied elsewhere: from `snapshots/COMMIT/unet` up to `blobs`.
    let up = "../".repeat(file.name.split('/').count() + 1);
    let target = Path::new(&up).join("blobs").join(blob.file_name().unwrap_or_default());
    whole && link(&target, &folder.join(&file.name)).is_ok()
}

#[cfg(unix)]
fn link(target: &Path, name: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(name.parent().unwrap_or(name))?;
    std::os::unix::fs::symlink(target, name)
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The blob that a name in the cache stands for.
fn blob(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Removes a file of the cache, and what it points to.
fn forget(path: &Path) -> Result<()> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    let blob = blob(path);
    std::fs::remove_file(path).at("remove", path)?;
    if blob != path && blob.exists() {
        std::fs::remove_file(&blob).at("remove", &blob)?;
    }
    Ok(())
}

/// Checks a file that came: its size, and for the large ones the sum that their name in the cache is. One that is not as
/// the hub says goes.
fn verify(file: &RemoteFile, path: &Path) -> Result<()> {
    let blob = blob(path);
    let found = std::fs::metadata(&blob).at("read", &blob)?.len();
    let again =
        "run the same command again; if it comes wrong once more, what lies between here and the hub changes it";
    if let Some(size) = file.size.filter(|size| *size != found) {
        forget(path)?;
        let message = format!("`{}` came with {found} bytes in place of {size}: removed", file.name);
        return Err(Error::invalid(message, again));
    }
    let named = blob.file_name().map(|name| name.to_string_lossy().into_owned());
    let is_sum = |name: &String| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let Some(wanted) = file.sha256.clone().or(named.filter(is_sum)) else { return Ok(()) };
    let found = fingerprint::of_file(&blob)?;
    if found == wanted {
        return Ok(());
    }
    forget(path)?;
    let message = format!("`{}` came damaged: its SHA-256 sum is {found}, the hub says {wanted}: removed", file.name);
    Err(Error::invalid(message, again))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_transfer_in_which_nothing_moves_is_given_up() {
        let (sender, receiver) = mpsc::channel();
        sender.send(Moved::Start).unwrap();
        sender.send(Moved::Bytes(7)).unwrap();
        let mut told = vec![];
        let end = wait(&receiver, Duration::from_millis(1), &mut |bytes| told.push(bytes));
        assert!(matches!(end, Err(Broken::Stalled)));
        assert_eq!(told, [0, 7]);
        sender.send(Moved::End(Box::new(Ok("there".into())))).unwrap();
        assert!(wait(&receiver, Duration::from_millis(1), &mut |_| {}).is_ok());
    }

    #[test]
    fn names_that_would_leave_the_cache_are_refused() {
        let request = |name, revision| check(Request { name, revision, variant: None });
        assert!(request("owner/a-model_v1.5", "refs/pr/3").is_ok());
        for (name, revision) in
            [("model", "main"), ("a/b/c", "main"), ("../a", "main"), ("a/b", "../../x"), ("a/b", "")]
        {
            assert!(request(name, revision).is_err(), "{name} {revision}");
        }
    }
}
