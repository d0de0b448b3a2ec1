//! Nothing is lost and nobody is starved: a class that asks for much at once, and servers that end in the middle of it.

use super::client::{Events, Server, Visitor};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn asked(seed: u64) -> Value {
    json!({ "prompt": "a star", "seed": seed, "steps": 1, "width": 64, "height": 64, "record": ["latents"], "decode": "final" })
}

/// So many visitors ask for so many runs each, all at once; somebody listens who never reads.
fn a_class(server: &Server, visitors: usize, each: usize) {
    let names: Vec<String> = (0..visitors).map(|n| format!("visitor {n}")).collect();
    let lecturer = server.visitor("lecturer");
    let _deaf = lecturer.events(None);
    let mut events = lecturer.events(None);
    events.next().unwrap();
    // The first is long, so that all others wait when it ends.
    let first = lecturer.queue(&json!({ "prompt": "a house", "steps": 20 }));
    let ids: BTreeMap<String, usize> = std::thread::scope(|scope| {
        let ask = |n: usize| {
            let visitor: Visitor = server.visitor(&names[n]);
            move || (0..each).map(|seed| (visitor.queue(&asked(seed as u64)), n)).collect::<Vec<_>>()
        };
        let asking: Vec<_> = (0..visitors).map(|n| scope.spawn(ask(n))).collect();
        asking.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), visitors * each, "each has an id of its own");
    let all_were_queued = lecturer.get(&format!("/api/runs/{first}")).json()["state"] == "running";
    let ended = events.until_runs(visitors * each + 1, "complete");
    assert_eq!(ended.iter().collect::<BTreeSet<_>>().len(), visitors * each + 1, "none twice");
    assert!(ids.keys().all(|id| ended.contains(id)), "none is lost");
    let turns: Vec<usize> = ended.iter().filter_map(|id| ids.get(id).copied()).collect();
    // Where the machine was so slow that some had come to their end before all were asked for, the first turns may differ.
    for (round, turn) in turns.chunks(visitors).enumerate().skip(if all_were_queued { 0 } else { each / 2 }) {
        let served: BTreeSet<&usize> = turn.iter().collect();
        assert_eq!(served.len(), visitors, "everybody has a turn in round {round}: {turn:?}");
    }
}

#[test]
fn a_class_that_asks_at_once_is_served_in_turn() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::tiny(runs.path(), &[]);
    a_class(&server, 20, 4);
}

/// `cargo test --test suite serve:: -- --ignored`: as long as a class is patient.
#[test]
#[ignore = "400 runs of the pocket model"]
fn twenty_visitors_with_twenty_pocket_runs_each() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::start(runs.path(), &["--queue-per-visitor", "20"]);
    a_class(&server, 20, 20);
}

fn until_complete(events: &mut Events, wanted: &BTreeSet<String>) {
    let mut open = wanted.clone();
    while !open.is_empty() {
        let ended = events.until_runs(1, "complete");
        open.remove(&ended[0]);
    }
}

#[test]
fn a_server_that_is_killed_loses_no_run() {
    let runs = tempfile::tempdir().unwrap();
    let record = |id: &str| runs.path().join(id).join("run.json");
    let server = Server::tiny(runs.path(), &[]);
    let mut ids = BTreeSet::new();
    let mut events = server.visitor("a").events(None);
    for seed in 0..4 {
        for name in ["a", "b", "c"] {
            ids.insert(server.visitor(name).queue(&json!({ "prompt": "a cat", "seed": seed, "steps": 20 })));
        }
    }
    let done = events.until_runs(2, "complete");
    let whole: Vec<Vec<u8>> = done.iter().map(|id| std::fs::read(record(id)).unwrap()).collect();
    // In the middle of the third.
    let begun = events.until(|happened| happened.kind == "step" && happened.data["step"] == 1);
    let third = begun.last().unwrap().data["run"].as_str().unwrap().to_string();
    server.kill();
    assert!(!done.contains(&third) && ids.contains(&third));

    let server = Server::tiny(runs.path(), &[]);
    assert!(server.said.contains("left by the last server"), "{}", server.said);
    let visitor = server.visitor("a");
    let mut events = visitor.events(None);
    let stand = events.next().unwrap().data;
    let known: BTreeSet<String> =
        stand["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().into()).collect();
    assert_eq!(known, ids, "finished or waiting, all are known");
    let open = |run: &&Value| run["state"] != "complete";
    let left = stand["runs"].as_array().unwrap().iter().filter(open).map(|run| run["id"].as_str().unwrap().into());
    until_complete(&mut events, &left.collect());
    for id in &ids {
        let run = sdviz::trace::reader::Run::open(runs.path().join(id)).unwrap();
        assert_eq!(run.record().status, sdviz::record::schema::Status::Complete, "{id}");
        assert_eq!(run.steps().unwrap().len(), run.record().last_step() + 1);
    }
    for (id, bytes) in done.iter().zip(&whole) {
        assert_eq!(&std::fs::read(record(id)).unwrap(), bytes, "what was finished is not made again");
    }
    let left = std::fs::read_dir(runs.path().join(".queue")).unwrap().count();
    assert_eq!(left, 1, "the lock");
}

#[test]
fn a_server_that_is_asked_to_end_leaves_its_queue_to_the_next() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::tiny(runs.path(), &[]);
    let visitor = server.visitor("a");
    let mut events = visitor.events(None);
    let first = visitor.queue(&json!({ "prompt": "a cat", "steps": 150 }));
    let second = visitor.queue(&json!({ "prompt": "a dog", "steps": 2 }));
    events.until(|happened| happened.kind == "step" && happened.data["step"] == 3);
    assert!(server.interrupt(), "it ends well, although somebody listens");
    // What was said before the end is still there to be read; then the stream ends.
    while events.next().is_some() {}

    let server = Server::tiny(runs.path(), &[]);
    let ids = server.visitor("a").events(None).next().unwrap().data["runs"].clone();
    let ids: BTreeSet<&str> = ids.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert_eq!(ids, BTreeSet::from([first.as_str(), second.as_str()]));
    // What is cancelled is not made by the next server either.
    assert_eq!(server.visitor("a").post(&format!("/api/runs/{first}/cancel"), &json!(null)).status, 200);
    server.kill();
    let server = Server::tiny(runs.path(), &[]);
    let mut events = server.visitor("a").events(None);
    let stand = events.next().unwrap().data;
    let state =
        |id: &str| stand["runs"].as_array().unwrap().iter().find(|run| run["id"] == id).unwrap()["state"].clone();
    assert!(["cancelled", "failed"].contains(&state(&first).as_str().unwrap()), "{stand}");
}
