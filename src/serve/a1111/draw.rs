//! Pictures for a web UI's clients: a request waits for its run, and takes it away when its client goes.

use super::Failure;
use super::ask::{self, Wanted};
use crate::record::plan::Quantity;
use crate::record::schema::{self, RunRecord};
use crate::serve::api::{blocking, queue};
use crate::serve::body::{LARGE, SMALL, Sent};
use crate::serve::desk::{Desk, read_only};
use crate::serve::guard::Caller;
use crate::serve::id::RunId;
use crate::serve::listen::raised;
use crate::serve::refusal::Refusal;
use crate::serve::settings::Model;
use crate::serve::summary::{State as RunState, Summary};
use crate::serve::visitor::Role;
use crate::trace::metadata;
use crate::trace::reader::Run;
use crate::viz::pixels::magnify;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Answer = Result<Json<Value>, Failure>;
type Fields = Map<String, Value>;

/// Pictures from words.
#[utoipa::path(post, path = "/sdapi/v1/txt2img", tag = "other clients", request_body = serde_json::Value, responses(
    (status = 200, description = "`images` in base64, `parameters`, `info`", body = serde_json::Value),
    (status = 404, description = "there is no such sampler"), (status = 422, description = "it cannot be made"),
    (status = 500, description = "the run failed")))]
pub async fn txt2img(State(desk): State<Arc<Desk>>, caller: Caller, sent: Sent<Fields, SMALL>) -> Answer {
    draw(desk, caller, sent, ask::from_words).await
}

/// Pictures from a picture.
#[utoipa::path(post, path = "/sdapi/v1/img2img", tag = "other clients", request_body = serde_json::Value, responses(
    (status = 200, description = "`images` in base64, `parameters`, `info`", body = serde_json::Value),
    (status = 404, description = "there is no such sampler, or no picture"),
    (status = 413, description = "too much was sent"), (status = 422, description = "it cannot be made"),
    (status = 500, description = "the run failed"), (status = 503, description = "many large pictures are being sent")))]
pub async fn img2img(State(desk): State<Arc<Desk>>, caller: Caller, sent: Sent<Fields, LARGE>) -> Answer {
    draw(desk, caller, sent, ask::from_picture).await
}

type Read = fn(&Fields, &Model) -> Result<Wanted, Failure>;

async fn draw<const MOST: usize>(desk: Arc<Desk>, caller: Caller, sent: Sent<Fields, MOST>, read: Read) -> Answer {
    let (at, who) = (desk.clone(), caller.clone());
    let queued = blocking(move || {
        let Sent { value: mut request, place: _place } = sent;
        let model = at.model.as_ref().ok_or_else(read_only)?;
        Ok(read(&request, model).and_then(|mut wanted| {
            let queued = queue(&at, &who, &std::mem::take(&mut wanted.asked))?;
            lighten(&mut request);
            Ok((queued, wanted, request))
        }))
    });
    let (queued, wanted, request) = queued.await??;
    let made = make(&desk, &caller, &queued.id).await?;
    let answer = blocking(move || Ok(answer(&desk, &made, &wanted, request)));
    answer.await?.map(Json)
}

/// Takes out of a request what is not sent back: its pictures, and whatever is so large that many requests which wait for
/// their runs would fill the memory.
fn lighten(request: &mut Fields) {
    for sent in ["init_images", "mask"] {
        request.contains_key(sent).then(|| request.insert(sent.into(), Value::Null));
    }
    let mut room = SMALL;
    request.retain(|name, value| {
        let size = name.len() + value.to_string().len();
        let fits = size <= room;
        room -= if fits { size } else { 0 };
        fits
    });
}

/// Waits for the end of a run. When nobody waits any more, because the client has gone, the run is cancelled.
///
/// # Errors
/// When the server ends.
pub async fn make(desk: &Arc<Desk>, caller: &Caller, id: &RunId) -> Result<Summary, Refusal> {
    let mut leaving = Leaving { desk: desk.clone(), caller: caller.clone(), id: Some(id.clone()) };
    let mut closing = desk.closing.subscribe();
    let ended = tokio::select! {
        ended = desk.wait(id) => ended.ok(),
        () = raised(&mut closing) => None,
    };
    leaving.id = None;
    ended.ok_or_else(|| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server ends", "the run stays in its queue").coded("ends")
    })
}

/// Cancels a run if it is dropped while it has one.
struct Leaving {
    desk: Arc<Desk>,
    caller: Caller,
    id: Option<RunId>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            let _ = self.desk.cancel(id, &self.caller.visitor, Role::Guest);
        }
    }
}

/// The answer to a request whose run has ended. An interrupted one gives what there is of it, as a web UI does.
fn answer(desk: &Desk, made: &Summary, wanted: &Wanted, request: Fields) -> Result<Value, Failure> {
    if made.state == RunState::Failed {
        let why = made.failure.clone().unwrap_or_default();
        return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, why));
    }
    let run = desk.open_run(&made.id);
    let pictures = (0..made.pictures).filter_map(|batch| picture(desk, made, batch));
    let images: Vec<String> = match wanted.sends_images {
        true => pictures.map(|png| BASE64_STANDARD.encode(png)).collect(),
        false => vec![],
    };
    let info = info(made, run.as_ref().map(Run::record), wanted);
    Ok(json!({ "images": images, "parameters": request, "info": info.to_string() }))
}

/// The finished picture of a run, or that of its last step.
fn picture(desk: &Desk, made: &Summary, batch: usize) -> Option<Vec<u8>> {
    let files = [schema::final_file(batch), schema::picture_file(made.step, Quantity::Latents, batch)];
    files.iter().find_map(|file| desk.run_file(&made.id, file))
}

