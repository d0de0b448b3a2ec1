//! What gets a refusal: requests that reach for other files, too large or absurd ones, silent and foreign ones, those
//! without the code.

use super::client::{Server, TINY};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

#[test]
fn nothing_but_runs_can_be_reached() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (runs, secret) = (folder.path().join("runs"), outside.path().join("run"));
    for name in ["run.json", "final.png", "secret.txt"] {
        std::fs::create_dir_all(&secret).unwrap();
        std::fs::write(secret.join(name), "secret").unwrap();
    }
    std::fs::create_dir_all(&runs).unwrap();
    std::fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    std::os::unix::fs::symlink(&secret, runs.join("link")).unwrap();
    let server = Server::tiny(&runs, &[]);
    let visitor = server.visitor("a");
    for path in [
        "/../secret.txt",
        "/api/runs/../secret.txt",
        "/api/runs/..%2fsecret.txt",
        "/api/runs/..%2f..%2f..%2fetc%2fpasswd/final",
        "/api/runs/%2e%2e/record",
        "/api/runs/./final",
        "/api/runs/.queue/record",
        "/api/runs/.queue/final",
        "/api/runs/link/final",
        "/api/runs/link/record",
        "/api/runs/%2fetc%2fpasswd/record",
        "/api/runs/run%00/final",
        "/api/runs/none/final",
        "/api/runs/link/steps/0/latents",
        "/api/runs/link/pictures/..%2f..%2fsecret/latents",
        "/page.js/../../secret.txt",
    ] {
        let answer = visitor.get(path);
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.text().contains("secret") && !answer.text().contains("root:"), "{path}: {}", answer.text());
        let cancelled = visitor.post(&format!("{path}/cancel"), &json!(null));
        assert!((400..500).contains(&cancelled.status), "{path}: {}", cancelled.status);
    }
    assert_eq!(visitor.get("/api/runs").json()["runs"], json!([]), "a link is no run");
}

/// A PNG of so many pixels, of which nothing but the head is there.
fn bomb(width: u32, height: u32) -> String {
    use base64::Engine;
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgba);
    let nothing = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::fast()).finish().unwrap();
    encoder.write_header().unwrap().write_chunk(png::chunk::IDAT, &nothing).unwrap();
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

