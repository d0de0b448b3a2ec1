//! Where requests and the worker meet: runs are queued, handed to the worker, cancelled, and told of.
//!
//! Enters: plans from the requests, progress from the worker. Leaves: the next run to be made, summaries, events. What must
//! not be lost is in the [`Store`] before anybody hears of it.

use super::hub::Hub;
use super::id::RunId;
use super::queue::Queue;
use super::refusal::Refusal;
use super::settings::{Model, Settings};
use super::shelf::{Shelf, Stamp};
use super::store::{Entry, Pictures, Store};
use super::summary::{State, Summary};
use super::visitor::{Door, Role, Visitor};
use crate::error::Result;
use crate::pipeline::init_image::InitImage;
use crate::record::plan::Plan;
use crate::trace::reader::Run;
use axum::http::StatusCode;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, oneshot, watch};
use utoipa::ToSchema;

/// Runs that a new listener is told of, beside those that wait.
const SHOWN: usize = 200;

/// Where requests and the worker meet.
#[derive(Debug)]
pub struct Desk {
    /// How the server was started.
    pub settings: Settings,
    /// The model; none for a server that only shows.
    pub model: Option<Model>,
    /// Who may come in.
    pub door: Door,
    /// Where it is told what happens.
    pub hub: Hub,
    /// Raised when the server ends.
    pub closing: watch::Sender<bool>,
    /// Rung when the order of the queue has changed.
    pub reordered: Notify,
    store: Option<Store>,
    /// Held while a run is put into the queue, which takes the disk some time.
    intake: Mutex<()>,
    books: Mutex<Books>,
    work: Condvar,
}

#[derive(Debug)]
struct Books {
    queue: Queue,
    entries: HashMap<RunId, Entry>,
    running: Option<Running>,
    shelf: Shelf,
    waiting: HashMap<RunId, Vec<oneshot::Sender<Summary>>>,
}

/// The run that is being made.
#[derive(Debug, Clone)]
pub struct Running {
    /// Which.
    pub id: RunId,
    /// Whose.
    pub visitor: Visitor,
    /// Raised to stop it.
    pub stop: Arc<AtomicBool>,
    /// Since when.
    pub began: Instant,
    /// The newest preview, a PNG.
    pub preview: Option<Arc<Vec<u8>>>,
}

/// How it all stands, for a listener that has just come.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stand {
    /// The run that is being made.
    #[schema(value_type = Option<String>)]
    pub running: Option<RunId>,
    /// Those that wait, the next one first.
    #[schema(value_type = Vec<String>)]
    pub order: Vec<RunId>,
    /// What is known of these and of the newest others.
    pub runs: Vec<Summary>,
}

impl Desk {
    /// The desk of a server that begins, with what the last one has left.
    ///
    /// # Errors
    /// When the runs folder cannot be used.
    pub fn open(settings: Settings, model: Option<Model>) -> Result<Desk> {
        let store = if settings.read_only { None } else { Some(Store::open(&settings.runs)?) };
        let door = Door::new(settings.codes.clone(), store.as_ref().map(Store::joined))?;
        let mut books = Books {
            queue: Queue::default(),
            entries: HashMap::new(),
            running: None,
            shelf: Shelf::new(&settings.runs),
            waiting: HashMap::new(),
        };
        for entry in store.iter().map(|store| store.left(&settings.runs)).collect::<Result<Vec<_>>>()?.concat() {
            books.queue.push(&entry.visitor, entry.id.clone());
            books.shelf.put(Summary::of_entry(&entry));
            books.entries.insert(entry.id.clone(), entry);
        }
        books.look();
        Ok(Desk {
            settings,
            model,
            door,
            hub: Hub::new(),
            closing: watch::channel(false).0,
            reordered: Notify::new(),
            store,
            intake: Mutex::default(),
            books: Mutex::new(books),
            work: Condvar::new(),
        })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a run into the queue. When it returns, the run is on the disk.
    ///
    /// # Errors
    /// When the queue or the visitor's part of it is full, or a picture is of no use.
    pub fn submit(&self, visitor: &Visitor, plan: Plan, pictures: &Pictures) -> Result<Summary, Refusal> {
        let Some(store) = &self.store else { return Err(read_only()) };
        let _intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner);
        self.room(visitor)?;
        let asked_unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut entry = Entry { id: RunId::new(), visitor: visitor.clone(), asked_unix, plan };
        store.add(&mut entry, pictures)?;
        let summary = Summary::of_entry(&entry);
        let mut books = self.books();
        books.queue.push(visitor, entry.id.clone());
        books.entries.insert(entry.id.clone(), entry);
        books.shelf.put(summary.clone());
        self.hub.tell("run", &summary);
        drop(books);
        self.work.notify_one();
        self.reordered.notify_one();
        Ok(summary)
    }

