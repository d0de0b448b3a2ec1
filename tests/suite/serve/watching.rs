//! A run is watched while it is made, looked at when it is done, and stopped when it is not wanted.

use super::client::{Happened, Server, TINY};
use crate::common::{command, stderr};
use serde_json::json;

fn step(happened: &Happened, kind: &str) -> Option<u64> {
    (happened.kind == kind).then(|| happened.data["step"].as_u64().unwrap())
}

#[test]
fn the_first_preview_comes_before_the_second_step_ends() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::start(runs.path(), &[]);
    let visitor = server.visitor("a");
    let mut events = visitor.events(None);
    assert_eq!(events.next().unwrap().kind, "stand");
    let asked =
        json!({ "prompt": "a red apple on a blue background", "seed": 3, "steps": 3, "width": 64, "height": 64 });
    let id = visitor.queue(&asked);
    let all = events.until(|happened| happened.kind == "run" && happened.data["state"] == "complete");
    let place = |kind: &str, number: u64| {
        all.iter().position(|h| step(h, kind) == Some(number) && h.data["run"] == id.as_str()).unwrap()
    };
    // Later ones are left out where steps follow each other faster than the eye.
    for number in 0..=1 {
        assert!(place("preview", number) < place("step", number), "a preview does not wait for the decoder");
    }
    let preview = all[place("preview", 1)].data["image"].as_str().unwrap();
    assert!(preview.starts_with("data:image/png;base64,iVBOR"), "{preview}");
    assert_eq!(all[place("step", 2)].data["pictures"], json!(["predicted_original", "latents"]));

    // All that the page asks for is there, and is what is on disk.
    let run = sdviz::trace::reader::Run::open(runs.path().join(&id)).unwrap();
    let finished = visitor.get(&format!("/api/runs/{id}/final"));
    assert_eq!(finished.body, std::fs::read(runs.path().join(&id).join("final.png")).unwrap());
    let tensor = visitor.get(&format!("/api/runs/{id}/steps/3/noise_text"));
    let numbers: Vec<f32> = tensor.body.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let recorded = run.tensor(3, sdviz::record::plan::Quantity::NoiseText, 0).unwrap().unwrap();
    assert_eq!(numbers, recorded.iter().copied().collect::<Vec<_>>());
    assert_eq!(visitor.get(&format!("/api/runs/{id}/pictures/2/predicted_original")).status, 200);
    let record = visitor.get(&format!("/api/runs/{id}/record")).json();
    assert_eq!((&record["id"], &record["record"]["plan"]["seed"]), (&json!(id), &json!(3)));
    assert_eq!(visitor.get(&format!("/api/runs/{id}/attention/2")).status, 404, "nobody asked for it");
    let told = visitor.get(&format!("/api/runs/{id}")).json();
    assert_eq!((&told["state"], &told["step"], &told["place"]), (&json!("complete"), &json!(3), &json!(null)));

    // Who was cut off has what was missed; who comes from another server has how it all stands.
    let mut missed = visitor.events(Some(&all[place("step", 1)].id));
    assert_eq!(missed.next().unwrap().id, all[place("step", 1) + 1].id);
    let stand = visitor.events(Some("00000000-7")).next().unwrap();
    assert_eq!((stand.kind.as_str(), &stand.data["runs"][0]["id"]), ("stand", &json!(id)));
}

/// The pictures of the steps are the preview decoder's, who looks at one is told, and the finished one is the model's own.
#[test]
fn a_preview_decoder_makes_the_pictures_of_the_steps() {
    let asked = json!({ "prompt": "a cat", "seed": 3, "steps": 3, "scheduler": "ddim", "decode": "every" });
    let made = |more: &[&str]| {
        let runs = tempfile::tempdir().unwrap();
        let server = Server::tiny(runs.path(), more);
        let visitor = server.visitor("a");
        let mut events = visitor.events(None);
        let id = visitor.queue(&asked);
        let all = events.until(|happened| happened.kind == "run" && happened.data["state"] == "complete");
        let told: Vec<_> = all.iter().filter(|h| h.kind == "step").map(|h| h.data["preview_decoder"] == true).collect();
        assert!(all.iter().any(|h| h.kind == "preview"), "the linear map shows the latents all the same");
        let latents = |step: u64| visitor.get(&format!("/api/runs/{id}/pictures/{step}/latents"));
        let pictures: Vec<_> = (0..=3).map(|step| latents(step).body).collect();
        let run = sdviz::trace::reader::Run::open(runs.path().join(&id)).unwrap();
        let finished = run.final_picture(0).unwrap();
        assert_eq!(
            visitor.get(&format!("/api/runs/{id}/record")).json()["record"]["model"]["preview"]["name"],
            run.record().model.preview.as_ref().map_or(json!(null), |preview| json!(preview.name))
        );
        (told, pictures, finished)
    };
    let own = made(&[]);
    let (told, pictures, finished) = made(&["--preview-vae", &TINY.replace("tiny-sd", "tiny-vae")]);
    // Step 0 is told too.
    assert_eq!((told, &own.0), (vec![true; 4], &vec![false; 4]));
    for (step, (preview, own)) in pictures.iter().zip(&own.1).enumerate() {
        let says = String::from_utf8_lossy(preview).contains("Preview decoder: ");
        let decoded = |bytes: &[u8]| image::load_from_memory(bytes).unwrap().into_rgb8();
        assert_eq!((says, decoded(preview) == decoded(own)), (step < 3, step == 3), "step {step}");
    }
    assert_eq!(finished, own.2);
    let mut refused = command();
    refused.args(["serve", "--port", "0", "--model", TINY, "--preview-vae", "tiny"]);
    let refused = refused.current_dir(tempfile::tempdir().unwrap().path()).output().unwrap();
    let told = stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("no tiny decoder goes with this model"), "{told}");
}