#[test]
fn what_is_too_much_is_refused_before_any_work() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::tiny(runs.path(), &["--max-steps", "900", "--queue-per-visitor", "2", "--max-seconds", "5"]);
    let visitor = server.visitor("a");
    let refused = |path: &str, body: Value, status: u16, word: &str| {
        let answer = visitor.post(path, &body);
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text());
        assert!(answer.text().contains(word), "{path} {body}: {}", answer.text());
    };
    refused("/api/runs", json!({ "steps": 901 }), 422, "900 at most");
    refused("/api/runs", json!({ "steps": 901 }), 422, r#""code":"invalid""#);
    refused("/api/runs", json!({ "width": 1_000_000_000 }), 422, "1024 at most");
    refused("/api/runs", json!({ "prompt": "x".repeat(9000) }), 422, "8000 at most");
    refused("/api/runs", json!({ "prompt": ["x"] }), 422, "openapi");
    refused("/api/runs", json!({ "out": "/etc" }), 422, "unknown field");
    refused("/sdapi/v1/txt2img", json!({ "steps": 100_000 }), 422, "900 at most");
    refused("/sdapi/v1/txt2img", json!({ "n_iter": u64::MAX, "batch_size": 9 }), 422, "4 at most");
    refused("/sdapi/v1/txt2img", json!({ "sampler_name": "none such" }), 404, "Sampler not found");
    refused("/v1/images/generations", json!({ "prompt": "x", "size": "9999x9999" }), 422, "1024 at most");
    for (width, height) in [(50_000, 50_000), (8000, 8000), (60_000, 1)] {
        let picture = bomb(width, height);
        refused("/api/runs", json!({ "init_image": picture }), 422, "is too large");
        refused("/sdapi/v1/img2img", json!({ "init_images": [picture] }), 422, "is too large");
        refused("/sdapi/v1/img2img", json!({ "init_images": [bomb(8, 8)], "mask": picture }), 422, "");
        refused("/sdapi/v1/png-info", json!({ "image": picture }), 422, "is too large");
    }
    refused("/api/runs", json!({ "init_image": "http://127.0.0.1:1/a.png" }), 422, "addresses are not fetched");
    refused("/api/runs", json!({ "init_image": bomb(8, 8) }), 422, "");
    refused("/api/runs", json!({ "init_image": bomb(9000, 1) }), 422, r#""code":"picture_too_large""#);
    refused("/api/runs", json!({ "init_image": "x" }), 422, r#""code":"picture_unreadable""#);

    // More than there may be, with and without saying so first; and no JSON.
    let head = |more: &str| visitor.head("POST", "/api/runs", more);
    let said = server.raw(head("Content-Type: application/json\r\nContent-Length: 99999999999\r\n").as_bytes());
    assert_eq!(said.status, 413);
    let mut stream = server.connect();
    stream.write_all(head("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n").as_bytes()).unwrap();
    let piece = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
    let sent = (0..64).take_while(|_| stream.write_all(&piece).is_ok()).count();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(sent < 64 && (answer.is_empty() || answer.contains("413")), "{sent} MiB were taken: {answer}");
    let plain = server.raw((head("Content-Type: text/plain\r\nContent-Length: 2\r\n") + "{}").as_bytes());
    assert_eq!(plain.status, 415, "a form of another site could send that");
    let long = server.raw(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)).as_bytes());
    assert!([0, 400, 414, 431].contains(&long.status), "{}", long.status);

    // One that takes longer than allowed ends, and one may wait with no more than so many.
    let long = json!({ "prompt": "a cat", "steps": 900, "width": 512, "height": 512 });
    let mut events = visitor.events(None);
    let first = visitor.queue(&long);
    events.until(|happened| happened.kind == "step");
    (0..2).for_each(|_| drop(visitor.queue(&json!({ "steps": 1 }))));
    refused("/api/runs", json!({ "steps": 1 }), 429, "2 runs of yours wait");
    refused("/api/runs", json!({ "steps": 1 }), 429, r#""code":"too_many_waiting""#);
    server.visitor("b").queue(&json!({ "steps": 1 }));
    let ended = events.until(|happened| happened.kind == "run" && happened.data["state"] == "failed");
    let ended = &ended.last().unwrap().data;
    assert_eq!(ended["id"], first.as_str());
    assert!(ended["failure"].as_str().unwrap().contains("longer than 5 s"), "{ended}");
    events.until_runs(3, "complete");
}

#[test]
fn silence_is_not_waited_for() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::tiny(runs.path(), &[]);
    let (mut silent, mut stops, mut slow) = (server.connect(), server.connect(), server.connect());
    stops.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1").unwrap();
    let began = Instant::now();
    std::thread::spawn({
        let mut slow = slow.try_clone().unwrap();
        move || {
            let head = b"GET / HTTP/1.1\r\nX-Letter-By-Letter: ".iter().chain(std::iter::repeat(&b'x'));
            head.take_while(|byte| slow.write_all(&[**byte]).is_ok() && began.elapsed() < Duration::from_secs(20))
                .for_each(|_| std::thread::sleep(Duration::from_millis(300)));
        }
    });
    for stream in [&mut silent, &mut stops, &mut slow] {
        let _ = stream.read_to_end(&mut vec![]);
        assert!(began.elapsed() < Duration::from_secs(15), "closed after {:?}", began.elapsed());
    }
    assert_eq!(server.visitor("a").get("/api/capabilities").status, 200);
}

#[test]
fn other_sites_and_other_names_are_kept_out() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::tiny(runs.path(), &[]);
    let port = server.port;
    let with = |more: &str| server.stranger(more).post("/api/runs", &json!({ "steps": 1 })).status;
    assert_eq!(with("Origin: http://evil.example\r\n"), 403);
    assert_eq!(with("Origin: null\r\n"), 403);
    assert_eq!(with("Sec-Fetch-Site: cross-site\r\nOrigin: http://evil.example\r\n"), 403);
    assert_eq!(with("Sec-Fetch-Site: same-site\r\n"), 403);
    assert_eq!(with(&format!("Origin: http://127.0.0.1:{port}\r\n")), 202);
    assert_eq!(with("Sec-Fetch-Site: same-origin\r\n"), 202);
    assert_eq!(with(""), 202, "a program");
    let host = |lines: &str| {
        server.raw(format!("GET /api/capabilities HTTP/1.1\r\n{lines}Connection: close\r\n\r\n").as_bytes())
    };
    for foreign in [
        "Host: evil.example\r\n".to_string(),
        format!("Host: evil.example:{port}\r\n"),
        format!("Host: 127.0.0.1:{port}.evil.example\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n"),
        String::new(),
    ] {
        let status = host(&foreign).status;
        assert!([400, 421].contains(&status), "{foreign:?}: {status}");
    }
    assert_eq!(host(&format!("Host: localhost:{port}\r\n")).status, 200);
    // A browser is told to read nothing into an answer, and no other site may read one at all.
    let page = server.stranger("Origin: http://evil.example\r\n").get("/");
    assert!(page.head.contains("frame-ancestors 'none'") && page.head.contains("x-content-type-options: nosniff"));
    assert!(!page.head.contains("access-control"), "{}", page.head);
    let cookie = page.head.lines().find(|line| line.starts_with("set-cookie")).unwrap();
    assert!(cookie.contains("httponly") && cookie.contains("samesite=strict"), "{cookie}");
}

