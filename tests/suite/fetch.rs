//! `sdviz fetch` against a small server that answers as the hub does, with the tiny model in it.

use crate::common::{command, golden_file, stderr, stdout};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

/// What the server does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// It breaks off in the middle of the UNet.
    Cut,
    /// One byte of the UNet is another.
    Wrong,
    /// It knows nobody.
    Closed,
    /// Whoever asks for the end of a file gets all of it.
    Whole,
    /// Whoever asks for the end of a file gets another part of it, and says so.
    OtherPart,
    /// It sends more of the UNet than it said it would.
    More,
}

struct State {
    fault: Fault,
    commit: String,
    files: BTreeMap<String, Vec<u8>>,
    /// Path, range and token of each request.
    seen: Vec<(String, String, String)>,
    /// The host that has the large files, if it is another.
    storage: Option<String>,
}

/// A hub with one repository.
struct Server {
    state: Arc<Mutex<State>>,
    address: String,
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tiny model with what else a repository has; weights are called by `variant`.
fn repository(variant: &str) -> BTreeMap<String, Vec<u8>> {
    let model = golden_file("tiny-sd");
    let mut files = BTreeMap::from([("README.md".to_string(), b"# tiny".to_vec())]);
    for name in [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        UNET,
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ] {
        files.insert(
            name.replace(".safetensors", &format!("{variant}.safetensors")),
            std::fs::read(model.join(name)).unwrap(),
        );
    }
    for extra in ["safety_checker/model.safetensors", "unet/diffusion_pytorch_model.bin"] {
        files.insert(extra.into(), b"not wanted".to_vec());
    }
    files
}

impl Server {
    fn new(files: BTreeMap<String, Vec<u8>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = State { fault: Fault::None, commit: COMMIT.into(), files, seen: vec![], storage: None };
        let server = Server { state: Arc::new(Mutex::new(state)), address };
        let state = server.state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(&stream.unwrap(), &mut state.lock().unwrap());
            }
        });
        server
    }

    fn set(&self, fault: Fault) {
        self.state.lock().unwrap().fault = fault;
    }

    /// The requests since the last time.
    fn seen(&self) -> Vec<(String, String, String)> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }

    /// The program with this hub and a cache in `home`.
    fn sdviz(&self, home: &Path, arguments: &[&str]) -> Output {
        let mut command = command();
        for name in ["SDVIZ_MODEL", "RUST_BACKTRACE", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH", "HF_TOKEN"] {
            command.env_remove(name);
        }
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command.env("HF_HOME", home).env("HF_ENDPOINT", &self.address).args(arguments).output().unwrap()
    }
}

fn answer(mut stream: &TcpStream, state: &mut State) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap()?;
    let path = request.split(' ').nth(1).unwrap().to_string();
    let headers: Vec<String> = lines.map_while(|line| line.ok().filter(|line| !line.is_empty())).collect();
    let header = |name: &str| {
        let found = headers.iter().find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value.to_string()).unwrap_or_default()
    };
    state.seen.push((path.clone(), header("range"), header("authorization")));
    let mut reply = |status: &str, more: &str, length: usize, body: &[u8]| {
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n")?;
        stream.write_all(body)
    };
    if state.fault == Fault::Closed {
        return reply("401 Unauthorized", "", 0, b"");
    }
    if path == "/api/models/someone/tiny/revision/main?blobs=true" {
        let file = |(name, bytes): (&String, &Vec<u8>)| match name.ends_with(".safetensors") {
            true => {
                json!({ "rfilename": name, "size": bytes.len(), "lfs": { "sha256": sum(bytes), "size": bytes.len() } })
            }
            false => json!({ "rfilename": name, "size": bytes.len(), "blobId": &sum(bytes)[..40] }),
        };
        let files: Vec<Value> = state.files.iter().map(file).collect();
        let body = json!({ "sha": state.commit, "siblings": files }).to_string();
        return reply("200 OK", "Content-Type: application/json\r\n", body.len(), body.as_bytes());
    }
    let resolve = format!("/someone/tiny/resolve/{}/", state.commit);
    let (storage, name) = match path.strip_prefix(&resolve) {
        Some(name) => (&state.storage, name),
        None => (&None, path.strip_prefix("/storage/").unwrap_or_default()),
    };
    let name = name.split('?').next().unwrap_or_default();
    let Some(whole) = state.files.get(name) else { return reply("404 Not Found", "", 0, b"") };
    if let Some(storage) = storage.as_ref().filter(|_| name.ends_with(".safetensors")) {
        return reply("302 Found", &format!("Location: {storage}/storage/{name}\r\n"), 0, b"");
    }
    let mut bytes = whole.clone();
    if name == UNET && state.fault == Fault::Wrong {
        *bytes.last_mut().unwrap() ^= 1;
    }
    let asked = header("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse().ok());
    let from: usize = match (asked, state.fault) {
        (None, _) | (_, Fault::Whole) => 0,
        (Some(_), Fault::OtherPart) => bytes.len() - 1,
        (Some(from), _) => from,
    };
    let length = bytes.len();
    let more = format!("Content-Range: bytes {from}-{}/{length}\r\n", length - 1);
    if name == UNET && state.fault == Fault::More {
        bytes.push(0);
    }
    let to = if name == UNET && state.fault == Fault::Cut { from + (length - from) / 2 } else { bytes.len() };
    match from {
        0 => reply("200 OK", "", bytes.len(), &bytes[..to]),
        _ => reply("206 Partial Content", &more, bytes.len() - from, &bytes[from..to]),
    }
}

