//! `sdviz attribution`: what each word of a prompt causes in the predictions, from the record; or found out now, from the
//! recorded latents of a run.

use super::export::name_files;
use crate::cli::args::AttributionArgs;
use crate::cli::inside;
use crate::cli::plan::attribution::asked;
use crate::cli::report::{self, Talk};
use crate::error::{Error, Result as LibResult};
use crate::export::Outputs;
use crate::export::attention::paint::Colours;
use crate::export::attribution::{self, Number, Options, Table};
use crate::record::words::Word;
use crate::trace::attribution::write;
use crate::trace::reader::Run;
use anyhow::Result;
use std::process::ExitCode;

/// Shows it, and names the files.
pub fn run(args: &AttributionArgs, talk: Talk) -> Result<ExitCode> {
    let options = options(args)?;
    let run = Run::open(&args.run)?;
    let mut outputs = Outputs::open(&run, args.files.out.as_deref())?;
    if !args.at.is_empty() {
        find_out(args, &run, talk)?;
    }
    let made = attribution::make(&run, &options, &mut outputs);
    name_files(&outputs, args.json, talk);
    outputs.take_remarks().iter().for_each(|remark| talk.say(format!("note: {remark}")));
    let table = made?;
    match args.json {
        true => report::print(serde_json::to_string_pretty(&table)?),
        false => print(&table, options.attention),
    }
    Ok(ExitCode::SUCCESS)
}

fn options(args: &AttributionArgs) -> LibResult<Options> {
    let usual = Options::default();
    let attention = match args.beside.as_deref().map(str::trim) {
        None => false,
        Some("attention") => true,
        Some(other) => return Err(Error::unknown("kind of map", other, ["attention"])),
    };
    Ok(Options {
        words: args.words.iter().map(|word| word.parse()).collect::<LibResult<Vec<Word>>>()?,
        steps: if args.at.is_empty() { args.step.clone() } else { args.at.clone() },
        attention,
        over: args.over.as_deref().map_or(Ok(usual.over), str::parse)?,
        normalise: args.normalise.parse()?,
        colours: Colours { map: args.colours.trim().parse()?, ..usual.colours },
        batch: args.files.batch,
        size: args.look.size,
        captions: !args.look.no_captions,
    })
}

/// Makes the predictions without the words, and keeps what they say in the run.
fn find_out(args: &AttributionArgs, run: &Run, talk: Talk) -> Result<()> {
    let how = (args.drop.as_deref(), args.area.as_deref());
    let asked = asked(&args.attribute, &args.words, &args.at, how)?;
    let dir = run.dir().ok_or_else(|| Error::invalid("the run has no folder", "name a run directory"))?;
    let model = inside::model_of(run, &args.loading)?;
    model.attribution(run, &asked, |found| {
        talk.say(format!("step {} found out", found.about.step));
        write(dir, found)
    })?;
    Ok(())
}

/// Words down, steps across.
fn print(table: &Table, attention: bool) {
    let steps = table.steps().iter().map(|step| format!("step {step}"));
    let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
    let kinds: [(&str, Number); 3] = [
        ("how far the prediction moves without the word, of how far it moves without the prompt", |row| row.share),
        ("share of the gradients of all places of the text", |row| row.gradient),
        ("correlation of the map and the word’s attention", |row| row.correlation),
    ];
    for (place, (about, of)) in kinds.into_iter().enumerate() {
        if !table.rows.iter().any(|row| of(row).is_some()) {
            continue;
        }
        let mean = attention && place == 2;
        let mut titles: Vec<String> = ["word".to_string()].into_iter().chain(steps.clone()).collect();
        titles.extend(mean.then(|| "mean".to_string()));
        let mut printed = report::table(&titles.iter().map(String::as_str).collect::<Vec<_>>());
        for word in table.words() {
            let mut cells = vec![word.clone()];
            cells.extend(table.steps().iter().map(|step| number(table.at(word, *step).and_then(of))));
            cells.extend(mean.then(|| number(table.mean_correlation(word))));
            printed.add_row(cells);
        }
        report::align_right(&mut printed, 1..titles.len());
        report::print(format!("\n{about}"));
        report::print_table(&printed);
    }
}