#[test]
fn a_room_comes_in_by_its_code() {
    use base64::Engine;
    let runs = tempfile::tempdir().unwrap();
    let start = || Server::start(runs.path(), &["--model", TINY, "--listen", "0.0.0.0", "--join-code", "ROOM42"]);
    let server = start();
    let line = server.said.lines().find(|line| line.starts_with("for the lecturer")).unwrap().to_string();
    let host_code = line.rsplit("#code=").next().unwrap().trim();
    assert!(server.said.contains('█') && server.said.contains("ROOM42"), "{}", server.said);
    let stranger = server.stranger("");
    for closed in
        ["/api/runs", "/api/events", "/api/capabilities", "/api/join.svg", "/api/runs/x/final", "/sdapi/v1/options"]
    {
        assert_eq!(stranger.get(closed).status, 401, "{closed}");
    }
    assert_eq!(stranger.post("/api/runs", &json!({})).status, 401);
    assert_eq!((stranger.get("/").status, stranger.get("/page.js").status), (200, 200), "the page asks for the code");
    assert!(stranger.get("/").cookie().is_none());
    let made_up = server.visitor("made up");
    assert_eq!(made_up.get("/api/runs").status, 401, "a cookie of the right form is not enough");

    assert_eq!(stranger.get("/api/runs").json()["code"], "no_code");
    let wrong = stranger.post("/join", &json!({ "code": "ROOM43" }));
    assert_eq!((wrong.status, &wrong.json()["code"]), (401, &json!("wrong_code")));
    let join = |code: &str| {
        let answer = stranger.post("/join", &json!({ "code": code }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut visitor = server.stranger("");
        visitor.cookie = answer.cookie();
        visitor
    };
    let (guest, other, lecturer) = (join("room42"), join("ROOM42"), join(host_code));
    assert_eq!(lecturer.get("/api/capabilities").json()["role"], "host");
    let about = guest.get("/api/capabilities").json();
    assert_eq!((&about["role"], &about["join"]["code"]), (&json!("guest"), &json!("ROOM42")));
    assert!(guest.get("/api/join.svg").text().starts_with("<svg"));
    assert!(!about.to_string().contains(host_code), "guests do not learn the lecturer's code");

    // The first is long, so that the second waits.
    let long = guest.queue(&json!({ "prompt": "a", "steps": 150, "width": 512, "height": 512 }));
    let own = guest.queue(&json!({ "prompt": "b", "steps": 1 }));
    let cancel =
        |who: &super::client::Visitor, id: &str| who.post(&format!("/api/runs/{id}/cancel"), &json!(null)).status;
    assert_eq!(cancel(&other, &own), 403);
    assert_eq!(cancel(&guest, &own), 200);
    assert_eq!(cancel(&lecturer, &long), 200);

    // Programs send the code as a password.
    let basic = |code: &str| {
        let login = base64::prelude::BASE64_STANDARD.encode(format!("me:{code}"));
        server.stranger(&format!("Authorization: Basic {login}\r\n")).get("/sdapi/v1/options").status
    };
    assert_eq!((basic("ROOM42"), basic("wrong")), (200, 401));
    // Who has joined need not again.
    let cookie = guest.cookie.clone().unwrap();
    server.kill();
    let server = start();
    let mut guest = server.stranger("");
    // By the name of the cookie at this port: a server has the same one again, unless it is a test's.
    guest.cookie = cookie.split_once('=').map(|(_, token)| format!("sdviz-{}={token}", server.port));
    assert_eq!(guest.get("/api/runs").status, 200);
}