fn fetched(output: &Output) -> PathBuf {
    assert!(output.status.success(), "{}", stderr(output));
    PathBuf::from(stdout(output).trim())
}

/// The models that are whole, as the program lists them.
fn complete(server: &Server, home: &Path) -> Vec<String> {
    let listed: Value = serde_json::from_slice(&server.sdviz(home, &["models", "--json"]).stdout).unwrap();
    let whole = listed.as_array().unwrap().iter().filter(|model| model["complete"] == true);
    whole.map(|model| model["name"].as_str().unwrap().to_string()).filter(|name| name != "pocket").collect()
}

#[test]
fn what_a_run_needs_comes_into_the_cache_once() {
    let (server, folder) = (Server::new(repository("")), tempfile::tempdir().unwrap());
    let home = folder.path();
    std::fs::write(home.join("token"), "secret\n").unwrap();
    let output = server.sdviz(home, &["fetch", "someone/tiny"]);
    let snapshot = fetched(&output);
    assert!(stderr(&output).contains("files: 11 to fetch, 10 MB"), "{}", stderr(&output));
    assert!(stderr(&output).contains("next: sdviz trace --model someone/tiny"), "{}", stderr(&output));
    assert_eq!(snapshot, home.join("hub/models--someone--tiny/snapshots").join(COMMIT));
    for (name, bytes) in repository("") {
        let wanted = !name.starts_with("README") && !name.starts_with("safety") && !name.ends_with(".bin");
        assert_eq!(std::fs::read(snapshot.join(&name)).ok(), wanted.then_some(bytes), "{name}");
    }
    let seen = server.seen();
    assert!(seen.iter().all(|(_, _, token)| token == "Bearer secret"), "{seen:?}");
    assert_eq!(complete(&server, home), ["someone/tiny"]);

    let again = server.sdviz(home, &["fetch", "someone/tiny"]);
    assert!(stderr(&again).contains("files: 0 to fetch, 0 kB, 11 are there already"), "{}", stderr(&again));
    assert_eq!((fetched(&again), server.seen().len()), (snapshot, 1));

    // Another commit with the same weights: what is there is not fetched again.
    let commit = COMMIT.replace('0', "f");
    server.state.lock().unwrap().commit = commit.clone();
    let newer = fetched(&server.sdviz(home, &["fetch", "someone/tiny"]));
    assert_eq!(std::fs::read(newer.join(UNET)).unwrap(), repository("")[UNET]);
    assert!(newer.ends_with(&commit) && std::fs::read_link(newer.join(UNET)).unwrap().is_relative());
    assert!(server.seen().iter().all(|(path, ..)| !path.ends_with(".safetensors")));
    assert_eq!(complete(&server, home), ["someone/tiny"]);
}

