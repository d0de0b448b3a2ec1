//! What happens, told to all who listen: numbered, with the last of it kept for those who come back.
//!
//! Enters: events from the worker and the requests. Leaves: one stream for each listener. Nobody waits for one who does not
//! read: who falls behind is dropped, comes again, and has what was missed, or how it all stands.

use super::chance;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// Events that are kept for those who come back; previews among them, some kilobytes each.
const KEPT: usize = 512;
/// Events that a listener may be behind.
const BEHIND: usize = 256;

/// Something that happened.
#[derive(Debug)]
pub struct Told {
    /// Its place among all events, and which server told it: `1f2e3d4c-17`.
    pub id: String,
    /// `run`, `queue`, `preview` or `step`.
    pub kind: &'static str,
    /// JSON.
    pub data: String,
}

/// Where it is told.
#[derive(Debug)]
pub struct Hub {
    /// Numbers of another server mean nothing here.
    server: String,
    told: Mutex<Kept>,
    listeners: broadcast::Sender<Arc<Told>>,
}

#[derive(Debug, Default)]
struct Kept {
    count: u64,
    last: VecDeque<Arc<Told>>,
}

/// A new listener's place.
#[derive(Debug)]
pub struct Follow {
    /// What it has missed; none where that is not known any more, and all must be told anew.
    pub missed: Option<Vec<Arc<Told>>>,
    /// The id of the last event before those that will come.
    pub now: String,
    /// What will come.
    pub coming: broadcast::Receiver<Arc<Told>>,
}

impl Hub {
    /// Where nothing has happened yet.
    pub fn new() -> Hub {
        let server = format!("{:08x}", chance::number() as u32);
        Hub { server, told: Mutex::default(), listeners: broadcast::channel(BEHIND).0 }
    }

    /// Tells all.
    pub fn tell(&self, kind: &'static str, what: &impl Serialize) {
        let Ok(data) = serde_json::to_string(what) else { return };
        let mut kept = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count += 1;
        let told = Arc::new(Told { id: format!("{}-{}", self.server, kept.count), kind, data });
        kept.last.push_back(told.clone());
        if kept.last.len() > KEPT {
            kept.last.pop_front();
        }
        // While the list is held, so that a new listener gets each event once. Nobody listening is no error.
        let _ = self.listeners.send(told);
    }

    /// Listens, after the event with this id if one is given.
    pub fn follow(&self, after: Option<&str>) -> Follow {
        let kept = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let coming = self.listeners.subscribe();
        let first = kept.count + 1 - kept.last.len() as u64;
        let number = after.and_then(|id| id.strip_prefix(&self.server)?.strip_prefix('-')?.parse::<u64>().ok());
        let known = number.filter(|number| number + 1 >= first && *number <= kept.count);
        let missed = known.map(|number| kept.last.iter().skip((number + 1 - first) as usize).cloned().collect());
        Follow { missed, now: format!("{}-{}", self.server, kept.count), coming }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_comes_back_has_what_was_missed() {
        let hub = Hub::new();
        (1..=3).for_each(|n| hub.tell("step", &n));
        let all = hub.follow(None);
        assert!(all.missed.is_none() && all.now.ends_with("-3"));
        let first = format!("{}-1", hub.server);
        let missed = |id: &str| hub.follow(Some(id)).missed.map(|told| told.iter().map(|t| t.data.clone()).collect());
        assert_eq!(missed(&first), Some(vec!["2".to_string(), "3".into()]));
        assert_eq!(missed(&all.now), Some(vec![]));
        assert_eq!(missed("00000000-1"), None::<Vec<String>>, "another server's");
        assert_eq!(missed(&format!("{}-9", hub.server)), None, "from the future");
        (0..KEPT).for_each(|n| hub.tell("step", &n));
        assert_eq!(missed(&first), None, "too long ago");
        assert_eq!(missed(&all.now).map(|told| told.len()), Some(KEPT));
    }
}
