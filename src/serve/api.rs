//! The interface of the page and of programs: what may be asked for, runs to be made, runs to be looked at.

use super::asked::Asked;
use super::body::{LARGE, Sent, picture};
use super::desk::{Desk, Stand, read_only};
use super::guard::Caller;
use super::id::RunId;
use super::page::role_name;
use super::refusal::{Refusal, Refused};
use super::settings::{Limits, Model};
use super::store::Pictures;
use super::summary::Summary;
use crate::export::report::{describe, heads_of, maps_of};
use crate::record::plan::Quantity;
use crate::record::schema;
use crate::record::sigmas::Sigmas;
use crate::scheduler::SchedulerKind;
use crate::trace::reader::Run;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A browser may keep what is whole on disk, but asks each time whether it is still that: folders are replaced, and their
/// names used again.
const ASK: &str = "private, no-cache";

/// What the server offers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Capabilities {
    /// The program's version.
    version: &'static str,
    /// Whether it only shows recorded runs.
    read_only: bool,
    /// Its model; none where it only shows.
    model: Option<Model>,
    /// What may be asked for.
    limits: Limits,
    /// The schedulers.
    schedulers: Vec<SchedulerAbout>,
    /// Who asks, by the name that stands at their runs.
    visitor: String,
    /// `guest`, or `host` who may cancel everybody's.
    role: &'static str,
    /// By what others come in.
    join: Option<JoinAbout>,
}

#[derive(Debug, Serialize, ToSchema)]
struct SchedulerAbout {
    name: &'static str,
    about: &'static str,
    /// Whether `eta` means something to it: with others a run that names one is refused.
    takes_eta: bool,
    /// The ways to place its noise levels that can be asked for.
    sigmas: Vec<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
struct JoinAbout {
    /// The code.
    code: String,
    /// The page's address.
    address: String,
}

/// What the server offers, and who asks.
#[utoipa::path(get, path = "/api/capabilities", tag = "runs",
    responses((status = 200, body = Capabilities), (status = 401, body = Refused)))]
pub async fn capabilities(State(desk): State<Arc<Desk>>, caller: Caller) -> Json<Capabilities> {
    let about = |kind: SchedulerKind| {
        let sigmas = kind.sigmas().into_iter().map(Sigmas::name).collect();
        SchedulerAbout { name: kind.name(), about: kind.about(), takes_eta: kind.takes_eta(), sigmas }
    };
    let join = desk.door.codes().map(|codes| JoinAbout { code: codes.join.clone(), address: desk.address(None) });
    Json(Capabilities {
        version: env!("CARGO_PKG_VERSION"),
        read_only: desk.settings.read_only,
        model: desk.model.clone(),
        limits: desk.settings.limits.clone(),
        schedulers: SchedulerKind::all().map(about).collect(),
        visitor: caller.visitor.label().into(),
        role: role_name(caller.role),
        join,
    })
}

/// The run that is being made, those that wait in their order, and the newest others.
#[utoipa::path(get, path = "/api/runs", tag = "runs", responses((status = 200, body = Stand)))]
pub async fn runs(State(desk): State<Arc<Desk>>, _: Caller) -> Result<Json<Stand>, Refusal> {
    blocking(move || Ok(Json(desk.stand()))).await
}

/// A run and its place in the queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct Placed {
    #[serde(flatten)]
    summary: Summary,
    /// How many come before it, and itself; none where it does not wait.
    place: Option<usize>,
}

/// Queues a run. When the answer comes, the run is on the server's disk.
#[utoipa::path(post, path = "/api/runs", tag = "runs", request_body = Asked, responses(
    (status = 202, body = Placed), (status = 422, body = Refused, description = "it cannot be made"),
    (status = 413, body = Refused, description = "too much was sent"),
    (status = 429, body = Refused, description = "too many of the visitor's runs wait"),
    (status = 503, body = Refused, description = "the queue is full, or many large pictures are being sent"),
    (status = 403, body = Refused, description = "the server only shows")))]
pub async fn submit(
    State(desk): State<Arc<Desk>>,
    caller: Caller,
    sent: Sent<Asked, LARGE>,
) -> Result<(StatusCode, Json<Placed>), Refusal> {
    blocking(move || {
        let Sent { value, place: _place } = sent;
        let summary = queue(&desk, &caller, &value)?;
        let place = desk.summary(&summary.id).and_then(|(_, place)| place);
        Ok((StatusCode::ACCEPTED, Json(Placed { summary, place })))
    })
    .await
}

/// Queues what was asked for.
///
/// # Errors
/// When it cannot be made, or there is no room.
pub fn queue(desk: &Desk, caller: &Caller, asked: &Asked) -> Result<Summary, Refusal> {
    let model = desk.model.as_ref().ok_or_else(read_only)?;
    let plan = asked.plan(model, &desk.settings.limits)?;
    let bytes = |text: &Option<String>| text.as_deref().map(picture).transpose();
    let pictures = Pictures { init: bytes(&asked.init_image)?, mask: bytes(&asked.mask)? };
    desk.submit(&caller.visitor, plan, &pictures)
}