/// What a client reads of the run, as JSON in a string.
fn info(made: &Summary, record: Option<&RunRecord>, wanted: &Wanted) -> Value {
    let count = made.pictures;
    let seeds: Vec<u64> = (0..count as u64).map(|picture| made.seed + picture).collect();
    let texts: Vec<String> =
        record.map(|record| (0..count).map(|batch| metadata::parameters(record, batch)).collect()).unwrap_or_default();
    let model = record.map(|record| &record.model);
    let unet = model.and_then(|model| model.components.iter().find(|component| component.name == "unet"));
    json!({
        "prompt": made.prompt, "all_prompts": vec![&made.prompt; count],
        "negative_prompt": made.negative_prompt, "all_negative_prompts": vec![&made.negative_prompt; count],
        "seed": made.seed, "all_seeds": seeds, "subseed": made.seed, "all_subseeds": seeds, "subseed_strength": 0,
        "width": made.width, "height": made.height, "sampler_name": wanted.sampler, "cfg_scale": made.guidance_scale,
        "steps": made.steps, "batch_size": wanted.batch_size, "restore_faces": false, "face_restoration_model": null,
        "sd_model_name": model.map(|model| &model.id),
        "sd_model_hash": unet.and_then(|unet| unet.sha256.get(..10)), "sd_vae_name": null, "sd_vae_hash": null,
        "seed_resize_from_w": -1, "seed_resize_from_h": -1, "denoising_strength": made.strength,
        "extra_generation_params": {}, "index_of_first_image": 0, "infotexts": texts, "styles": [],
        "job_timestamp": made.asked_unix.to_string(), "clip_skip": record.map_or(1, |record| record.plan.clip_skip),
        "is_using_inpainting_conditioning": false, "version": env!("CARGO_PKG_VERSION"),
        "sdviz_run": made.id, "warnings": wanted.warnings,
    })
}

/// How far the caller's run is; that of others is nobody's business here.
#[utoipa::path(get, path = "/sdapi/v1/progress", tag = "other clients",
    responses((status = 200, description = "`progress`, `eta_relative`, `state`, `current_image`", body = serde_json::Value)))]
pub async fn progress(State(desk): State<Arc<Desk>>, caller: Caller) -> Answer {
    blocking(move || Ok(Json(progressed(&desk, &caller)))).await.map_err(Failure::from)
}

fn progressed(desk: &Desk, caller: &Caller) -> Value {
    let running = desk.running().filter(|running| running.visitor == caller.visitor);
    let summary = running.as_ref().and_then(|running| desk.summary(&running.id)).map(|(summary, _)| summary);
    let (step, steps) = summary.as_ref().map_or((0, 0), |summary| (summary.step, summary.last_step));
    let share = if steps > 0 { step as f64 / steps as f64 } else { 0.0 };
    let began = running.as_ref().map_or(0.0, |running| running.began.elapsed().as_secs_f64());
    let eta = if share > 0.0 { began / share - began } else { 0.0 };
    let stopped = running.as_ref().is_some_and(|running| running.stop.load(std::sync::atomic::Ordering::Relaxed));
    let jobs = usize::from(running.is_some()) + desk.waiting(&caller.visitor);
    let job = running.as_ref().map(|running| running.id.to_string()).unwrap_or_default();
    let preview = running.and_then(|running| running.preview).and_then(|png| enlarged(&png, desk));
    json!({
        "progress": share, "eta_relative": eta, "current_image": preview, "textinfo": null,
        "state": {
            "skipped": false, "interrupted": stopped, "stopping_generation": stopped, "job": job, "job_count": jobs,
            "job_timestamp": summary.map(|summary| summary.asked_unix.to_string()).unwrap_or_else(|| "0".into()),
            "job_no": 0, "sampling_step": step, "sampling_steps": steps,
        },
    })
}

/// A preview at the picture's own size, in base64.
fn enlarged(png: &[u8], desk: &Desk) -> Option<String> {
    let small = image::load_from_memory_with_format(png, image::ImageFormat::Png).ok()?.to_rgb8();
    let factor = desk.model.as_ref().map_or(8, |model| model.factor) as u32;
    Some(BASE64_STANDARD.encode(metadata::png_bytes(&magnify(&small, factor)).ok()?))
}

/// Stops the caller's run that is being made, and nobody else's.
#[utoipa::path(post, path = "/sdapi/v1/interrupt", tag = "other clients",
    responses((status = 200, description = "`{}`, whether there was one or not", body = serde_json::Value)))]
pub async fn interrupt(State(desk): State<Arc<Desk>>, caller: Caller) -> Answer {
    let stopped = blocking(move || {
        let own = desk.running().filter(|running| running.visitor == caller.visitor);
        own.map_or(Ok(()), |running| desk.cancel(&running.id, &caller.visitor, Role::Guest).map(drop))
    });
    stopped.await?;
    Ok(Json(json!({})))
}

/// The same: a run here is one job.
#[utoipa::path(post, path = "/sdapi/v1/skip", tag = "other clients",
    responses((status = 200, description = "`{}`", body = serde_json::Value)))]
pub async fn skip(state: State<Arc<Desk>>, caller: Caller) -> Answer {
    interrupt(state, caller).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_its_run_is_light() {
        let large = "x".repeat(SMALL);
        let request = json!({
            "prompt": "a cat", "init_images": [large], "mask": large, "steps": 4, "alwayson_scripts": { "controlnet": large },
        });
        let mut fields = request.as_object().cloned().unwrap_or_default();
        lighten(&mut fields);
        let light = json!({ "prompt": "a cat", "init_images": null, "mask": null, "steps": 4 });
        assert_eq!(Value::Object(fields), light);
    }
}
