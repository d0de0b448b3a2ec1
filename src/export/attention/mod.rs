//! What a run recorded of its attention, as pictures: words over time, heads, and where places look.
//!
//! Enters: runs recorded with `--attention`. Leaves: films, sheets, and a JSON file beside them that says what was done to
//! the numbers. Nothing here knows a model. The formulas stand at the head of [`maps`] and [`paint`].

pub mod film;
pub mod heads;
pub mod maps;
pub mod measures;
mod naming;
pub mod options;
mod own;
pub mod paint;
pub mod recorded;
mod still;
pub mod track;
pub mod under;

use super::animate::{Files, animate};
use super::encode::AnimationFormat;
use super::settings::names;
use super::{Outputs, words as words_of_runs};
use crate::error::{Error, Result};
pub use crate::record::words;
use crate::trace::reader::Run;
use crate::units::count;
use crate::viz::normalise::Range;
use film::{Band, Film};
use naming::{about_runs, describe, file_name};
pub use options::{Made, Options, What};
use own::{Looking, Parts};
use recorded::Recorded;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use still::{sheets_of_heads, whole};
pub(super) use still::{write_pages, write_record};
use track::{FrameRecord, Of, Track};
use under::Under;
use words::Word;

/// The most rows of maps of a run.
pub const MOST_WORDS: usize = 16;
/// Steps on a sheet where they are not named.
const SHEET_STEPS: usize = 8;
/// The side of a picture where it stands alone, and of one among others.
const SIDES: [u32; 2] = [512, 256];

/// What was done to a row's numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct RowRecord {
    /// The word, or the place.
    of: String,
    /// The run, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<PathBuf>,
    /// Its tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<String>,
    /// The range of all frames; none where each has its own.
    range: Option<Range>,
    /// Share of all numbers outside it.
    clipped: f64,
    frames: Vec<FrameRecord>,
}

/// The film and the sheet of all words with the default settings, for the registry.
///
/// # Errors
/// As [`make`].
pub fn export(run: &Run, outputs: &mut Outputs) -> Result<()> {
    make(&[run], &Options::default(), outputs).map(drop)
}

/// Makes `attention-WORDS.png`, `.gif`, … and `.json`, the record of what was done to the numbers, which is given back.
/// The first run is the one that the files belong to.
///
/// # Errors
/// [`Error::NotRecorded`] when a run has nothing of what is asked; when a word is not in the prompt, when the settings
/// cannot be, when a file cannot be read or not be written.
pub fn make(runs: &[&Run], options: &Options, outputs: &mut Outputs) -> Result<Value> {
    options.check()?;
    let recorded: Result<Vec<Recorded>> =
        runs.iter().map(|run| Recorded::open(run, options.prediction, options.batch)?.of_pass(options.pass)).collect();
    let recorded = recorded?;
    recorded.iter().try_for_each(|recorded| recorded.check_sizes(&options.how.mix.sizes))?;
    if options.what == What::Heads {
        return sheets_of_heads(&recorded, options, outputs);
    }
    if options.what == What::Words && options.how.method.takes_all_steps() {
        return whole(&recorded, options, outputs);
    }
    let film = open_film(runs, &recorded, options)?;
    let steps = chosen_steps(&film, options)?;
    let name = file_name(options, runs.len() > 1);
    for made in &options.made {
        if *made == Made::Sheet {
            let steps = match options.steps.is_empty() {
                true => words_of_runs::spread_of(runs[0], &steps, SHEET_STEPS),
                false => steps.clone(),
            };
            write_pages(outputs, &name, &film.sheet(&steps)?)?;
        }
    }
    let formats: Vec<AnimationFormat> = options
        .made
        .iter()
        .filter_map(|made| match made {
            Made::Film(format) => Some(*format),
            Made::Sheet => None,
        })
        .collect();
    if !formats.is_empty() {
        let files = Files { name: &name, formats: &formats, dither: true };
        animate(outputs, files, &options.pace, &options.pace.choose(&steps), |step| film.frame(step))?;
    }
    let record = film_record(&film, options, &steps, runs.len() > 1)?;
    write_record(outputs, &name, &record)?;
    remark(&film, runs, &steps, outputs);
    Ok(record)
}

