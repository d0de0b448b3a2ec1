//! A server of its own for a test, and a client that speaks HTTP by hand: what is sent is exactly what a test says.

use crate::common::command;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A model that draws nothing, quickly.
pub const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/tiny-sd");
/// The patience of a test, not a measure.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that is killed when it is dropped.
pub struct Server {
    process: Child,
    pub port: u16,
    /// What it said when it began.
    pub said: String,
}

impl Server {
    /// Starts one over a runs folder.
    pub fn start(runs: &Path, more: &[&str]) -> Server {
        let mut process = command()
            .args(["serve", "--port", "0", "--runs", runs.to_str().unwrap()])
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut lines, mut said) = (BufReader::new(process.stderr.take().unwrap()).lines(), String::new());
        let port = loop {
            let line = lines.next().unwrap_or_else(|| panic!("the server did not start: {said}")).unwrap();
            said += &format!("{line}\n");
            let is_last = line.starts_with("the page") || line.starts_with("for the lecturer");
            let address = line.rsplit("http://").next().filter(|_| is_last);
            if let Some(port) = address.and_then(|rest| rest.split('/').next()?.rsplit(':').next()?.parse().ok()) {
                break port;
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Server { process, port, said }
    }

    /// With the tiny model.
    pub fn tiny(runs: &Path, more: &[&str]) -> Server {
        Server::start(runs, &[&["--model", TINY], more].concat())
    }

    /// As a power cut would.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// As Ctrl-C does.
    #[cfg(unix)]
    pub fn interrupt(mut self) -> bool {
        // SAFETY: sends a signal to our own child.
        unsafe { libc::kill(self.process.id() as i32, libc::SIGINT) };
        self.process.wait().unwrap().success()
    }

    pub fn connect(&self) -> TcpStream {
        self.connect_from(Ipv4Addr::LOCALHOST)
    }

    /// As another machine would: Linux has all of 127.0.0.0/8.
    pub fn connect_from(&self, address: Ipv4Addr) -> TcpStream {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((address, 0))).unwrap();
            socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes as they are, and reads until the other side is done.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        self.raw_on(self.connect(), bytes)
    }

    fn raw_on(&self, mut stream: TcpStream, bytes: &[u8]) -> Answer {
        // A server may have refused before it has read all.
        let _ = stream.write_all(bytes);
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        Answer::of(&answer)
    }

    /// A visitor who is known by a name.
    pub fn visitor(&self, name: &str) -> Visitor<'_> {
        // Any token of the right form is a visitor's where the door is open.
        let token: String = Sha256::digest(name).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Visitor {
            server: self,
            cookie: Some(format!("sdviz-{}={token}", self.port)),
            more: String::new(),
            from: Ipv4Addr::LOCALHOST,
        }
    }

    /// Somebody without a cookie, with these header lines.
    pub fn stranger(&self, more: &str) -> Visitor<'_> {
        Visitor { server: self, cookie: None, more: more.into(), from: Ipv4Addr::LOCALHOST }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Somebody who asks.
#[derive(Clone)]
pub struct Visitor<'a> {
    server: &'a Server,
    pub cookie: Option<String>,
    /// More header lines, each with its end.
    pub more: String,
    /// The address of their machine.
    pub from: Ipv4Addr,
}

impl Visitor<'_> {
    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    /// With more header lines.
    pub fn get_with(&self, path: &str, more: &str) -> Answer {
        self.raw(&self.head("GET", path, more))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.raw(&self.posted(path, body))
    }

    /// The same without waiting for the answer.
    pub fn begin(&self, path: &str, body: &Value) -> TcpStream {
        let mut stream = self.server.connect_from(self.from);
        stream.write_all(self.posted(path, body).as_bytes()).unwrap();
        stream
    }

    /// In pieces of so many bytes, without saying first how many there will be.
    pub fn post_chunked(&self, path: &str, body: &Value, piece: usize) -> Answer {
        let head = self.head("POST", path, "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n");
        let body = body.to_string();
        let pieces = body
            .as_bytes()
            .chunks(piece)
            .map(|piece| format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)));
        self.raw(&(head + &pieces.collect::<String>() + "0\r\n\r\n"))
    }

    fn raw(&self, request: &str) -> Answer {
        self.server.raw_on(self.server.connect_from(self.from), request.as_bytes())
    }

    fn posted(&self, path: &str, body: &Value) -> String {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        self.head("POST", path, &length) + &body
    }

    /// The request's head.
    pub fn head(&self, method: &str, path: &str, more: &str) -> String {
        let cookie = self.cookie.iter().map(|cookie| format!("Cookie: {cookie}\r\n")).collect::<String>();
        let (port, own) = (self.server.port, &self.more);
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{cookie}{own}{more}\r\n")
    }

    /// Queues a run and gives its id.
    pub fn queue(&self, asked: &Value) -> String {
        let answer = self.post("/api/runs", asked);
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().into()
    }

    /// Listens, after an event if one is named.
    pub fn events(&self, after: Option<&str>) -> Events {
        let after = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let mut stream = self.server.connect();
        stream.write_all(self.head("GET", "/api/events", &after).as_bytes()).unwrap();
        Events { lines: BufReader::new(stream) }
    }
}

/// What happens.
pub struct Events {
    lines: BufReader<TcpStream>,
}

#[derive(Debug, Clone, Default)]
pub struct Happened {
    pub id: String,
    pub kind: String,
    pub data: Value,
}

impl Events {
    /// The next event; none when the stream ends. What frames the chunks is passed over.
    pub fn next(&mut self) -> Option<Happened> {
        let (mut happened, mut silent) = (Happened::default(), 0);
        // A silent stream says every 15 s that it is there.
        while silent < 8 {
            let mut line = String::new();
            if self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            silent += usize::from(line.starts_with(':'));
            match line.trim_end().split_once(": ") {
                Some(("id", id)) => happened.id = id.into(),
                Some(("event", kind)) => happened.kind = kind.into(),
                Some(("data", data)) => {
                    happened.data = serde_json::from_str(data).unwrap();
                    return Some(happened);
                }
                _ => {}
            }
        }
        None
    }

    /// Reads until an event fits, and gives all up to it.
    pub fn until(&mut self, fits: impl Fn(&Happened) -> bool) -> Vec<Happened> {
        let (mut all, began) = (vec![], Instant::now());
        loop {
            assert!(began.elapsed() < PATIENCE, "it did not happen after {all:?}");
            let happened = self.next().unwrap_or_else(|| panic!("the stream has ended after {all:?}"));
            let found = fits(&happened);
            all.push(happened);
            if found {
                return all;
            }
        }
    }

    /// Until so many runs are in this state.
    pub fn until_runs(&mut self, count: usize, state: &str) -> Vec<String> {
        let mut ended = vec![];
        while ended.len() < count {
            let all = self.until(|happened| happened.kind == "run" && happened.data["state"] == state);
            ended.push(all.last().unwrap().data["id"].as_str().unwrap().into());
        }
        ended
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// 0 where the connection was closed without one.
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn of(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        Answer { status, head, body: bytes.get(end + 4..).unwrap_or_default().to_vec() }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A header line's value, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The cookie that it gives.
    pub fn cookie(&self) -> Option<String> {
        let line = self.header("set-cookie")?;
        line.split(';').next().map(String::from)
    }
}
