//! A model fetched from the Hugging Face hub, once and only when asked for, into the cache where `--model owner/name` looks.
//!
//! Enters: a repository's name, revision and variant. Leaves: the folder of its files. Each file is written under another
//! name until it is whole; large ones are checked against their SHA-256 sum. What broke off goes on where it stopped.
//! The hub is asked with timeouts, and a transfer in which nothing moves any more is given up. Its token goes to nobody else.

mod ask;
pub mod choose;
mod transfer;

use super::cache;
use super::convert::check_room;
use super::fingerprint;
use super::resolve;
use crate::error::{Error, IoContext, Result};
use choose::RemoteFile;
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;
use transfer::Transfer;

const ENDPOINT: &str = "https://huggingface.co";

/// What the hub says of a repository is far smaller than this.
const LARGEST_INFO: u64 = 64 << 20;

/// What to fetch.
#[derive(Debug, Clone, Copy)]
pub struct FetchRequest<'a> {
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
        let Some(cache) = cache::folder() else {
            return Err(Error::invalid("there is no place for the Hugging Face cache", "set HF_HOME to a folder"));
        };
        let offline = ["1", "true", "yes", "on"];
        if var("HF_HUB_OFFLINE").is_some_and(|value| offline.contains(&value.trim().to_lowercase().as_str())) {
            return Err(Error::invalid("nothing is fetched: HF_HUB_OFFLINE is set", by_hand(name, &cache)));
        }
        let file = cache::path_in("HF_TOKEN_PATH").or_else(|| cache::home().map(|home| home.join("token")));
        let token = var("HF_TOKEN").or_else(|| file.and_then(|file| std::fs::read_to_string(file).ok()));
        let token = token.map(|token| token.trim().to_string()).filter(|token| !token.is_empty());
        let endpoint = var("HF_ENDPOINT").unwrap_or(ENDPOINT.into()).trim_end_matches('/').to_string();
        Ok(Hub { endpoint, token, cache, patience: Duration::from_secs(60) })
    }

    /// What makes requests for a repository.
    fn repository(&self, request: FetchRequest) -> Result<ApiRepo> {
        let builder = ApiBuilder::from_cache(Cache::new(self.cache.clone())).with_endpoint(self.endpoint.clone());
        let builder = builder.with_token(self.token.clone()).with_progress(false);
        let builder = builder.with_user_agent("sdviz", env!("CARGO_PKG_VERSION"));
        let api = builder
            .build()
            .map_err(|e| Error::invalid(format!("cannot ask `{}`: {e}", self.endpoint), "check HF_ENDPOINT"))?;
        Ok(api.repo(Repo::with_revision(request.name.into(), RepoType::Model, request.revision.into())))
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
pub fn fetch(request: FetchRequest, hub: &Hub, tell: &mut dyn FnMut(Told)) -> Result<PathBuf> {
    check(request)?;
    let info = info(&hub.repository(request)?, request, hub)?;
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
    let transfers = files.iter().filter(|(_, there)| !there).map(|(file, _)| {
        // Of this commit, whatever the branch points to meanwhile.
        let url = format!("{}/{}/resolve/{commit}/{}", hub.endpoint, request.name, escaped(&file.name));
        Transfer { file: file.clone(), url, home: home.clone(), name: folder.join(&file.name) }
    });
    let transfers: Vec<Transfer> = transfers.collect();
    check_room(&hub.cache, transfers.iter().map(Transfer::missing).sum())?;
    for transfer in transfers {
        tell(Told::File(&transfer.file));
        forget(&transfer.name)?;
        if !transfer.known() {
            run(transfer, hub.repository(request)?, hub, tell)?;
        }
    }
    point(&home, request.revision, commit)?;
    Ok(folder)
}

/// Has a revision's name point to its commit, as the Hugging Face libraries do.
fn point(home: &Path, revision: &str, commit: &str) -> Result<()> {
    if revision == commit {
        return Ok(());
    }
    let path = home.join("refs").join(revision);
    let folder = path.parent().unwrap_or(home);
    std::fs::create_dir_all(folder).at("create", folder)?;
    std::fs::write(&path, commit).at("write", &path)
}

/// A file's name as part of an address.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A name and a revision that can be part of an address and of a path.
fn check(request: FetchRequest) -> Result<()> {
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
fn info(repository: &ApiRepo, request: FetchRequest, hub: &Hub) -> Result<Value> {
    let (name, revision, endpoint) = (request.name, request.revision, &hub.endpoint);
    let url = format!("{endpoint}/api/models/{name}/revision/{}?blobs=true", revision.replace('/', "%2F"));
    let unreachable =
        |said: String| Error::invalid(format!("{endpoint} cannot be reached: {said}"), by_hand(name, &hub.cache));
    let answer = ask::ask(repository, hub, &url, 0, Some(hub.patience)).map_err(unreachable)?;
    match answer.status {
        200 => {}
        401 | 403 => {
            return Err(Error::invalid(
                format!("`{name}` is not open to you: it is gated or private, or there is no such repository"),
                "accept its terms on its page and put your token into HF_TOKEN, or check the name",
            ));
        }
        404 => {
            let message = format!("there is no `{name}` with a revision `{revision}` on {endpoint}");
            return Err(Error::invalid(message, "check both on its page"));
        }
        status => {
            let message = format!("{} answers with status {status}", answer.origin);
            return Err(Error::invalid(message, "try again later"));
        }
    }
    serde_json::from_reader(answer.body.take(LARGEST_INFO))
        .map_err(|e| unreachable(format!("it does not say what it has: {e}")))
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
    /// So many bytes are there.
    Bytes(u64),
    End(Result<()>),
}

/// Fetches one file on a thread of its own, which is left behind when nothing moves for too long.
fn run(transfer: Transfer, repository: ApiRepo, hub: &Hub, tell: &mut dyn FnMut(Told)) -> Result<()> {
    let (sender, receiver) = mpsc::channel();
    let (job, its_hub) = (transfer.clone(), hub.clone());
    std::thread::spawn(move || {
        let ended = job.run(&repository, &its_hub, &mut |bytes| drop(sender.send(Moved::Bytes(bytes))));
        let _ = sender.send(Moved::End(ended));
    });
    let ended = wait(&receiver, hub.patience, &mut |bytes| tell(Told::Bytes(bytes)));
    ended.unwrap_or_else(|| Err(transfer.stalled(hub.patience.as_secs())))
}

/// Waits for the end of a transfer as long as something moves; `None` when nothing does any more.
fn wait(moved: &Receiver<Moved>, patience: Duration, tell: &mut dyn FnMut(u64)) -> Option<Result<()>> {
    loop {
        match moved.recv_timeout(patience) {
            Ok(Moved::Bytes(bytes)) => tell(bytes),
            Ok(Moved::End(ended)) => return Some(ended),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_transfer_in_which_nothing_moves_is_given_up() {
        let (sender, receiver) = mpsc::channel();
        sender.send(Moved::Bytes(0)).unwrap();
        sender.send(Moved::Bytes(7)).unwrap();
        let mut told = vec![];
        assert!(wait(&receiver, Duration::from_millis(1), &mut |bytes| told.push(bytes)).is_none());
        assert_eq!(told, [0, 7]);
        sender.send(Moved::End(Ok(()))).unwrap();
        assert!(wait(&receiver, Duration::from_millis(1), &mut |_| {}).is_some_and(|ended| ended.is_ok()));
    }

    #[test]
    fn names_that_would_leave_the_cache_are_refused() {
        let request = |name, revision| check(FetchRequest { name, revision, variant: None });
        assert!(request("owner/a-model_v1.5", "refs/pr/3").is_ok());
        for (name, revision) in
            [("model", "main"), ("a/b/c", "main"), ("../a", "main"), ("a/b", "../../x"), ("a/b", "")]
        {
            assert!(request(name, revision).is_err(), "{name} {revision}");
        }
    }
}