/// A run in a few words.
#[utoipa::path(get, path = "/api/runs/{id}", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = Placed), (status = 404, body = Refused)))]
pub async fn run(State(desk): State<Arc<Desk>>, _: Caller, Path(id): Path<String>) -> Result<Json<Placed>, Refusal> {
    blocking(move || {
        let found = RunId::parse(&id).and_then(|id| desk.summary(&id));
        let (summary, place) = found.ok_or_else(|| Refusal::not_found("run"))?;
        Ok(Json(Placed { summary, place }))
    })
    .await
}

/// Takes a run out of the queue, or stops it within a step. What has ended stays.
#[utoipa::path(post, path = "/api/runs/{id}/cancel", tag = "runs", params(("id" = String, Path)), responses(
    (status = 200, body = Summary), (status = 403, body = Refused, description = "it is somebody else's"),
    (status = 404, body = Refused)))]
pub async fn cancel(
    State(desk): State<Arc<Desk>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Summary>, Refusal> {
    blocking(move || {
        let id = RunId::parse(&id).ok_or_else(|| Refusal::not_found("run"))?;
        desk.cancel(&id, &caller.visitor, caller.role).map(Json)
    })
    .await
}

/// Which picture of a batch.
#[derive(Debug, Default, Deserialize)]
pub struct OfBatch {
    #[serde(default)]
    batch: usize,
}

/// All about a run but its tensors and pictures: what a report holds of it.
#[utoipa::path(get, path = "/api/runs/{id}/record", tag = "looking",
    params(("id" = String, Path), ("batch" = Option<usize>, Query, description = "which picture, from 0")),
    responses((status = 200, description = "`RunData` of `web/src/data/types.ts`", body = serde_json::Value),
        (status = 404, body = Refused), (status = 422, body = Refused, description = "the batch has no such picture")))]
pub async fn record(
    State(desk): State<Arc<Desk>>,
    _: Caller,
    Path(id): Path<String>,
    Query(of): Query<OfBatch>,
) -> Result<Response, Refusal> {
    blocking(move || {
        let data = describe(&open(&desk, &id)?, &id, &id, of.batch)?;
        Ok(([(header::CACHE_CONTROL, "no-cache")], Json(data)).into_response())
    })
    .await
}

/// A tensor of a step: `[channels, height, width]`, f32, little-endian.
#[utoipa::path(get, path = "/api/runs/{id}/steps/{step}/{quantity}", tag = "looking",
    params(("id" = String, Path), ("step" = usize, Path),
        ("quantity" = String, Path, description = "`latents`, `noise_uncond`, `noise_text`, `noise_guided`, `predicted_original`"),
        ("batch" = Option<usize>, Query, description = "which picture, from 0")),
    responses((status = 200, content_type = "application/octet-stream"),
        (status = 304, description = "`If-None-Match` has its `ETag`"), (status = 404, body = Refused),
        (status = 422, body = Refused, description = "the batch has no such picture")))]
pub async fn tensor(
    State(desk): State<Arc<Desk>>,
    _: Caller,
    Path((id, step, quantity)): Path<(String, String, String)>,
    Query(of): Query<OfBatch>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    blocking(move || {
        let missing = || Refusal::not_found("tensor");
        let what = quantity.parse::<Quantity>().map_err(|_| missing())?;
        let step: usize = step.parse().map_err(|_| missing())?;
        kept(&desk, &id, &schema::step_file(step), &headers, NUMBERS, || {
            let run = open(&desk, &id)?;
            // Not every number is a step: what is read is one that the folder lists.
            let there = run.steps()?.contains(&step);
            let tensor = there.then(|| run.tensor(step, what, of.batch)).transpose()?.flatten().ok_or_else(missing)?;
            Ok(bytes_of(tensor.iter()))
        })
    })
    .await
}

/// Where the words are looked at from in a step: `[columns, height, width]` of each size of map, the largest image first,
/// one after another, f32, little-endian.
#[utoipa::path(get, path = "/api/runs/{id}/attention/{step}", tag = "looking",
    params(("id" = String, Path), ("step" = usize, Path),
        ("batch" = Option<usize>, Query, description = "which picture, from 0")),
    responses((status = 200, content_type = "application/octet-stream"),
        (status = 304, description = "`If-None-Match` has its `ETag`"), (status = 404, body = Refused),
        (status = 422, body = Refused, description = "the batch has no such picture")))]
pub async fn word_maps(
    State(desk): State<Arc<Desk>>,
    _: Caller,
    Path((id, step)): Path<(String, String)>,
    Query(of): Query<OfBatch>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    blocking(move || {
        let missing = || Refusal::not_found("step's attention");
        let step = step.parse().map_err(|_| missing())?;
        kept(&desk, &id, schema::RECORD_FILE, &headers, NUMBERS, || {
            let maps = maps_of(&open(&desk, &id)?, step, of.batch)?.ok_or_else(missing)?;
            Ok(bytes_of(maps.iter().flatten()))
        })
    })
    .await
}

