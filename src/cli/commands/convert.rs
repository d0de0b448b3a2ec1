//! `sdviz convert`: a model from one form into the other.

use crate::cli::args::ConvertArgs;
use crate::cli::interrupt;
use crate::cli::report::Talk;
use crate::error::Result as LibResult;
use crate::model::components::UNET;
use crate::model::convert::{self, Form};
use crate::model::resolve::{self, ModelChoice};
use crate::model::vae_override;
use crate::pipeline::{LoadOptions, Pipeline};
use anyhow::Result;
use safetensors::Dtype;
use std::process::ExitCode;
use tch::Kind;

/// Writes the model; the ending of the name says as what.
pub fn run(args: &ConvertArgs, talk: Talk) -> Result<ExitCode> {
    let single = args.out.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
    (if single { Form::File } else { Form::Folder }).refuse_existing(&args.out)?;
    let choice = resolve::resolve_with(Some(&args.model), args.vae.as_deref())?;
    vae_override::warning(&choice.files)?.iter().for_each(|warning| talk.warn(warning));
    let variant = args.variant.as_deref();
    check_loads(&choice, variant)?;
    interrupt::tidy_up(convert::abandon)?;
    if single {
        convert::to_single_file(&choice.files, variant, &args.out)?;
    } else {
        convert::to_folder(&choice.files, variant, &args.out)?;
    }
    talk.say(format!("model: {}", args.out.display()));
    talk.say(format!("next: sdviz inspect {}", args.out.display()));
    Ok(ExitCode::SUCCESS)
}

/// Refuses a model that could not be used: each tensor of each part is asked for as the configuration has it, and the
/// parts must fit each other. In the file's own dtype, so that the numbers stay where they lie in the file.
pub fn check_loads(choice: &ModelChoice, variant: Option<&str>) -> LibResult<()> {
    let kind = match choice.files.weights(&UNET, variant)?.1.dtype() {
        Some(Dtype::F16) => Kind::Half,
        Some(Dtype::BF16) => Kind::BFloat16,
        _ => Kind::Float,
    };
    let options = LoadOptions { kind, variant: variant.map(String::from), ..LoadOptions::default() };
    Pipeline::load(choice, options).map(drop)
}
