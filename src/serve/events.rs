//! What happens, as it happens: server-sent events.

use super::desk::Desk;
use super::guard::Caller;
use super::hub::Told;
use super::listen::raised;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Response, Sse};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Events that wait in one stream; the hub holds the rest.
const AHEAD: usize = 16;
/// How often a silent stream says that it is there.
const ALIVE: Duration = Duration::from_secs(15);
/// When a browser comes back that was cut off.
const RETRY: Duration = Duration::from_secs(2);
/// The order of the queue is told no more often.
const ORDER_EVERY: Duration = Duration::from_millis(250);

/// What happens, as server-sent events, one stream for everything. `stand` (how it all stands) comes first, unless
/// `Last-Event-ID` names an event after which all are known; then `run` (a summary has changed), `queue` (`running`, and
/// the `order` of those that wait), `preview` (`run`, `step`, `last_step`, `what`, and the `image` as a data URL), and
/// `step` (`run`, `step`, `last_step`, and which `pictures` of it are decoded).
#[utoipa::path(get, path = "/api/events", tag = "runs", responses(
    (status = 200, content_type = "text/event-stream"), (status = 204, description = "the server ends: do not come back")))]
pub async fn events(State(desk): State<Arc<Desk>>, _: Caller, headers: HeaderMap) -> Response {
    if *desk.closing.borrow() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(String::from);
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let _ = stream(&desk, last.as_deref(), &sender).await;
    });
    let alive = KeepAlive::new().interval(ALIVE);
    let own = [(header::CACHE_CONTROL, "no-store"), (HeaderName::from_static("x-accel-buffering"), "no")];
    (own, Sse::new(ReceiverStream::new(receiver)).keep_alive(alive)).into_response()
}

type Sender = mpsc::Sender<Result<Event, Infallible>>;

/// Sends until the listener goes or falls behind, or the server ends.
async fn stream(
    desk: &Arc<Desk>,
    last: Option<&str>,
    sender: &Sender,
) -> Result<(), mpsc::error::SendError<Result<Event, Infallible>>> {
    let mut closing = desk.closing.subscribe();
    let mut follow = desk.hub.follow(last);
    match follow.missed {
        Some(missed) => {
            for told in missed {
                sender.send(Ok(event(&told))).await?;
            }
        }
        None => {
            let stand = tokio::task::spawn_blocking({
                let desk = desk.clone();
                move || serde_json::to_string(&desk.stand()).unwrap_or_default()
            });
            let stand =
                Event::default().retry(RETRY).id(follow.now).event("stand").data(stand.await.unwrap_or_default());
            sender.send(Ok(stand)).await?;
        }
    }
    loop {
        let told = tokio::select! {
            told = follow.coming.recv() => told,
            () = sender.closed() => return Ok(()),
            () = raised(&mut closing) => return Ok(()),
        };
        match told {
            Ok(told) => sender.send(Ok(event(&told))).await?,
            Err(_) => return Ok(()),
        }
    }
}

fn event(told: &Told) -> Event {
    Event::default().id(&told.id).event(told.kind).data(&told.data)
}

/// Tells of the queue's order when it has changed, but not of every change among many.
pub async fn tell_order(desk: Arc<Desk>) {
    loop {
        desk.reordered.notified().await;
        let (running, order) = desk.order();
        desk.hub.tell("queue", &json!({ "running": running, "order": order }));
        tokio::time::sleep(ORDER_EVERY).await;
    }
}
