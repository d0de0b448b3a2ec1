//! `sdviz dataset`: makes a data set, and shows one.

use crate::cli::args::{DatasetBuildArgs, DatasetCommand, DatasetSheetArgs};
use crate::cli::report::{self, Talk, thousands};
use crate::dataset::build::{self, Composer};
use crate::dataset::config::Config;
use crate::dataset::manifest::Dataset;
use crate::dataset::sheet;
use crate::error::{Error, Result as LibResult};
use crate::files::atomic::write_atomically;
use crate::trace::metadata::png_bytes;
use anyhow::Result;
use std::process::ExitCode;

/// Makes a data set or shows one.
pub fn run(command: &DatasetCommand, talk: Talk) -> Result<ExitCode> {
    match command {
        DatasetCommand::Build(args) => build(args, talk)?,
        DatasetCommand::Sheet(args) => draw_sheet(args, talk)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn build(args: &DatasetBuildArgs, talk: Talk) -> LibResult<()> {
    if args.count == 0 {
        return Err(Error::invalid("0 pictures make no data set", "ask for some: `--count 20000` is usual"));
    }
    let config = args.config.as_deref().map_or_else(Config::pocket, Config::read)?;
    build::check_folder(&args.out, args.force)?;
    let composer = Composer::new(config, &args.icons)?;
    let bar = report::bar(args.count, talk);
    let manifest = build::build(&composer, &args.out, args.seed, args.count, || bar.inc(1))?;
    bar.finish_and_clear();
    let config = &manifest.config;
    talk.say(format!(
        "data set: {}: {} pictures of {} objects in {} styles on {} backgrounds",
        args.out.display(),
        thousands(manifest.count as u64),
        config.objects.len(),
        config.styles.len(),
        config.backgrounds.len()
    ));
    talk.say(format!("next: sdviz dataset sheet {}", args.out.display()));
    Ok(())
}

fn draw_sheet(args: &DatasetSheetArgs, talk: Talk) -> LibResult<()> {
    let data = Dataset::read(&args.dataset)?;
    let page = sheet::sheet(&args.dataset, &data, args.count, args.columns)?;
    write_atomically(&args.out, &png_bytes(&page)?)?;
    talk.say(format!("sheet: {}", args.out.display()));
    if !talk.quiet {
        report::print(args.out.display());
    }
    Ok(())
}
