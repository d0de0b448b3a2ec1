//! `sdviz eval`: how well a model obeys, how well its autoencoder keeps pictures, how good the judge is.

mod attribution;
mod likeness;

use crate::cli::args::{
    EvalAttentionArgs, EvalCommand, EvalJudgeArgs, EvalMapsArgs, EvalPromptsArgs, EvalVaeArgs, MeasureArgs, ModelArgs,
};
use crate::cli::plan;
use crate::cli::report::{self, Talk};
use crate::dataset::manifest::{Dataset, Row, pictures};
use crate::error::{Error, IoContext, Result as LibResult};
use crate::eval::attention::{self, Settings};
use crate::eval::judge::{Judge, Of};
use crate::eval::measure::{self, accuracy, fidelity};
use crate::eval::prompts::{self, EvalSettings, Shot, Shots};
use crate::eval::report::{Report, Tally, sheet};
use crate::files::atomic::write_atomically;
use crate::model::resolve::{self, ModelChoice};
use crate::model::vae::Vae;
use crate::pipeline::{LoadOptions, Pipeline};
use crate::scheduler::SchedulerKind;
use crate::trace::metadata::png_bytes;
use anyhow::Result;
use comfy_table::Table;
use image::RgbImage;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tch::Device;

/// Evaluates.
pub fn run(command: &EvalCommand, talk: Talk) -> Result<ExitCode> {
    match command {
        EvalCommand::Prompts(args) => prompts(args, talk)?,
        EvalCommand::Vae(args) => vae(args, talk)?,
        EvalCommand::Attention(args) => attention(args, talk)?,
        EvalCommand::Attribution(args) => attribution::run(args, talk)?,
        EvalCommand::Likeness(args) => likeness::run(args, talk)?,
        EvalCommand::Judge(args) => judge(args, talk)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn prompts(args: &EvalPromptsArgs, talk: Talk) -> Result<()> {
    let mut settings = settings(args)?;
    let options = plan::load_options(&args.model.loading)?;
    let judge = judge_of(Of::Object, args.judge.as_deref(), options.device)?;
    let styles = match settings.styled {
        0 => None,
        _ => Some(judge_of(Of::Style, args.style_judge.as_deref(), options.device)?),
    };
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).at("create", out)?;
    }
    let choice = choose(&args.model, talk)?;
    let pipeline = Pipeline::load(&choice, options)?;
    if settings.scheduler.is_empty() {
        settings.scheduler = pipeline.default_scheduler()?.name().into();
    }
    let bar = report::bar(args.count + args.unguided + 2 * args.negative + settings.styled, talk);
    let shots = prompts::evaluate(&pipeline, &judge, styles.as_ref(), &settings, |n| bar.inc(n as u64))?;
    bar.finish_and_clear();
    let name = args.judge.as_ref().map_or("embedded".into(), |folder| folder.display().to_string());
    let classes = (judge.classes(), styles.as_ref().map(Judge::classes));
    let report = Report::new(&choice.id, &name, &settings, classes, &shots);
    match args.json {
        true => report::print(serde_json::to_string_pretty(&report)?),
        false => print(&report),
    }
    if let Some(out) = &args.out {
        write(out, &report, &shots, &judge, talk)?;
    }
    Ok(())
}

fn settings(args: &EvalPromptsArgs) -> LibResult<EvalSettings> {
    // Another judge's things are not drawn in the pocket model's styles.
    let styled = if args.judge.is_some() && args.style_judge.is_none() { 0 } else { args.styled };
    if args.count + args.unguided + args.negative + styled == 0 {
        return Err(Error::invalid("no pictures are asked for", "ask for some: `--count 512` is usual"));
    }
    if args.drawn.steps == 0 || args.batch_size == 0 {
        let what = if args.drawn.steps == 0 { "0 steps" } else { "a batch of 0" };
        return Err(Error::invalid(format!("{what} makes no picture"), "ask for at least one"));
    }
    let scheduler = args.drawn.scheduler.as_deref().map(SchedulerKind::parse).transpose()?;
    Ok(EvalSettings {
        count: args.count,
        unguided: args.unguided,
        negative: args.negative,
        styled,
        batch: args.batch_size,
        steps: args.drawn.steps,
        guidance_scale: args.drawn.guidance_scale,
        scheduler: scheduler.map(|kind| kind.name().to_string()).unwrap_or_default(),
        seed: args.drawn.seed,
    })
}

/// The judge that a folder holds, if it names what is to be named, or the embedded one.
fn judge_of(of: Of, folder: Option<&Path>, device: Device) -> LibResult<Judge> {
    let judge = load_judge(folder, of, device)?;
    if judge.classes().of == of {
        return Ok(judge);
    }
    let (names, option) = match of {
        Of::Object => ("styles", "name it with `--style-judge`, and a judge of objects with `--judge`"),
        Of::Style => ("objects", "name it with `--judge`; `sdviz train judge --of style` teaches one of styles"),
    };
    Err(Error::invalid(format!("this judge names {names}"), option))
}

