//! A run in a few words: what lists, events and the page's queue show of it.

use super::id::RunId;
use super::store::Entry;
use super::visitor::Visitor;
use crate::error::Error;
use crate::record::plan::Plan;
use crate::record::schema::{RunRecord, Status};
use crate::record::sigmas::Sigmas;
use serde::Serialize;
use utoipa::ToSchema;

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits.
    Queued,
    /// It is being made.
    Running,
    /// It is whole.
    Complete,
    /// It ended by an error.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

/// A run in a few words.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Summary {
    /// Its id: the name of its folder.
    #[schema(value_type = String)]
    pub id: RunId,
    /// How it stands.
    pub state: State,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Whose it is, by a name that stands for a visitor; unknown of runs made before the server started.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visitor: Option<Visitor>,
    /// When it was asked for or began, seconds since 1970 (UTC).
    pub asked_unix: u64,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative_prompt: String,
    /// Seed of the first picture.
    pub seed: u64,
    /// Steps asked for.
    pub steps: usize,
    /// Guidance scale.
    pub guidance_scale: f64,
    /// Scheduler.
    pub scheduler: String,
    /// Where its noise levels lie, if that was asked for.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigmas: Option<Sigmas>,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// How many pictures.
    pub pictures: usize,
    /// How far from a picture, if it began from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// The last step that is whole.
    pub step: usize,
    /// The last step that there will be; 0 before it has begun.
    pub last_step: usize,
}

impl Summary {
    /// That of a run that waits.
    pub fn of_entry(entry: &Entry) -> Summary {
        let mut summary = Summary::of_plan(entry.id.clone(), &entry.plan);
        (summary.visitor, summary.asked_unix) = (Some(entry.visitor.clone()), entry.asked_unix);
        summary
    }

    /// That of a recorded run.
    pub fn of_record(id: RunId, record: &RunRecord, steps: &[usize]) -> Summary {
        let cancelled = record.failure.as_deref() == Some(&Error::Cancelled.to_string());
        let (state, failure) = match record.status {
            Status::Running => (State::Running, None),
            Status::Complete => (State::Complete, None),
            Status::Failed if cancelled => (State::Cancelled, None),
            Status::Failed => (State::Failed, record.failure.clone()),
            Status::Killed => (State::Failed, Some("it was killed".into())),
        };
        Summary {
            state,
            failure,
            asked_unix: record.timings.started_unix,
            seconds: (record.timings.total_seconds > 0.0).then_some(record.timings.total_seconds),
            step: steps.last().copied().unwrap_or_default(),
            last_step: record.last_step(),
            ..Summary::of_plan(id, &record.plan)
        }
    }

    fn of_plan(id: RunId, plan: &Plan) -> Summary {
        Summary {
            id,
            state: State::Queued,
            failure: None,
            visitor: None,
            asked_unix: 0,
            seconds: None,
            prompt: plan.prompt.clone(),
            negative_prompt: plan.negative_prompt.clone(),
            seed: plan.seed,
            steps: plan.steps,
            guidance_scale: plan.guidance_scale,
            scheduler: plan.scheduler.clone(),
            sigmas: plan.sigmas,
            width: plan.width,
            height: plan.height,
            pictures: plan.batch_size,
            strength: plan.strength,
            step: 0,
            last_step: 0,
        }
    }
}