/// The runs with their rows of maps.
fn open_film<'a>(runs: &[&Run], recorded: &'a [Recorded<'a>], options: &Options) -> Result<Film<'a>> {
    let all: Vec<&Recorded> = recorded.iter().collect();
    let wanted = wanted(&all, options)?;
    let mut bands = vec![];
    let names = if runs.len() > 1 { names(runs, options.batch) } else { vec![String::new(); runs.len()] };
    for (recorded, name) in all.iter().zip(names) {
        let under = Under::open(recorded.run, options.over, options.batch)?;
        bands.push(Band { recorded, name, under, tracks: vec![] });
    }
    for (of, label) in &wanted {
        let tracks = Track::open(of.clone(), &all, label, options.normalise)?;
        bands.iter_mut().zip(tracks).for_each(|(band, track)| band.tracks.push(track));
    }
    let alone = wanted.len() == 1 && runs.len() == 1;
    let sides = [SIDES[usize::from(!alone)], SIDES[1]].map(|usual| options.size.unwrap_or(usual));
    let about = format!("{} · {}", describe(options), about_runs(runs, options.batch));
    let (colours, captions, cell) = (options.colours, options.captions, (1, 1));
    let mut film = Film { bands, colours, sides, captions, about, cell };
    film.measure()?;
    Ok(film)
}

/// What the rows are of, with what stands below them.
fn wanted(recorded: &[&Recorded], options: &Options) -> Result<Vec<(Of, String)>> {
    let first = recorded[0];
    let size = options.how.mix.sizes.first().copied();
    match &options.what {
        What::Parts => {
            let parts = Parts::find(first, size)?;
            let explained: Vec<String> = parts.explained.iter().map(|part| words_of_runs::percent(*part)).collect();
            Ok(vec![(Of::Parts(parts), format!("3 components: {}", explained.join(", ")))])
        }
        What::Places(places) => {
            let mut places = places.clone();
            if places.is_empty() {
                places = first.record().queries.clone();
            }
            if places.is_empty() {
                return Err(Error::NotRecorded {
                    message: format!(
                        "`{}` names no place of which it is kept where it looks",
                        first.run.name().display()
                    ),
                    hint: "name one with `--query X,Y`, or see all with `--components 3`".into(),
                });
            }
            let of = |at: &[f64; 2]| {
                let label = format!("where {},{} looks", at[0], at[1]);
                Ok((Of::Place(Looking::at_place(first, *at, size)?), label))
            };
            places.iter().map(of).collect()
        }
        _ => {
            let words = chosen_words(recorded, &options.words)?;
            let text = first.text(first.last())?;
            Ok(words.into_iter().map(|word| (Of::Word(word.clone(), options.how.clone()), word.label(text))).collect())
        }
    }
}

/// The words that were named, or all of the prompts.
pub(super) fn chosen_words(recorded: &[&Recorded], named: &[Word]) -> Result<Vec<Word>> {
    let mut chosen = named.to_vec();
    let mut texts = vec![];
    for recorded in recorded {
        texts.extend(recorded.texts()?);
    }
    if chosen.is_empty() {
        for word in texts.iter().flat_map(|text| words::words_of(text)) {
            if !chosen.contains(&word) {
                chosen.push(word);
            }
        }
    }
    words::check(&chosen, &texts)?;
    match chosen.len() {
        0 => Err(Error::invalid("the prompt has no words", "`<start>`, `<end>` and `<padding>` can be looked at")),
        many if many > MOST_WORDS => Err(Error::invalid(
            format!("{} are too many for one picture", count(many, "word")),
            format!("name {MOST_WORDS} at most: `sdviz attention RUN apple background`"),
        )),
        _ => Ok(chosen),
    }
}

/// The steps of a film or a sheet.
fn chosen_steps(film: &Film, options: &Options) -> Result<Vec<usize>> {
    let there = film.steps();
    match options.steps.iter().find(|step| !there.contains(step)) {
        Some(missing) => {
            let (first, last) = (there.first().copied().unwrap_or(0), there.last().copied().unwrap_or(0));
            Err(Error::invalid(
                format!("step {missing} has no attention recorded"),
                format!("its steps go from {first} to {last}; the step that a pass begins with has none"),
            ))
        }
        None if options.steps.is_empty() => Ok(there),
        None => Ok(options.steps.clone()),
    }
}

fn film_record(film: &Film, options: &Options, steps: &[usize], several: bool) -> Result<Value> {
    let mut rows = vec![];
    for band in &film.bands {
        for track in &band.tracks {
            let frames = film.records(track, steps)?;
            let text = band.recorded.text(band.recorded.last())?;
            let tokens = match &track.of {
                Of::Word(word, _) => word.columns(text).into_iter().map(|at| text.columns[at].piece.clone()).collect(),
                _ => vec![],
            };
            let clipped = frames.iter().map(|frame| frame.clipped).sum::<f64>() / frames.len().max(1) as f64;
            let run = several.then(|| band.recorded.run.name().to_path_buf());
            rows.push(RowRecord { of: track.label.clone(), run, tokens, range: track.range(), clipped, frames });
        }
    }
    let sizes: Vec<String> = options.how.mix.sizes.iter().map(|factor| format!("f{factor}")).collect();
    let what = match options.what {
        What::Words => "words",
        What::Heads => "heads",
        What::Places(_) => "places",
        What::Parts => "components",
    };
    Ok(json!({
        "what": what, "method": options.how.method, "merge": options.how.mix.merge, "sizes": sizes,
        "upsampling": options.how.mix.upsampling, "relative": options.how.relative,
        "normalise": options.normalise.to_string(), "colours": options.colours.map.name(), "alpha": options.colours.alpha,
        "grey": options.colours.grey, "prediction": options.prediction.to_string(), "batch": options.batch,
        "formula": FORMULA, "rows": rows,
    }))
}

/// In the record's words.
const FORMULA: [&str; 3] = [
    "share = max(0, sum over sizes of heads(size)/heads · bicubic(sum of the word's columns))",
    "unit = clip((share - lo) / (hi - lo), 0, 1)",
    "pixel = (1 - a) · picture + a · colours(unit), a = alpha · unit",
];

fn remark(film: &Film, runs: &[&Run], steps: &[usize], outputs: &mut Outputs) {
    for track in film.bands.iter().flat_map(|band| &band.tracks) {
        if track.steps.is_empty() {
            outputs.remark(format!("`{}` has no map of `{}`", track.recorded.run.name().display(), track.label));
        }
    }
    if let [only] = steps[..] {
        outputs.remark(format!("there is one step only, {only}: a film of it stands still"));
    }
    for run in runs {
        let last = steps.last().copied().unwrap_or(0);
        words_of_runs::unfinished(run, last).into_iter().for_each(|note| outputs.remark(note));
    }
}
