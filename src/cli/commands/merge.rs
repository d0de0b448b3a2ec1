//! `sdviz merge`: a new model mixed of others.

use super::convert::check_loads;
use crate::cli::args::{MergeArgs, MergeMode};
use crate::cli::interrupt;
use crate::cli::report::Talk;
use crate::error::{Error, Result as LibResult};
use crate::model::convert::{self, Form};
use crate::model::merge::{Merge, Mode, Recipe};
use crate::model::resolve;
use anyhow::Result;
use std::process::ExitCode;

/// Writes the merged model.
pub fn run(args: &MergeArgs, talk: Talk) -> Result<ExitCode> {
    let mode = match args.mode {
        MergeMode::Weighted => Mode::Weighted,
        MergeMode::AddDifference => Mode::AddDifference,
    };
    let blocks = args.blocks.iter().map(|text| block(text)).collect::<LibResult<Vec<_>>>()?;
    let recipe = Recipe { mode, ratio: args.ratio, blocks };
    let names = [Some(&args.a), Some(&args.b), args.c.as_ref()];
    let models = names.iter().flatten().map(|name| resolve::resolve(Some(name))).collect::<LibResult<Vec<_>>>()?;
    let variant = args.variant.as_deref();
    Form::Folder.refuse_existing(&args.out)?;
    let merge = Merge::new(&models, variant, &recipe)?;
    // The others have the same tensors.
    check_loads(&models[0], variant)?;
    interrupt::tidy_up(convert::abandon)?;
    merge.write(&args.out)?;
    talk.say(format!("model: {}", args.out.display()));
    talk.say(format!("next: sdviz trace --model {} --prompt …", args.out.display()));
    Ok(ExitCode::SUCCESS)
}

/// `unet.up_blocks`, or with its own ratio `unet.up_blocks=0.5`.
fn block(text: &str) -> LibResult<(String, Option<f32>)> {
    let Some((site, ratio)) = text.split_once('=') else { return Ok((text.trim().into(), None)) };
    let ratio = ratio.trim().parse().map_err(|_| {
        Error::invalid(format!("`{ratio}` is not a ratio"), "write `--blocks unet.up_blocks=0.5,unet.mid_block`")
    })?;
    Ok((site.trim().into(), Some(ratio)))
}
