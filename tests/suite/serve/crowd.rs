//! One visitor who sends much, or wrong codes, leaves the others their room.

use super::client::{Server, TINY};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Large bodies that the server has in memory at a time.
const AT_ONCE: usize = 8;

/// A picture that is more than 1 MiB in base64: noise cannot be packed.
fn large_picture() -> String {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let picture = image::RgbImage::from_fn(600, 600, |_, _| image::Rgb([noise(), noise(), noise()]));
    let mut bytes = std::io::Cursor::new(vec![]);
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let text = BASE64_STANDARD.encode(bytes.into_inner());
    assert!(text.len() > 1 << 20, "{}", text.len());
    text
}

fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn pictures_that_wait_for_their_run_keep_no_others_out() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::tiny(runs.path(), &[]);
    let (greedy, other, picture) = (server.visitor("greedy"), server.visitor("other"), large_picture());
    let long = json!({ "init_images": [picture], "prompt": "x", "steps": 150, "width": 512, "height": 512 });
    let waiting: Vec<TcpStream> = (0..AT_ONCE).map(|_| greedy.begin("/sdapi/v1/img2img", &long)).collect();
    until("all of them wait", || greedy.get("/api/runs").json()["runs"].as_array().unwrap().len() == AT_ONCE);
    let asked =
        |picture: &str| json!({ "prompt": "a cat", "steps": 1, "width": 64, "height": 64, "init_image": picture });
    let began = Instant::now();
    other.queue(&asked(&picture));
    let small = other.post_chunked("/api/runs", &json!({ "prompt": "a dog", "steps": 1 }), 10);
    assert_eq!(small.status, 202, "{}", small.text());
    let pieces = other.post_chunked("/api/runs", &asked(&picture), 100_000);
    assert_eq!(pieces.status, 202, "{}", pieces.text());
    assert!(began.elapsed() < Duration::from_secs(25), "it waited: {:?}", began.elapsed());
    assert_eq!(waiting.len(), AT_ONCE);
}

#[test]
fn slow_senders_of_large_bodies_are_told_of_and_small_ones_pass() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::tiny(runs.path(), &[]);
    let (slow, other) = (server.visitor("slow"), server.visitor("other"));
    let announced = |_| {
        let head = slow.head("POST", "/api/runs", "Content-Type: application/json\r\nContent-Length: 2000000\r\n");
        let mut stream = server.connect();
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        stream
    };
    let sending: Vec<TcpStream> = (0..AT_ONCE).map(announced).collect();
    std::thread::sleep(Duration::from_millis(500));
    let small = json!({ "prompt": "a dog", "steps": 1, "width": 64, "height": 64 });
    for path in ["/api/runs", "/sdapi/v1/txt2img", "/v1/images/generations"] {
        let body = if path.starts_with("/v1") { json!({ "prompt": "a dog", "size": "64x64" }) } else { small.clone() };
        let answer = other.post_chunked(path, &body, 10);
        assert!(answer.status < 300, "{path}: {}", answer.text());
    }
    let large = json!({ "prompt": "a cat", "steps": 1, "init_image": large_picture() });
    let busy = other.post("/api/runs", &large);
    assert_eq!(busy.status, 503, "{}", busy.text());
    assert_eq!(busy.json()["code"], "many_large");
    drop(sending);
    until("a place is free", || other.post("/api/runs", &large).status == 202);
}

#[test]
#[cfg(target_os = "linux")]
fn wrong_codes_shut_out_the_machine_that_sends_them_alone() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::start(runs.path(), &["--model", TINY, "--listen", "0.0.0.0", "--join-code", "ROOM42"]);
    let line = server.said.lines().find(|line| line.starts_with("for the lecturer")).unwrap().to_string();
    let host_code = line.rsplit("#code=").next().unwrap().trim();
    let (mut guesser, honest) = (server.stranger(""), server.stranger(""));
    guesser.from = [127, 0, 0, 2].into();
    let join = |code: &str| json!({ "code": code });
    let wrong: Vec<u16> = std::thread::scope(|scope| {
        let one = || guesser.post("/join", &join("ROOM43")).status;
        let all: Vec<_> = (0..40).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|guess| guess.join().unwrap()).collect()
    });
    assert_eq!(wrong.iter().filter(|status| **status == 401).count(), 30, "{wrong:?}");
    let shut_out = guesser.post("/join", &join("ROOM42"));
    assert_eq!((shut_out.status, &shut_out.json()["code"]), (429, &json!("too_many_codes")));
    let lecturer = guesser.post("/join", &join(host_code));
    assert_eq!(lecturer.status, 200, "the lecturer comes in from the same machine: {}", lecturer.text());
    assert_eq!(lecturer.json()["role"], "host");

    assert_eq!(honest.post("/join", &join("ROOM42")).status, 200);
    let login = BASE64_STANDARD.encode("me:ROOM42");
    let program = server.stranger(&format!("Authorization: Basic {login}\r\n"));
    assert_eq!(program.get("/sdapi/v1/options").status, 200);
    assert_eq!(honest.post("/join", &join("ROOM43")).status, 401, "a slip of one's own is no guess of another's");
}

#[test]
fn what_is_said_of_eta_is_what_is_taken() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::tiny(runs.path(), &[]);
    let visitor = server.visitor("a");
    let schedulers = visitor.get("/api/capabilities").json()["schedulers"].clone();
    let mut take = vec![];
    for scheduler in schedulers.as_array().unwrap() {
        let asked = json!({ "scheduler": scheduler["name"], "eta": 0.5, "steps": 1, "width": 64, "height": 64 });
        let taken = visitor.post("/api/runs", &asked).status == 202;
        assert_eq!(scheduler["takes_eta"], taken, "{scheduler}");
        take.extend(taken.then(|| scheduler["name"].as_str().unwrap()));
    }
    assert_eq!(take, ["ddim", "tcd"]);
    let described = visitor.get("/api/openapi.json").json();
    let about: &Value = &described["components"]["schemas"]["SchedulerAbout"]["properties"]["takes_eta"];
    assert_eq!(about["type"], "boolean", "{about}");
}
