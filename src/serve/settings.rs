//! How the server was started, and what is known of its model: what requests are checked against.

use super::visitor::Codes;
use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::record::plan::{Decode, Plan, Quantity};
use serde::Serialize;
use std::net::IpAddr;
use std::path::PathBuf;
use utoipa::ToSchema;

/// How the server was started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder whose runs are shown, and to which new ones go.
    pub runs: PathBuf,
    /// Where it listens.
    pub address: IpAddr,
    /// At which port; 0 takes a free one.
    pub port: u16,
    /// Names by which others may call it, beside its addresses.
    pub host_names: Vec<String>,
    /// The codes to come in by; none leaves the door open.
    pub codes: Option<Codes>,
    /// Whether recorded runs are shown and none are made.
    pub read_only: bool,
    /// What may be asked for.
    pub limits: Limits,
}

/// What may be asked for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Limits {
    /// Steps of a run.
    pub steps: usize,
    /// Pixels of a side, after a second pass too.
    pub size: usize,
    /// Pictures of a run.
    pub pictures: usize,
    /// Runs of one visitor that wait at a time.
    pub queue_per_visitor: usize,
    /// Runs that wait at a time.
    pub queue: usize,
    /// Seconds that a run may take.
    pub seconds: u64,
    /// Letters of a prompt.
    pub prompt: usize,
}

/// What requests need to know of the model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Model {
    /// What it is called.
    pub id: String,
    /// Its short name.
    pub name: String,
    /// Width and height of the pictures it was trained on.
    pub size: usize,
    /// Pixels per latent: sides are multiples of it.
    pub factor: usize,
    /// Its guidance scale.
    pub guidance_scale: f64,
    /// Its steps.
    pub steps: usize,
    /// Its scheduler.
    pub scheduler: String,
    /// Whether everything is recorded and decoded unasked.
    pub small: bool,
    /// Layers of its text encoder.
    #[serde(skip)]
    pub text_layers: usize,
}

impl Model {
    /// What is to know of a loaded model.
    ///
    /// # Errors
    /// When its scheduler is not implemented.
    pub fn of(pipeline: &Pipeline) -> Result<Model> {
        let id = pipeline.model().id.clone();
        let name = std::path::Path::new(&id).file_stem().map_or(id.clone(), |stem| stem.to_string_lossy().into_owned());
        Ok(Model {
            name,
            id,
            size: pipeline.native_size(),
            factor: pipeline.model().vae_scale_factor,
            guidance_scale: pipeline.guidance_scale(),
            steps: pipeline.steps(),
            scheduler: pipeline.default_scheduler()?.name().into(),
            small: pipeline.is_small(),
            text_layers: pipeline.text_encoder.config().num_hidden_layers as usize,
        })
    }

    /// The plan of a run for which nothing is asked but a prompt.
    pub fn usual_plan(&self) -> Plan {
        let usual = Plan {
            guidance_scale: self.guidance_scale,
            steps: self.steps,
            width: self.size,
            height: self.size,
            scheduler: self.scheduler.clone(),
            ..Plan::default()
        };
        match self.small {
            true => Plan { record: Quantity::ALL.to_vec(), decode_what: Quantity::PICTURED.to_vec(), ..usual },
            // Decoding each step of a large model would take as long as drawing: the linear map shows what becomes of it.
            false => Plan { decode: Decode::Final, ..usual },
        }
    }
}
