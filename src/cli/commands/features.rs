//! `sdviz features`: what a layer holds, as colours.

use super::video::{pace, tell_all};
use crate::cli::args::FeaturesArgs;
use crate::cli::report::Talk;
use crate::cli::runs;
use crate::error::{Error, Result as LibResult};
use crate::export::Outputs;
use crate::export::features::{self, Options};
use crate::export::panels::Size;
use crate::record::schema::RECORD_FILE;
use crate::trace::reader::Run;
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// Makes the files, and names them.
pub fn run(args: &FeaturesArgs, talk: Talk) -> Result<ExitCode> {
    let (site, dirs) = args.names.split_last().ok_or_else(no_site)?;
    if site.join(RECORD_FILE).is_file() {
        return Err(no_site().into());
    }
    let site = site.display().to_string();
    let dirs: Vec<PathBuf> = if dirs.is_empty() {
        let newest = runs::newest();
        runs::taken(&newest).iter().for_each(|note| talk.say(note));
        vec![newest.into()]
    } else {
        dirs.to_vec()
    };
    let (sheet, formats): (Vec<&String>, Vec<&String>) = args.format.iter().partition(|name| name.trim() == "png");
    let usual = Options::of(&site);
    let options = Options {
        fit: args.fit.parse()?,
        channels: args.channels.as_deref().map(str::parse).transpose()?,
        normalise: args.normalise.parse()?,
        formats: formats.iter().map(|name| name.trim().parse()).collect::<LibResult<_>>()?,
        sheet: !sheet.is_empty(),
        pace: pace(&args.motion)?,
        size: match args.look.size {
            Some(side) => Size::asked(Some(side))?,
            None => usual.size,
        },
        captions: !args.look.no_captions,
        batch: args.files.batch,
        ..usual
    };
    let runs = dirs.iter().map(Run::open).collect::<LibResult<Vec<Run>>>()?;
    let mut outputs = Outputs::open(&runs[0], args.files.out.as_deref())?;
    let made = features::make(&runs.iter().collect::<Vec<_>>(), &options, &mut outputs);
    tell_all(&mut outputs, talk);
    made?;
    Ok(ExitCode::SUCCESS)
}

fn no_site() -> Error {
    let hint = "name it after the runs: `sdviz features run unet.mid_block`; `sdviz inspect --sites` lists them";
    Error::invalid("no site is named", hint)
}
