//! What was typed of attention, in `trace`.

use clap::Args;

/// What is kept of attention.
#[derive(Debug, Clone, Default, Args)]
pub struct AttentionArgs {
    /// Keep where each word of the prompt is looked at from, step by step: as the mean of all layers and heads of a size
    /// (sizes), of each layer too (layers), of each head too (heads-per-step); with self also where the picture's places
    /// look among themselves
    /// [default: sizes, with a small model heads-per-step]
    #[arg(long, value_name = "LIST", num_args = 0..=1, value_delimiter = ',', help_heading = "Attention")]
    pub attention: Option<Vec<String>>,
    /// Whether the places behind the prompt count as one (summed) or each by itself (all) [default: summed]
    #[arg(long, value_name = "WHICH", requires = "attention", help_heading = "Attention")]
    pub attention_tokens: Option<String>,
    /// Keep it for the negative prompt and for further parts of the prompt too
    #[arg(long, requires = "attention", help_heading = "Attention")]
    pub attention_branches: bool,
    /// A place whose self-attention is kept in every layer: across and down from the upper left corner, each from 0 to 1;
    /// repeat it for several
    #[arg(long, value_name = "X,Y", requires = "attention", help_heading = "Attention")]
    pub query: Vec<String>,
}