#[test]
fn a_transfer_that_broke_off_goes_on_where_it_stopped() {
    let (server, folder) = (Server::new(repository("")), tempfile::tempdir().unwrap());
    let home = folder.path();
    server.set(Fault::Cut);
    let output = server.sdviz(home, &["fetch", "someone/tiny"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains(&format!("the transfer of `{UNET}` broke off")), "{said}");
    assert!(said.contains("hint: run the same command again: it goes on where this stopped"), "{said}");
    assert!(complete(&server, home).is_empty());
    assert!(!server.sdviz(home, &["inspect", "someone/tiny"]).status.success());

    server.set(Fault::None);
    server.seen();
    let snapshot = fetched(&server.sdviz(home, &["fetch", "someone/tiny"]));
    let whole = &repository("")[UNET];
    let seen = server.seen();
    assert!(
        seen.iter().any(|(path, range, _)| path.ends_with(UNET) && *range == format!("bytes={}-", whole.len() / 2)),
        "{seen:?}"
    );
    assert_eq!(&std::fs::read(snapshot.join(UNET)).unwrap(), whole);
    assert_eq!(complete(&server, home), ["someone/tiny"]);
}

/// The UNet's requests: their ranges.
fn ranges(server: &Server) -> Vec<String> {
    server.seen().into_iter().filter(|(path, ..)| path.ends_with(UNET)).map(|(_, range, _)| range).collect()
}

#[test]
fn what_does_not_go_on_where_it_stopped_is_begun_anew() {
    for fault in [Fault::Whole, Fault::OtherPart] {
        let (server, folder) = (Server::new(repository("")), tempfile::tempdir().unwrap());
        let home = folder.path();
        server.set(Fault::Cut);
        assert!(!server.sdviz(home, &["fetch", "someone/tiny"]).status.success());
        let half = repository("")[UNET].len() / 2;
        server.set(fault);
        server.seen();
        let snapshot = fetched(&server.sdviz(home, &["fetch", "someone/tiny"]));
        let again = if fault == Fault::Whole { vec![] } else { vec![String::new()] };
        assert_eq!(ranges(&server), [vec![format!("bytes={half}-")], again].concat());
        assert_eq!(std::fs::read(snapshot.join(UNET)).unwrap(), repository("")[UNET]);
    }
    // More than the hub said is not taken either: a disk has an end.
    let (server, folder) = (Server::new(repository("")), tempfile::tempdir().unwrap());
    server.set(Fault::More);
    let said = stderr(&server.sdviz(folder.path(), &["fetch", "someone/tiny"]));
    assert!(said.contains(&format!("more came than its {} bytes", repository("")[UNET].len())), "{said}");
    let blobs = std::fs::read_dir(folder.path().join("hub/models--someone--tiny/blobs")).unwrap();
    let parts = blobs.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "part"));
    assert_eq!(parts.count(), 0);
}

/// Large files lie on other hosts, to which the hub sends on: they are no business of the token's.
#[test]
fn the_token_goes_to_the_hub_alone() {
    let (server, storage) = (Server::new(repository("")), Server::new(repository("")));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "secret").unwrap();
    // The same machine under another name, and another port: another host.
    server.state.lock().unwrap().storage = Some(storage.address.replace("127.0.0.1", "localhost"));
    let snapshot = fetched(&server.sdviz(folder.path(), &["fetch", "someone/tiny"]));
    assert_eq!(std::fs::read(snapshot.join(UNET)).unwrap(), repository("")[UNET]);
    assert!(server.seen().iter().all(|(_, _, token)| token == "Bearer secret"));
    let elsewhere = storage.seen();
    assert_eq!(elsewhere.len(), 3, "{elsewhere:?}");
    assert!(elsewhere.iter().all(|(_, _, token)| token.is_empty()), "{elsewhere:?}");

    // The same host under another port is another host, and one that sends in a circle is told.
    server.state.lock().unwrap().storage = Some(storage.address.clone());
    storage.state.lock().unwrap().files.remove(UNET);
    std::fs::remove_dir_all(folder.path().join("hub")).unwrap();
    let said = stderr(&server.sdviz(folder.path(), &["fetch", "someone/tiny"]));
    assert!(said.contains(&format!("{} answers with status 404 to `{UNET}`", storage.address)), "{said}");
    assert!(storage.seen().iter().all(|(_, _, token)| token.is_empty()));
    server.state.lock().unwrap().storage = Some(format!("{}/someone/tiny/resolve/{COMMIT}/{UNET}?", server.address));
    let said = stderr(&server.sdviz(folder.path(), &["fetch", "someone/tiny"]));
    assert!(said.contains("sends from one address to the next"), "{said}");
}

