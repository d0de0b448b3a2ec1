//! What was typed for donors.

use clap::Args;
use std::path::PathBuf;

/// The runs that are copied from, and what goes by a name.
#[derive(Debug, Clone, Default, Args)]
pub struct DonorArgs {
    /// A recorded run of the same size, steps and scheduler that edits copy from, as `copy unet.mid_block steps=1-8` does; it
    /// runs beside this one. Repeat it for several: `from=0` is the first
    #[arg(long, value_name = "RUN", help_heading = "Donors")]
    pub donor: Vec<PathBuf>,
    /// Prompt-to-prompt: look at the prompt's words as the donor looks at its own, for these shares of the steps of
    /// cross-attention and of self-attention [default: 0.8,0.4]
    #[arg(
        long,
        value_name = "CROSS,SELF",
        value_delimiter = ',',
        num_args = 0..=1,
        default_missing_value = "0.8,0.4",
        help_heading = "Donors"
    )]
    pub p2p: Option<Vec<f64>>,
    /// Its local blend: outside of where these words are looked at, in either run, the latents stay the donor's
    #[arg(long, value_name = "WORDS", requires = "p2p", help_heading = "Donors")]
    pub p2p_blend: Option<String>,
    /// Plug-and-Play: the donor's features and self-attention, so that its layout stays
    #[arg(long, help_heading = "Donors")]
    pub pnp: bool,
    /// MasaCtrl: look at the donor's places from step 5 of 50 on, so that its looks stay and the layout may change
    #[arg(long, help_heading = "Donors")]
    pub masactrl: bool,
}
