//! `sdviz attention`: where the words of a prompt are looked at, step by step.

use super::export::name_files;
use super::video::pace;
use crate::cli::args::MapsArgs;
use crate::cli::report::{self, Talk};
use crate::error::{Error, Result as LibResult};
use crate::export::Outputs;
use crate::export::attention::maps::Mix;
use crate::export::attention::paint::Colours;
use crate::export::attention::recorded::How;
use crate::export::attention::words::Word;
use crate::export::attention::{self, Made, Options, What};
use crate::export::encode::AnimationFormat;
use crate::export::figure::Format;
use crate::export::plots;
use crate::record::attention::Prediction;
use crate::trace::reader::Run;
use crate::viz::colour::ColourMap;
use anyhow::Result;
use std::process::ExitCode;

/// What can be shown.
const KINDS: [&str; 4] = ["words", "shares", "heads", "self"];

/// Makes the pictures, and names the files.
pub fn run(args: &MapsArgs, talk: Talk) -> Result<ExitCode> {
    let words = args.words.iter().map(|word| word.parse()).collect::<LibResult<Vec<Word>>>()?;
    let prediction: Prediction = args.prediction.trim().parse()?;
    if args.what.trim() == "shares" {
        return shares(args, &words, prediction, talk);
    }
    let options = options(args, words, prediction)?;
    options.check()?;
    let runs = std::iter::once(&args.run).chain(&args.compare).map(Run::open).collect::<LibResult<Vec<Run>>>()?;
    let mut outputs = Outputs::open(&runs[0], args.files.out.as_deref())?;
    let made = attention::make(&runs.iter().collect::<Vec<_>>(), &options, &mut outputs);
    name_files(&outputs, args.json, talk);
    outputs.take_remarks().iter().for_each(|remark| talk.say(format!("note: {remark}")));
    let record = made?;
    if args.json {
        report::print(serde_json::to_string_pretty(&record)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn options(args: &MapsArgs, words: Vec<Word>, prediction: Prediction) -> LibResult<Options> {
    let what = what(args)?;
    let usual = Options::default();
    let mut made = args.format.iter().map(|name| made(name.trim())).collect::<LibResult<Vec<Made>>>()?;
    if made.is_empty() {
        made = usual.made;
    }
    Ok(Options {
        what,
        words,
        how: How {
            method: args.method.parse()?,
            mix: Mix {
                sizes: args.sizes.iter().map(|name| size(name.trim())).collect::<LibResult<_>>()?,
                merge: args.merge.parse()?,
                upsampling: args.upsampling.parse()?,
            },
            relative: args.relative,
        },
        normalise: args.normalise.parse()?,
        colours: Colours { map: args.colours.trim().parse::<ColourMap>()?, alpha: args.alpha, grey: !args.in_colour },
        over: args.over.as_deref().map_or(Ok(usual.over), str::parse)?,
        prediction,
        batch: args.files.batch,
        pass: args.pass.map(usize::from),
        steps: args.step.clone(),
        pace: pace(&args.motion)?,
        made,
        size: args.look.size,
        captions: !args.look.no_captions,
    })
}

/// What is shown, and of which places.
fn what(args: &MapsArgs) -> LibResult<What> {
    let name = args.what.trim();
    if name != "self" && (args.components.is_some() || !args.query.is_empty()) {
        let flag = if args.components.is_some() { "--components" } else { "--query" };
        return Err(Error::invalid(format!("`{flag}` goes with `--what self`"), "add it, or leave the other out"));
    }
    if name == "self" && !args.words.is_empty() {
        let message = format!("`{}`: places look at places, not at words", args.words.join(" "));
        return Err(Error::invalid(message, "leave the words out, or show `--what words`"));
    }
    match (name, args.components) {
        ("words", _) => Ok(What::Words),
        ("heads", _) => Ok(What::Heads),
        ("self", Some(3)) => Ok(What::Parts),
        ("self", Some(other)) => Err(Error::invalid(
            format!("cannot show {other} components"),
            "3 become red, green and blue: `--components 3`",
        )),
        ("self", None) => Ok(What::Places(args.query.iter().map(|text| place(text)).collect::<LibResult<_>>()?)),
        _ => Err(Error::unknown("kind of picture", name, KINDS)),
    }
}

fn place(text: &str) -> LibResult<[f64; 2]> {
    let sides: Vec<Option<f64>> = text.split(',').map(|side| side.trim().parse().ok()).collect();
    match sides[..] {
        [Some(x), Some(y)] => Ok([x, y]),
        _ => Err(Error::invalid(format!("`{text}` names no place"), "such as `0.3,0.6`: shares of width and height")),
    }
}

fn size(name: &str) -> LibResult<usize> {
    let factor = name.strip_prefix('f').and_then(|factor| factor.parse().ok());
    factor.ok_or_else(|| Error::unknown("size", name, ["f1", "f2", "f4", "f8"]))
}

fn made(name: &str) -> LibResult<Made> {
    if name == "png" {
        return Ok(Made::Sheet);
    }
    let known = AnimationFormat::ALL.map(AnimationFormat::name);
    let format: LibResult<AnimationFormat> = name.parse();
    format.map(Made::Film).map_err(|_| Error::unknown("format", name, ["png"].into_iter().chain(known)))
}

/// Who gets the attention, as a figure.
fn shares(args: &MapsArgs, words: &[Word], prediction: Prediction, talk: Talk) -> Result<ExitCode> {
    let mut formats = args.format.iter().map(|name| name.trim().parse()).collect::<LibResult<Vec<Format>>>()?;
    if args.json && !formats.contains(&Format::Json) {
        formats.push(Format::Json);
    }
    if args.format.is_empty() {
        formats.push(Format::Png);
    }
    if !args.compare.is_empty() {
        let message = "shares are shown of one run";
        return Err(Error::invalid(message, "leave out `--compare`; `sdviz plot --what attention` compares").into());
    }
    let run = Run::open(&args.run)?;
    let figure = plots::attention::shares(&run, words, (prediction, args.pass.map(usize::from)), args.files.batch)?;
    let mut outputs = Outputs::open(&run, args.files.out.as_deref())?;
    for format in formats {
        let batch = crate::export::words::batch_suffix(args.files.batch);
        let pass = args.pass.map(|pass| format!("-pass{pass}")).unwrap_or_default();
        outputs.write(&format!("attention-shares{pass}{batch}.{}", format.extension()), &format.bytes(&figure)?)?;
    }
    name_files(&outputs, args.json, talk);
    if args.json {
        report::print(String::from_utf8_lossy(&Format::Json.bytes(&figure)?).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}