/// Where the words are looked at from in each head of a layer, in the mean over the steps: `[heads, columns, height,
/// width]`, f32, little-endian.
#[utoipa::path(get, path = "/api/runs/{id}/heads/{layer}", tag = "looking",
    params(("id" = String, Path), ("layer" = usize, Path, description = "its place in the record, from 0"),
        ("batch" = Option<usize>, Query, description = "which picture, from 0")),
    responses((status = 200, content_type = "application/octet-stream"),
        (status = 304, description = "`If-None-Match` has its `ETag`"), (status = 404, body = Refused),
        (status = 422, body = Refused, description = "the batch has no such picture")))]
pub async fn head_maps(
    State(desk): State<Arc<Desk>>,
    _: Caller,
    Path((id, layer)): Path<(String, String)>,
    Query(of): Query<OfBatch>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    blocking(move || {
        let missing = || Refusal::not_found("layer's heads");
        let layer = layer.parse().map_err(|_| missing())?;
        kept(&desk, &id, schema::RECORD_FILE, &headers, NUMBERS, || {
            let maps = heads_of(&open(&desk, &id)?, layer, of.batch)?.ok_or_else(missing)?;
            Ok(bytes_of(maps.iter()))
        })
    })
    .await
}

/// What numbers are sent as.
const NUMBERS: &str = "application/octet-stream";

/// Numbers as they are, f32, little-endian.
fn bytes_of<'a>(all: impl Iterator<Item = &'a f32>) -> Vec<u8> {
    all.flat_map(|number| number.to_le_bytes()).collect()
}

/// A step's decoded picture, PNG.
#[utoipa::path(get, path = "/api/runs/{id}/pictures/{step}/{what}", tag = "looking",
    params(("id" = String, Path), ("step" = usize, Path),
        ("what" = String, Path, description = "`latents` or `predicted_original`"),
        ("batch" = Option<usize>, Query, description = "which picture, from 0")),
    responses((status = 200, content_type = "image/png"),
        (status = 304, description = "`If-None-Match` has its `ETag`"), (status = 404, body = Refused)))]
pub async fn step_picture(
    State(desk): State<Arc<Desk>>,
    _: Caller,
    Path((id, step, what)): Path<(String, String, String)>,
    Query(of): Query<OfBatch>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    blocking(move || {
        let missing = || Refusal::not_found("picture");
        let (step, what) = (step.parse().map_err(|_| missing())?, what.parse().map_err(|_| missing())?);
        png(&desk, &id, &schema::picture_file(step, what, of.batch), &headers)
    })
    .await
}

/// The finished picture, PNG, with the settings that it carries.
#[utoipa::path(get, path = "/api/runs/{id}/final", tag = "looking",
    params(("id" = String, Path), ("batch" = Option<usize>, Query, description = "which picture, from 0")),
    responses((status = 200, content_type = "image/png"),
        (status = 304, description = "`If-None-Match` has its `ETag`"), (status = 404, body = Refused)))]
pub async fn final_picture(
    State(desk): State<Arc<Desk>>,
    _: Caller,
    Path(id): Path<String>,
    Query(of): Query<OfBatch>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    blocking(move || png(&desk, &id, &schema::final_file(of.batch), &headers)).await
}

/// A recorded run.
fn open(desk: &Desk, id: &str) -> Result<Run, Refusal> {
    RunId::parse(id).and_then(|id| desk.open_run(&id)).ok_or_else(|| Refusal::not_found("run"))
}

/// A picture of a run as it stands on disk. Its name is made here of numbers.
fn png(desk: &Desk, id: &str, file: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    kept(desk, id, file, headers, "image/png", || {
        RunId::parse(id).and_then(|id| desk.run_file(&id, file)).ok_or_else(|| Refusal::not_found("picture"))
    })
}

/// What is made of a run's file, of this kind; or word that the asker has it already, if neither file nor record were
/// written since.
fn kept(
    desk: &Desk,
    id: &str,
    file: &str,
    headers: &HeaderMap,
    kind: &str,
    make: impl FnOnce() -> Result<Vec<u8>, Refusal>,
) -> Result<Response, Refusal> {
    // Before it is read: what is replaced in between is asked for once more, and not kept under the new one's tag.
    let stamps = RunId::parse(id).and_then(|id| desk.stamps(&id, file));
    let Some(tag) = stamps.map(|[run, file]| format!("\"{}-{}\"", run.text(), file.text())) else {
        return Ok(([(header::CONTENT_TYPE, kind)], make()?).into_response());
    };
    let own = [(header::CACHE_CONTROL, ASK), (header::ETAG, tag.as_str())];
    if is_known(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, own).into_response());
    }
    Ok((own, [(header::CONTENT_TYPE, kind)], make()?).into_response())
}

/// Whether the asker has what goes by this tag.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// Does what takes the disk's time where it keeps no other request waiting.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        let message = "the server broke while it answered";
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message, "tell whoever runs it"))
    })
}