/// The judge that a folder holds, or the embedded one of the objects or styles.
fn load_judge(folder: Option<&Path>, of: Of, device: Device) -> LibResult<Judge> {
    match (folder, of) {
        (Some(folder), _) => Judge::read(folder, device),
        (None, Of::Object) => Judge::embedded(device),
        (None, Of::Style) => Judge::embedded_of_styles(device),
    }
}

fn choose(args: &ModelArgs, talk: Talk) -> LibResult<ModelChoice> {
    let choice = resolve::resolve_with(args.model.as_deref(), args.loading.vae.as_deref())?;
    talk.say(format!("model: {} ({})", choice.id, choice.chosen_by));
    Ok(choice)
}

/// The report and the sheets: all pictures, those that the judge finds wrong, and the pairs with negative prompts.
fn write(out: &Path, report: &Report, shots: &Shots, judge: &Judge, talk: Talk) -> LibResult<()> {
    let path = out.join("report.json");
    let bad = |e| Error::bad_file(&path, "report", e);
    write_atomically(&path, (serde_json::to_string_pretty(report).map_err(bad)? + "\n").as_bytes())?;
    talk.say(format!("report: {}", path.display()));
    let wrong = |shot: &&Shot| !(shot.object_right() && shot.background_right());
    let pairs = shots.negative.iter().flat_map(|(before, after)| [before, after]);
    let classes = judge.classes();
    let heading = |what| report.heading(what, report.guided.guidance_scale);
    let unguided = report.heading("without guidance", report.unguided.guidance_scale);
    let sheets = [
        ("guided.png", sheet(shots.guided.iter(), classes, (24, 1), &heading("prompts and what was drawn"))),
        ("wrong.png", sheet(shots.guided.iter().filter(wrong), classes, (12, 1), &heading("seen as something else"))),
        ("unguided.png", sheet(shots.unguided.iter(), classes, (16, 1), &unguided)),
        ("negative.png", sheet(pairs, classes, (16, 2), &heading("without and with a negative prompt"))),
    ];
    for (name, page) in sheets {
        let path: PathBuf = out.join(name);
        // A sheet of an earlier evaluation would tell of other pictures.
        let _ = std::fs::remove_file(&path);
        if let Some(page) = page {
            write_atomically(&path, &png_bytes(&page)?)?;
            talk.say(format!("sheet: {}", path.display()));
        }
    }
    Ok(())
}