#[test]
fn a_file_that_is_not_what_the_hub_says_does_not_stay() {
    let (server, folder) = (Server::new(repository("")), tempfile::tempdir().unwrap());
    let home = folder.path();
    server.set(Fault::Wrong);
    let output = server.sdviz(home, &["fetch", "someone/tiny"]);
    assert_eq!(output.status.code(), Some(2));
    let (said, whole) = (stderr(&output), sum(&repository("")[UNET]));
    assert!(said.contains(&format!("`{UNET}` came damaged: its SHA-256 sum is ")), "{said}");
    assert!(said.contains(&format!("the hub says {whole}: removed")), "{said}");
    assert!(!home.join("hub/models--someone--tiny/blobs").join(&whole).exists());
    assert!(
        std::fs::symlink_metadata(home.join("hub/models--someone--tiny/snapshots").join(COMMIT).join(UNET)).is_err()
    );
    assert!(complete(&server, home).is_empty());
    server.set(Fault::None);
    fetched(&server.sdviz(home, &["fetch", "someone/tiny"]));
    assert_eq!(complete(&server, home), ["someone/tiny"]);
}

#[test]
fn a_variant_is_fetched_and_merged() {
    let (server, folder) = (Server::new(repository(".fp16")), tempfile::tempdir().unwrap());
    let home = folder.path();
    let snapshot = fetched(&server.sdviz(home, &["fetch", "someone/tiny", "--variant", "fp16"]));
    assert!(snapshot.join("unet/diffusion_pytorch_model.fp16.safetensors").is_file());
    assert_eq!(complete(&server, home), ["someone/tiny"]);
    let out = folder.path().join("mixed").display().to_string();
    let merge = ["merge", "someone/tiny", "someone/tiny", "--variant", "fp16", "--out", &out];
    assert!(server.sdviz(home, &merge).status.success());
    assert_eq!(std::fs::read(Path::new(&out).join(UNET)).unwrap().len(), repository("")[UNET].len());
    let missing =
        server.sdviz(home, &["merge", "someone/tiny", "someone/tiny", "--variant", "bf16", "--out", "nowhere"]);
    assert!(stderr(&missing).contains("has a variant `bf16`: there is `fp16`"), "{}", stderr(&missing));
}

#[test]
fn what_cannot_be_fetched_is_said_at_once_with_the_way_out() {
    let (server, folder) = (Server::new(repository("")), tempfile::tempdir().unwrap());
    let home = folder.path();
    let said = |server: &Server, arguments: &[&str]| {
        let output = server.sdviz(home, arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output).replace(home.to_str().unwrap(), "HOME").replace(&server.address, "HUB")
    };
    insta::assert_snapshot!("no_such_name", said(&server, &["fetch", "tiny"]));
    insta::assert_snapshot!("no_such_repository", said(&server, &["fetch", "someone/else"]));
    insta::assert_snapshot!("no_such_revision", said(&server, &["fetch", "someone/tiny", "--revision", "v9"]));
    insta::assert_snapshot!("no_such_variant", said(&server, &["fetch", "someone/tiny", "--variant", "fp16"]));
    server.set(Fault::Closed);
    insta::assert_snapshot!("gated", said(&server, &["fetch", "someone/tiny"]));

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let offline = Server { state: server.state.clone(), address: format!("http://{nobody}") };
    insta::assert_snapshot!("offline", said(&offline, &["fetch", "someone/tiny"]));
    let mut command = command();
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", home).env_remove("HF_HUB_CACHE").args(["fetch", "someone/tiny"]);
    let forbidden = stderr(&command.output().unwrap()).replace(home.to_str().unwrap(), "HOME");
    insta::assert_snapshot!("offline_by_wish", forbidden);
    assert!(!home.join("hub").exists());
}
