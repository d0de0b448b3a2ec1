//! What was typed after `sdviz serve`.

use super::ModelArgs;
use clap::Args;
use std::net::IpAddr;
use std::path::PathBuf;

/// `sdviz serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Folder whose runs are shown, and to which new ones go
    #[arg(long, default_value = "runs", value_name = "FOLDER")]
    pub runs: PathBuf,
    /// Address to listen at: 0.0.0.0 for everybody in the local network, who come in by a join code
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub listen: IpAddr,
    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 7860)]
    pub port: u16,
    /// A name by which others call this machine; repeat it for several
    #[arg(long, value_name = "NAME")]
    pub host_name: Vec<String>,
    /// The join code; `none` lets everybody in [default: drawn when others can reach the server, else none]
    #[arg(long, value_name = "CODE")]
    pub join_code: Option<String>,
    /// Show recorded runs, and make none
    #[arg(long)]
    pub read_only: bool,
    /// The most steps of a run
    #[arg(long, default_value_t = 150, value_name = "N", help_heading = "Limits")]
    pub max_steps: usize,
    /// The longest side of a picture in pixels
    #[arg(long, default_value_t = 1024, value_name = "PIXELS", help_heading = "Limits")]
    pub max_size: usize,
    /// The most pictures of a run
    #[arg(long, default_value_t = 4, value_name = "N", help_heading = "Limits")]
    pub max_pictures: usize,
    /// The most runs of one visitor that wait at a time
    #[arg(long, default_value_t = 10, value_name = "N", help_heading = "Limits")]
    pub queue_per_visitor: usize,
    /// The longest that a run may take
    #[arg(long, default_value_t = 900, value_name = "SECONDS", help_heading = "Limits")]
    pub max_seconds: u64,
    /// What decodes the pictures of the steps, where that shall cost little: tiny, linear, or another autoencoder, as in
    /// `sdviz trace` [default: the model's own]
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub preview_vae: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
}