fn percent(part: usize, whole: usize) -> String {
    if whole == 0 { "–".into() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

fn tallies(first: &str, of: Of) -> Table {
    let named = match of {
        Of::Object => "object right",
        Of::Style => "style right",
    };
    report::table(&[first, "pictures", "background right", named, "both right"])
}

fn add(table: &mut Table, name: &str, tally: &Tally) {
    let share = |part: usize| percent(part, tally.pictures);
    let shares = [tally.background_right, tally.object_right, tally.both_right].map(share);
    table.add_row([&[name.to_string(), tally.pictures.to_string()], &shares[..]].concat());
}

fn show(mut table: Table) {
    report::align_right(&mut table, 1..5);
    report::print_table(&table);
}

fn print(report: &Report) {
    let mut table = tallies(&format!("{} steps, {}", report.steps, report.scheduler), Of::Object);
    for scores in [&report.guided, &report.unguided].into_iter().filter(|scores| scores.all.pictures > 0) {
        add(&mut table, &format!("guidance {}", scores.guidance_scale), &scores.all);
    }
    show(table);
    if report.guided.all.pictures > 0 {
        for (title, rows) in [("background", &report.guided.by_background), ("object", &report.guided.by_object)] {
            let mut table = tallies(title, Of::Object);
            rows.iter().for_each(|named| add(&mut table, &named.name, &named.tally));
            report::print("");
            show(table);
        }
    }
    if !report.styles.is_empty() {
        let mut table = report::table(&["style", "pictures", "style right", "seen where none is named"]);
        for style in &report.styles {
            let unasked = percent(style.unasked, report.guided.all.pictures);
            let right = percent(style.right, style.pictures);
            table.add_row([style.name.clone(), style.pictures.to_string(), right, unasked]);
        }
        report::align_right(&mut table, 1..4);
        report::print("");
        report::print_table(&table);
    }
    let negative = &report.negative;
    if negative.pictures > 0 {
        report::print(format!(
            "\nnegative prompt: {} of {} backgrounds gone ({}); objects right {} before, {} after",
            negative.removed,
            negative.pictures,
            percent(negative.removed, negative.pictures),
            percent(negative.object_right_before, negative.pictures),
            percent(negative.object_right_after, negative.pictures)
        ));
    }
}

/// The first pictures of a data set with their rows, and the autoencoder.
struct Subject {
    model: String,
    vae: Vae,
    options: LoadOptions,
    rows: Vec<Row>,
    pictures: Vec<RgbImage>,
}

impl Subject {
    fn load(args: &MeasureArgs, counts: impl Fn(&Row) -> bool, talk: Talk) -> LibResult<Subject> {
        let mut rows = Dataset::read(&args.data)?.rows;
        rows.retain(counts);
        rows.truncate(args.count);
        if rows.is_empty() {
            return Err(Error::invalid("no pictures are asked for", "ask for some: `--count 512` is usual"));
        }
        let options = plan::load_options(&args.model.loading)?;
        let choice = choose(&args.model, talk)?;
        let vae = measure::load_vae(&choice, &options)?;
        let pictures = pictures(&args.data, &rows)?;
        Ok(Subject { model: choice.id, vae, options, rows, pictures })
    }

    fn decoded(&self, talk: Talk) -> LibResult<Vec<RgbImage>> {
        let bar = report::bar(self.pictures.len(), talk);
        let decoded = measure::through(&self.vae, &self.pictures, &self.options, |n| bar.inc(n as u64))?;
        bar.finish_and_clear();
        Ok(decoded)
    }
}

fn vae(args: &EvalVaeArgs, talk: Talk) -> Result<()> {
    let subject = Subject::load(&args.on, |_| true, talk)?;
    let found = fidelity(&subject.pictures, &subject.decoded(talk)?);
    if args.on.json {
        report::print(serde_json::to_string_pretty(&json!({"model": subject.model, "vae": found}))?);
        return Ok(());
    }
    report::print(format!(
        "PSNR of {} pictures: {:.2} dB in the mean, {:.2} to {:.2}",
        found.pictures, found.psnr_mean, found.psnr_least, found.psnr_greatest
    ));
    Ok(())
}

fn judge(args: &EvalJudgeArgs, talk: Talk) -> Result<()> {
    let judge = load_judge(args.judge.as_deref(), args.of.into(), plan::load_options(&args.on.model.loading)?.device)?;
    let subject = Subject::load(&args.on, |row| judge.classes().fits(row), talk)?;
    let plain = accuracy(&judge, &subject.pictures, &subject.rows)?;
    let decoded = accuracy(&judge, &subject.decoded(talk)?, &subject.rows)?;
    if args.on.json {
        let found = json!({"model": subject.model, "plain": plain, "decoded": decoded});
        report::print(serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    let mut table = tallies("judge", judge.classes().of);
    add(&mut table, "pictures as they are", &plain);
    add(&mut table, "through the autoencoder", &decoded);
    show(table);
    Ok(())
}

/// What maps are measured on: a model, whose pictures a judge knows, and how they are drawn.
struct MapsOf {
    judge: Judge,
    choice: ModelChoice,
    pipeline: Pipeline,
    settings: Settings,
}

fn maps_of(count: usize, args: &EvalMapsArgs, talk: Talk) -> LibResult<MapsOf> {
    let EvalMapsArgs { drawn, cut, model, .. } = args;
    if count == 0 || drawn.steps == 0 {
        return Err(Error::invalid("no pictures are asked for", "ask for some: `--count 48`"));
    }
    if !(0.0..1.0).contains(cut) {
        let message = format!("cannot cut maps at `{cut}`");
        return Err(Error::invalid(message, "`--cut` goes from 0, the least number, to below 1, the greatest"));
    }
    let options = plan::load_options(&model.loading)?;
    let judge = Judge::embedded(options.device)?;
    let choice = choose(model, talk)?;
    let pipeline = Pipeline::load(&choice, options)?;
    let scheduler = match &drawn.scheduler {
        Some(name) => SchedulerKind::parse(name)?,
        None => pipeline.default_scheduler()?,
    };
    let settings = Settings {
        count,
        steps: drawn.steps,
        guidance_scale: drawn.guidance_scale,
        scheduler: scheduler.name().into(),
        seed: drawn.seed,
        cut: *cut,
    };
    Ok(MapsOf { judge, choice, pipeline, settings })
}

fn attention(args: &EvalAttentionArgs, talk: Talk) -> Result<()> {
    let MapsOf { judge, choice, pipeline, settings } = maps_of(args.count, &args.maps, talk)?;
    let bar = report::bar(args.count, talk);
    let found = attention::evaluate(&pipeline, judge.classes(), &choice.id, &settings, || bar.inc(1))?;
    bar.finish_and_clear();
    if args.maps.json {
        report::print(serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    let mut table = report::table(&["map of the object’s word", "steps", "mIoU", "95 %"]);
    for row in &found.rows {
        let numbers = [format!("{:.1} %", 100.0 * row.miou), format!("± {:.1}", 100.0 * row.margin)];
        table.add_row([&[row.map.clone(), row.steps.clone()], &numbers[..]].concat());
    }
    report::align_right(&mut table, 2..4);
    report::print_table(&table);
    report::print(format!(
        "\n{} pictures of {} steps, {}, guidance {}; the object takes {:.1} % of the picture in the mean{}",
        found.pictures,
        settings.steps,
        settings.scheduler,
        settings.guidance_scale,
        100.0 * found.area,
        if found.left_out == 0 {
            String::new()
        } else {
            format!("; {} without a clear object left out", found.left_out)
        }
    ));
    Ok(())
}
