//! `sdviz convert`: a model from one form into the other.

use crate::cli::args::ConvertArgs;
use crate::cli::report::Talk;
use crate::model::{convert, resolve, swap};
use anyhow::Result;
use std::process::ExitCode;

/// Writes the model; the ending of the name says as what.
pub fn run(args: &ConvertArgs, talk: Talk) -> Result<ExitCode> {
    let choice = resolve::resolve_with(Some(&args.model), args.vae.as_deref())?;
    swap::warning(&choice.files)?.iter().for_each(|warning| talk.warn(warning));
    let variant = args.variant.as_deref();
    if args.out.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors")) {
        convert::to_single_file(&choice.files, variant, &args.out)?;
    } else {
        convert::to_folder(&choice.files, variant, &args.out)?;
    }
    talk.say(format!("model: {}", args.out.display()));
    talk.say(format!("next: sdviz inspect {}", args.out.display()));
    Ok(ExitCode::SUCCESS)
}