    /// Whether a visitor may queue one more.
    fn room(&self, visitor: &Visitor) -> Result<(), Refusal> {
        let (books, limits) = (self.books(), &self.settings.limits);
        if books.queue.count(visitor) >= limits.queue_per_visitor {
            let message = format!("{} runs of yours wait already, which is the most", limits.queue_per_visitor);
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, message, "wait for one, or cancel one")
                .coded("too_many_waiting"));
        }
        if books.queue.len() >= limits.queue {
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the queue is full", "try again in a while")
                .coded("queue_full"));
        }
        Ok(())
    }

    /// Stops a run that waits or is being made. One that has ended stays as it is.
    ///
    /// # Errors
    /// When there is no such run, or it is somebody else's.
    pub fn cancel(&self, id: &RunId, visitor: &Visitor, role: Role) -> Result<Summary, Refusal> {
        let mut books = self.books();
        let Some(owner) = books.entries.get(id).map(|entry| entry.visitor.clone()) else {
            return books.shelf.get(id).cloned().ok_or_else(|| Refusal::not_found("run"));
        };
        if owner != *visitor && role != Role::Host {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "this run is somebody else's", "you can cancel your own")
                .coded("not_yours"));
        }
        // Before it stops: a server that is killed in between must not make it again.
        self.store.as_ref().map_or(Ok(()), |store| store.remove(id))?;
        if books.queue.remove(id) {
            self.end(&mut books, id, State::Cancelled, None);
        } else if let Some(running) = books.running.as_ref().filter(|running| running.id == *id) {
            running.stop.store(true, Ordering::Relaxed);
        }
        books.shelf.get(id).cloned().ok_or_else(|| Refusal::not_found("run"))
    }

    /// The next run, and the flag that stops it. Waits for one; none when the server ends.
    pub fn next(&self) -> Option<(Entry, Arc<AtomicBool>)> {
        let mut books = self.books();
        loop {
            if *self.closing.borrow() {
                return None;
            }
            if let Some(entry) = books.queue.next().and_then(|id| books.entries.get(&id).cloned()) {
                let stop = Arc::new(AtomicBool::new(false));
                let (id, visitor) = (entry.id.clone(), entry.visitor.clone());
                books.running = Some(Running { id, visitor, stop: stop.clone(), began: Instant::now(), preview: None });
                self.change(&mut books, &entry.id, |summary| summary.state = State::Running);
                self.reordered.notify_one();
                return Some((entry, stop));
            }
            books = self.work.wait(books).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The picture that a run begins from, if it does.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn input(&self, id: &RunId) -> Result<Option<InitImage>> {
        self.store.as_ref().map_or(Ok(None), |store| store.input(id))
    }

    /// Notes how far the run has come that is being made, and tells of its beginning.
    pub fn advance(&self, id: &RunId, step: usize, last_step: usize) {
        let mut books = self.books();
        let begins = books.shelf.get(id).is_some_and(|summary| summary.last_step == 0);
        if begins {
            self.change(&mut books, id, |summary| summary.last_step = last_step);
        } else if let Some(summary) = books.shelf.get_mut(id) {
            summary.step = step;
        }
    }

    /// Keeps the newest preview of the run that is being made.
    pub fn keep_preview(&self, png: Vec<u8>) {
        if let Some(running) = &mut self.books().running {
            running.preview = Some(Arc::new(png));
        }
    }

    /// Ends the run that is being made. One that the end of the server has stopped stays in the queue.
    pub fn ended(&self, id: &RunId, state: State, failure: Option<String>) {
        let mut books = self.books();
        books.running = None;
        if state == State::Cancelled && *self.closing.borrow() {
            return;
        }
        // What cannot be crossed out is made again, which does no harm.
        self.store.iter().for_each(|store| drop(store.remove(id)));
        self.end(&mut books, id, state, failure);
    }

    fn end(&self, books: &mut Books, id: &RunId, state: State, failure: Option<String>) {
        books.entries.remove(id);
        let recorded = Shelf::open(&self.settings.runs, id);
        books.shelf.settle(id);
        self.change(books, id, |summary| {
            (summary.state, summary.failure) = (state, failure);
            summary.seconds = recorded.as_ref().map(|run| run.record().timings.total_seconds);
            summary.step = recorded.and_then(|run| run.steps().ok()?.last().copied()).unwrap_or_default();
        });
        let Some(summary) = books.shelf.get(id).cloned() else { return };
        for waiting in books.waiting.remove(id).into_iter().flatten() {
            let _ = waiting.send(summary.clone());
        }
        self.reordered.notify_one();
    }

    fn change(&self, books: &mut Books, id: &RunId, change: impl FnOnce(&mut Summary)) {
        if let Some(summary) = books.shelf.get_mut(id) {
            change(summary);
            self.hub.tell("run", summary);
        }
    }

    /// Waits for the end of a run that is in the queue.
    pub fn wait(&self, id: &RunId) -> oneshot::Receiver<Summary> {
        let (sender, receiver) = oneshot::channel();
        let mut books = self.books();
        match books.shelf.get(id).filter(|_| !books.entries.contains_key(id)).cloned() {
            Some(ended) => drop(sender.send(ended)),
            None => books.waiting.entry(id.clone()).or_default().push(sender),
        }
        receiver
    }

    /// The run that is being made.
    pub fn running(&self) -> Option<Running> {
        self.books().running.clone()
    }

    /// How many runs of a visitor wait.
    pub fn waiting(&self, visitor: &Visitor) -> usize {
        self.books().queue.count(visitor)
    }

    /// What is known of a run, and its place in the queue if it waits, 1 the next.
    pub fn summary(&self, id: &RunId) -> Option<(Summary, Option<usize>)> {
        let mut books = self.books();
        books.look();
        let summary = books.shelf.get(id)?.clone();
        let place = books.queue.order().iter().position(|waiting| waiting == id).map(|place| place + 1);
        Some((summary, place))
    }

    /// A recorded run.
    pub fn open_run(&self, id: &RunId) -> Option<Run> {
        Shelf::open(&self.settings.runs, id)
    }

    /// A recorded run's file; `name` is one that the record's layout gives.
    pub fn run_file(&self, id: &RunId, name: &str) -> Option<Vec<u8>> {
        Shelf::file(&self.settings.runs, id, name)
    }

    /// The folders with runs that are not shown, each with why.
    pub fn passed_over(&self) -> Vec<String> {
        self.books().shelf.passed_over()
    }

    /// What changes when a run, or one of its files, is another than before; none where it is not there.
    pub fn stamps(&self, id: &RunId, name: &str) -> Option<[Stamp; 2]> {
        Shelf::stamps(&self.settings.runs, id, name)
    }

    /// The order of the queue.
    pub fn order(&self) -> (Option<RunId>, Vec<RunId>) {
        let books = self.books();
        (books.running.as_ref().map(|running| running.id.clone()), books.queue.order())
    }

    /// How it all stands.
    pub fn stand(&self) -> Stand {
        let mut books = self.books();
        books.look();
        let (running, order) = (books.running.as_ref().map(|running| running.id.clone()), books.queue.order());
        let newest = books.shelf.newest();
        let shown = |(place, summary): &(usize, &Summary)| *place < SHOWN || books.entries.contains_key(&summary.id);
        let runs = newest.into_iter().enumerate().filter(shown).map(|(_, summary)| summary.clone()).collect();
        Stand { running, order, runs }
    }

    /// Has everything end: the worker after it has stopped the run that it makes, streams at once.
    pub fn close(&self) {
        let books = self.books();
        self.closing.send_replace(true);
        books.running.iter().for_each(|running| running.stop.store(true, Ordering::Relaxed));
        drop(books);
        self.work.notify_all();
    }
}

impl Books {
    fn look(&mut self) {
        let Books { shelf, entries, .. } = self;
        shelf.look(|id| entries.contains_key(id));
    }
}

/// The refusal of a server that only shows.
pub fn read_only() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "this server only shows recorded runs", "it was started with `--read-only`")
        .coded("read_only")
}
