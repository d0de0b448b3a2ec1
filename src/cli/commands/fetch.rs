//! `sdviz fetch`: a model from the Hugging Face hub into the cache.

use crate::cli::args::FetchArgs;
use crate::cli::report::{self, Talk};
use crate::model::fetch::{self, FetchRequest, Hub, Told};
use crate::say;
use anyhow::Result;
use std::process::ExitCode;

/// Fetches the model, shows how far it is, prints its folder.
pub fn run(args: &FetchArgs, talk: Talk) -> Result<ExitCode> {
    let hub = Hub::from_env(&args.name)?;
    let request = FetchRequest { name: &args.name, revision: &args.revision, variant: args.variant.as_deref() };
    let bar = say::bar(None, "{bar:32} {bytes}/{total_bytes} [{elapsed}, {eta} left] {msg}", talk.quiet);
    let (mut done, mut current) = (0, 0);
    let fetched = fetch::fetch(request, &hub, &mut |told| match told {
        Told::Files(commit, files) => {
            let size = |there: bool| files.iter().filter(|(_, t)| *t == there).filter_map(|(f, _)| f.size).sum::<u64>();
            let there = files.iter().filter(|(_, there)| *there).count();
            let new = files.len() - there;
            bar.set_length(size(false));
            talk.say(format!("repository: {}, {} ({})", args.name, args.revision, commit.get(..12).unwrap_or(commit)));
            let beside = if there > 0 { format!(", {there} are there already") } else { String::new() };
            talk.say(format!("files: {new} to fetch, {}{beside}", report::size(size(false) as f64)));
        }
        Told::File(file) => {
            done += current;
            current = file.size.unwrap_or(0);
            bar.set_message(file.name.clone());
        }
        Told::Bytes(bytes) => bar.set_position(done + bytes),
    });
    bar.finish_and_clear();
    let folder = fetched?;
    report::print(folder.display());
    // Only the main branch has a name of its own in the cache.
    let model = if args.revision == "main" { args.name.clone() } else { folder.display().to_string() };
    talk.say(format!("next: sdviz trace --model {model} --prompt …"));
    Ok(ExitCode::SUCCESS)
}
