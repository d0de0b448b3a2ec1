//! `sdviz serve`: the page, live. Runs are asked for in a browser or by a program, wait in a queue that is on disk, are made
//! one after the other, and are watched while they are made.
//!
//! Enters: requests. Leaves: run directories as `sdviz trace` writes them, events, answers. The queue is `store` (on disk),
//! `queue` (whose turn it is) and `desk` (where requests and the worker meet); the door is `listen` (connections), `guard`
//! (who may ask what) and `visitor` (who it is); `api`, `events`, `page`, `a1111` and `openai` answer.

mod a1111;
mod api;
mod asked;
mod body;
mod chance;
mod desk;
mod events;
mod guard;
mod hub;
mod id;
mod listen;
mod openai;
mod page;
mod preview;
mod queue;
mod refusal;
mod routes;
mod settings;
mod shelf;
mod store;
mod summary;
mod visitor;
mod work;

pub use chance::{code, is_code};
pub use settings::{Limits, Settings};
pub use visitor::Codes;

use crate::error::{Error, IoContext, Result};
use crate::model::resolve::ModelChoice;
use crate::pipeline::Pipeline;
use desk::Desk;
use preview::Painter;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use tokio::net::TcpListener;

/// A server that is ready to answer.
#[derive(Debug)]
pub struct Server {
    desk: Arc<Desk>,
    listener: std::net::TcpListener,
    port: u16,
}

impl Server {
    /// Opens the runs folder with what the last server has left in its queue, and the port.
    ///
    /// # Errors
    /// When the folder cannot be used, is not there although runs are only to be shown, another server has it, or the port is
    /// taken.
    pub fn open(mut settings: Settings, pipeline: Option<&Pipeline>) -> Result<Server> {
        if settings.read_only && !settings.runs.is_dir() {
            let message = format!("there is no folder `{}` to show runs of", settings.runs.display());
            return Err(Error::invalid(message, "name the folder that your runs are in with `--runs`"));
        }
        let model = pipeline.map(settings::Model::of).transpose()?;
        let address = SocketAddr::new(settings.address, settings.port);
        let listener = std::net::TcpListener::bind(address).map_err(|error| {
            let hint = "choose another with `--port`, or another address with `--listen`";
            Error::invalid(format!("cannot listen at {address}: {error}"), hint)
        })?;
        let port = listener.local_addr().map(|address| address.port()).unwrap_or(settings.port);
        listener.set_nonblocking(true).at("open", &settings.runs)?;
        settings.port = port;
        let desk = Arc::new(Desk::open(settings, model)?);
        Ok(Server { desk, listener, port })
    }

    /// The page's address; with a code, the one that opens the door.
    pub fn address(&self, code: Option<&str>) -> String {
        self.desk.address(code)
    }

    /// Which folders with runs are not shown, and why, a line for each.
    pub fn passed_over(&self) -> Vec<String> {
        self.desk.passed_over()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many runs the last server has left in the queue.
    pub fn left(&self) -> usize {
        self.desk.order().1.len()
    }

    /// Answers until the process is asked to end; then stops the run that is being made, which is made anew by the next
    /// server.
    ///
    /// # Errors
    /// When the system gives no threads, or the autoencoder fails.
    pub fn run(self, model: Option<(Pipeline, ModelChoice)>, ended: impl Future<Output = ()>) -> Result<()> {
        let Server { desk, listener, port } = self;
        let painter = model.as_ref().map(|(pipeline, _)| Painter::of(pipeline)).transpose()?.flatten();
        let worker = desk.clone();
        let worker = std::thread::spawn(move || {
            if let Some((pipeline, choice)) = model {
                work::work(&worker, &pipeline, &choice, painter);
            }
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.at("begin", &desk.settings.runs)?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).at("open", &desk.settings.runs)?;
            tokio::spawn(events::tell_order(desk.clone()));
            let accepting =
                tokio::spawn(listen::accept(listener, routes::app(desk.clone()), port, desk.closing.subscribe()));
            ended.await;
            desk.close();
            let _ = accepting.await;
            Ok::<(), Error>(())
        })?;
        // What has broken in it was told of with the run.
        let _ = worker.join();
        Ok(())
    }
}

impl Desk {
    /// The page's address; with a code, the one that opens the door: behind `#`, which no browser sends and no log keeps.
    fn address(&self, code: Option<&str>) -> String {
        let port = self.settings.port;
        let host = match (self.settings.host_names.first(), self.settings.address) {
            (Some(name), _) => format!("{name}:{port}"),
            (None, address) if address.is_unspecified() => SocketAddr::new(own_address(address), port).to_string(),
            (None, address) => SocketAddr::new(address, port).to_string(),
        };
        code.map_or(format!("http://{host}/"), |code| format!("http://{host}/#code={code}"))
    }
}

/// The address by which the local network knows this machine: that of the way out. Nothing is sent.
fn own_address(listening: IpAddr) -> IpAddr {
    let found = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let none = if listening.is_ipv4() { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]) };
    found.map_or(none, |address| address.ip())
}
