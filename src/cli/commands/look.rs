//! `sdviz look`: what the model sees in a picture, one prediction at each of some noise levels.

use super::export::name_files;
use super::trace;
use crate::cli::args::{LookIntoArgs, Purpose};
use crate::cli::inversions;
use crate::cli::report::Talk;
use crate::cli::runs;
use crate::error::{Error, Result as LibResult};
use crate::export::Outputs;
use crate::export::attention::words::Word;
use crate::export::look::{self, Options};
use crate::record::inversion::LookPlan;
use crate::trace::reader::Run;
use anyhow::Result;
use std::process::ExitCode;

/// Records the look, and draws its sheet.
pub fn run(args: &LookIntoArgs, talk: Talk) -> Result<ExitCode> {
    let words = args.words.iter().map(|word| word.parse()).collect::<LibResult<Vec<Word>>>()?;
    let at = levels(&args.at)?;
    let options = Options { words, sites: args.site.clone(), size: args.size };
    options.check()?;
    let mut place = args.place.clone();
    let out = place.out.take().unwrap_or_else(|| if place.force { runs::RUN.into() } else { runs::free() });
    place.out = Some(out.clone());
    let steps = at.len();
    let mut trace =
        inversions::trace(&args.photo, &args.fit, &place, Purpose::Look(LookPlan { at }, options.words.clone()))?;
    trace.prompt = Some(args.prompt.clone());
    (trace.steps, trace.guidance_scale, trace.seed) = (Some(steps), Some(1.0), Some(args.seed.into()));
    trace.scheduler = Some("ddim".into());
    trace.keep.record = Some(vec!["all".into()]);
    trace.keep.decode_what = Some(vec!["latents".into(), "x0".into()]);
    trace.layers.sites = args.site.clone();
    trace.attention.attention = Some(vec![]);
    trace.model = args.model.clone();
    let code = trace::run(&trace, talk)?;
    if code == ExitCode::SUCCESS {
        let mut outputs = Outputs::open(&Run::open(&out)?, None)?;
        let made = look::make(&Run::open(&out)?, &options, &mut outputs);
        name_files(&outputs, false, talk);
        made?;
    }
    Ok(code)
}

/// The noise levels from the noisiest down, each once.
fn levels(typed: &[f64]) -> LibResult<Vec<f64>> {
    if let Some(none) = typed.iter().find(|share| !(0.0..=1.0).contains(*share)) {
        return Err(Error::invalid(
            format!("`{none}` is no noise level"),
            "give shares from 0, the picture as it is, to 1, nothing but noise: `--at 0.2,0.4,0.6`",
        ));
    }
    let mut at = typed.to_vec();
    at.sort_by(|a, b| b.total_cmp(a));
    at.dedup();
    Ok(at)
}
