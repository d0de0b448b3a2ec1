//! The folders that a server shows: whatever their names, whoever replaces one, and those that it cannot show.

use super::client::Server;
use crate::common::{command, stderr};
use crate::synthetic_run::Made;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Longer than a server goes without looking through its folder.
const NEXT_LOOK: Duration = Duration::from_millis(1200);

fn with_prompt(run: &Path, prompt: &str) {
    let path = run.join("run.json");
    let mut record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    record["plan"]["prompt"] = prompt.into();
    std::fs::write(&path, record.to_string()).unwrap();
}

fn png(run: &Path, colour: u8) {
    image::RgbImage::from_pixel(8, 8, image::Rgb([colour; 3])).save(run.join("final.png")).unwrap();
}

#[test]
fn a_run_that_was_replaced_is_shown_as_it_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("cat");
    let run = Made { x0: true, ..Made::default() }.write(&place);
    with_prompt(&run, "a cat");
    png(&run, 10);
    let server = Server::start(folder.path(), &["--read-only"]);
    let visitor = server.visitor("a");
    let prompt = || visitor.get("/api/runs").json()["runs"][0]["prompt"].clone();
    assert_eq!(prompt(), "a cat");
    let paths = ["/api/runs/cat/final", "/api/runs/cat/pictures/3/predicted_original", "/api/runs/cat/steps/3/latents"];
    let tags = paths.map(|path| {
        let first = visitor.get(path);
        assert_eq!((first.status, first.header("cache-control")), (200, Some("private, no-cache")), "{path}");
        let tag = first.header("etag").unwrap().to_string();
        for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".into()] {
            let again = visitor.get_with(path, &format!("If-None-Match: {known}\r\n"));
            assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
            assert_eq!(again.header("etag"), Some(tag.as_str()), "{path}");
        }
        tag
    });

    // As `rm` and `cp` leave it: the same names, other pictures.
    std::fs::remove_dir_all(&place).unwrap();
    let run = Made { x0: true, ..Made::default() }.write(&place);
    with_prompt(&run, "a dog");
    png(&run, 200);
    std::thread::sleep(NEXT_LOOK);
    assert_eq!(prompt(), "a dog");
    assert_eq!(visitor.get("/api/runs/cat").json()["prompt"], "a dog");
    for (path, tag) in paths.iter().zip(&tags) {
        let now = visitor.get_with(path, &format!("If-None-Match: {tag}\r\n"));
        assert_eq!(now.status, 200, "{path}");
        assert_ne!(now.header("etag"), Some(tag.as_str()), "{path}");
    }
    assert_eq!(visitor.get(paths[0]).body, std::fs::read(run.join("final.png")).unwrap());

    // A record that broke meanwhile is no run any more.
    std::fs::write(run.join("run.json"), "{").unwrap();
    std::thread::sleep(NEXT_LOOK);
    assert_eq!(visitor.get("/api/runs").json()["runs"], json!([]));
}

#[test]
fn folders_of_any_name_are_shown_and_others_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["my run", "苹果", "_x", "-rf", "100%", "a+b#c?d", "plain"];
    for name in names {
        png(&Made::default().write(&folder.path().join(name)), 10);
    }
    for (name, record) in [("broken", "{"), (".hidden", "{}")] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("run.json"), record).unwrap();
    }
    std::fs::create_dir(folder.path().join("no run")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("plain"), folder.path().join("link")).unwrap();
    let server = Server::start(folder.path(), &["--read-only"]);
    for told in ["3 folders with runs are not shown", "`broken`: `", "`.hidden`: it is hidden", "`link`: it is a link"]
    {
        assert!(server.said.contains(told), "{told}: {}", server.said);
    }
    assert!(!server.said.contains("no run"), "{}", server.said);
    let visitor = server.visitor("a");
    let runs = visitor.get("/api/runs").json()["runs"].clone();
    let ids: BTreeSet<&str> = runs.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert_eq!(ids, BTreeSet::from(names));
    for name in names {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for what in ["", "/record", "/final", "/steps/1/latents"] {
            let answer = visitor.get(&format!("/api/runs/{encoded}{what}"));
            assert_eq!(answer.status, 200, "{name}{what}: {}", answer.text());
        }
    }
    // Once: what comes out of it is a name and no code for another.
    assert_eq!(visitor.get("/api/runs/my%2520run/final").status, 404);
    assert_eq!(visitor.get("/api/runs/broken/final").status, 404);
}

#[test]
fn where_the_runs_lie_is_told_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    Made { x0: true, ..Made::default() }.write(&folder.path().join("cat"));
    let server = Server::start(folder.path(), &["--read-only"]);
    let visitor = server.visitor("a");
    for path in ["record", "steps/3/latents", "attention/3", "heads/0", "final", "pictures/3/latents"] {
        let answer = visitor.get(&format!("/api/runs/cat/{path}?batch=7"));
        assert!([404, 422].contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.text().contains(folder.path().to_str().unwrap()), "{path}: {}", answer.text());
    }
    let told = visitor.get("/api/runs/cat/record?batch=7").text();
    assert!(told.contains("the batch has no picture 7: `cat` made 1"), "{told}");
}

#[test]
fn a_folder_that_cannot_be_served_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |runs: &str, more: &[&str]| {
        let mut process = command();
        process.args(["serve", "--port", "0", "--runs", runs]).args(more);
        let answer = process.current_dir(folder.path()).output().unwrap();
        assert_eq!(answer.status.code(), Some(2), "{}", stderr(&answer));
        stderr(&answer)
    };
    let told = refused("nosuchfolder", &["--read-only"]);
    assert!(told.contains("`nosuchfolder`") && told.contains("--runs"), "{told}");
    assert!(!folder.path().join("nosuchfolder").exists());
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert!(refused("file", &["--read-only"]).contains("`file`"));

    let runs = folder.path().join("runs");
    let _first = Server::tiny(&runs, &[]);
    let told = refused("runs", &["--model", super::client::TINY]);
    assert!(told.contains("`runs`") && told.contains("another server"), "{told}");
    assert!(told.contains("--runs") && !told.contains("--out") && !told.contains(".queue"), "{told}");
}

#[test]
fn each_server_of_a_machine_has_its_own_cookie() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (Server::tiny(here.path(), &[]), Server::tiny(there.path(), &[]));
    let given = one.stranger("").get("/").cookie().unwrap();
    let mut visitor = one.stranger("");
    visitor.cookie = Some(given.clone());
    let who = |visitor: &super::client::Visitor| visitor.get("/api/capabilities").json()["visitor"].clone();
    let known = who(&visitor);
    // Browsers send a host's cookies to all its ports, and keep one of each name.
    let mut at_other = other.stranger("");
    at_other.cookie = Some(given.clone());
    let second = at_other.get("/").cookie().expect("the other server knows nobody by this one's cookie");
    assert_ne!(given.split('=').next(), second.split('=').next());
    visitor.cookie = Some(format!("{second}; {given}"));
    assert_eq!(who(&visitor), known);
}