#[test]
fn word_maps_are_kept_when_they_are_asked_for_and_sent_as_they_are() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::start(runs.path(), &[]);
    let visitor = server.visitor("a");
    let mut events = visitor.events(None);
    let id =
        visitor.queue(&json!({ "prompt": "a red apple", "steps": 2, "seed": 3, "attention": true, "decode": "final" }));
    events.until(|h| h.kind == "run" && h.data["id"] == id.as_str() && h.data["state"] == "complete");
    let kept = visitor.get(&format!("/api/runs/{id}/record")).json()["attention"].clone();
    assert_eq!((&kept["steps"], &kept["dtype"]), (&json!([1, 2]), &json!("f32")));
    let floats = |path: &str| -> Vec<f32> {
        let sent = visitor.get(&format!("/api/runs/{id}/{path}"));
        assert_eq!(sent.status, 200, "{path}");
        sent.body.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let run = sdviz::trace::reader::Run::open(runs.path().join(&id)).unwrap();
    let maps = sdviz::export::report::maps_of(&run, 2, 0).unwrap().unwrap();
    assert_eq!(floats("attention/2"), maps.iter().flatten().copied().collect::<Vec<_>>());
    let heads = sdviz::export::report::heads_of(&run, 0, 0).unwrap().unwrap();
    assert_eq!(floats("heads/0"), heads.iter().copied().collect::<Vec<_>>());
    for missing in ["attention/0", "attention/9", "attention/x", "heads/99", "heads/-1"] {
        assert_eq!(visitor.get(&format!("/api/runs/{id}/{missing}")).status, 404, "{missing}");
    }
}

#[test]
fn a_run_ends_within_a_step_when_it_is_cancelled() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::start(runs.path(), &[]);
    let (visitor, other) = (server.visitor("a"), server.visitor("b"));
    let mut events = visitor.events(None);
    let id = visitor.queue(&json!({ "prompt": "a fish", "steps": 150 }));
    let waiting = other.queue(&json!({ "prompt": "a star", "steps": 150 }));
    events.until(|happened| step(happened, "step") == Some(2));
    assert_eq!(visitor.post(&format!("/api/runs/{waiting}/cancel"), &json!(null)).json()["state"], "cancelled");
    assert_eq!(visitor.post(&format!("/api/runs/{id}/cancel"), &json!(null)).status, 200);
    // The step that is being made while the request comes, and not the one after it.
    let asked = visitor.get(&format!("/api/runs/{id}")).json();
    let ended = events.until(|h| h.kind == "run" && h.data["id"] == id.as_str() && h.data["state"] == "cancelled");
    let (then, last) = (asked["step"].as_u64().unwrap(), ended.last().unwrap().data["step"].as_u64().unwrap());
    assert!(last <= then + 1 && last < 150, "cancelled after step {then}, ended after step {last}");
    let run = sdviz::trace::reader::Run::open(runs.path().join(&id)).unwrap();
    assert_eq!(run.record().failure.as_deref(), Some("cancelled"));
    // What is cancelled stays so, and the next one is made.
    assert_eq!(visitor.post(&format!("/api/runs/{id}/cancel"), &json!(null)).json()["state"], "cancelled");
    visitor.queue(&json!({ "prompt": "a star", "steps": 1, "width": 64, "height": 64 }));
    events.until_runs(1, "complete");
    assert!(!runs.path().join(&waiting).exists(), "a run that never began leaves nothing");
}

#[test]
fn runs_that_others_made_are_shown_and_read_only_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let trace = |name: &str| {
        let out = folder.path().join(name);
        let words = ["trace", "-p", "a cat", "--steps", "2", "--model", TINY, "--no-report", "--out"];
        let done = command().args(words).arg(&out).output().unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
    };
    trace("cat");
    let server = Server::start(folder.path(), &["--read-only"]);
    let visitor = server.visitor("a");
    let stand = visitor.get("/api/runs").json();
    assert_eq!((&stand["runs"][0]["id"], &stand["runs"][0]["state"]), (&json!("cat"), &json!("complete")));
    assert_eq!(visitor.get("/api/runs/cat/final").status, 200);
    let refused = visitor.post("/api/runs", &json!({ "prompt": "a cat" }));
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(visitor.post("/sdapi/v1/txt2img", &json!({ "prompt": "a cat" })).status, 403);
    assert_eq!(visitor.get("/api/capabilities").json()["model"], json!(null));
    assert!(!folder.path().join(".queue").exists(), "nothing is written");
}
