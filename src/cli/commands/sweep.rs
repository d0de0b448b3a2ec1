//! `sdviz sweep`: a traced run for every combination of some settings, and their pictures beside each other.

use crate::cli::advice;
use crate::cli::args::SweepArgs;
use crate::cli::interrupt;
use crate::cli::plan;
use crate::cli::report::{self, Talk};
use crate::error::{Error, Result as LibResult};
use crate::model::vae_override;
use crate::pipeline::init_image::InitImage;
use crate::record::plan::Plan;
use crate::say;
use crate::say::say;
use crate::sweep::estimate::{self, Cost, Speed};
use crate::sweep::field;
use crate::sweep::plan::{Axis, Cell, Draft, drafts};
use crate::sweep::record::SweepRecord;
use crate::sweep::runner::{CellOutcome, CellReporter, Loaded, Runner, groups};
use crate::sweep::sheet::{self, Layout};
use crate::sweep::store::{State, Store};
use crate::trace::writer;
use crate::watch::observer::{Ask, Event, Flow, Observer};
use anyhow::Result;
use indicatif::ProgressBar;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::rc::Rc;

/// Carries out a sweep: checks all of it, makes what is missing, draws the grid of what is there.
pub fn run(args: &SweepArgs, talk: Talk) -> Result<ExitCode> {
    let (_, loading) = plan::sweep_model(args)?;
    let args = &SweepArgs { loading, ..args.clone() };
    let asked = plan::sweep_plan(args)?;
    asked.notes.iter().for_each(|note| talk.say(note));
    let shard = plan::shard(args.shard.as_deref())?;
    if args.batch_seeds == 0 {
        return Err(Error::invalid("a batch of 0 seeds", "ask for at least one").into());
    }
    let drafts = drafts(&asked.axes, &asked.base)?;
    let store = Store::new(&args.out)?;
    writer::check_out(&args.out, true)?;
    let plan::Asked { axes, init, decode_by_model, .. } = asked;
    let (loaded, cells) = check(args, &drafts, init.map(Rc::new), decode_by_model, talk)?;
    let asked = SweepRecord::new(&axes, &cells);
    let groups = groups(&cells, args.batch_seeds, shard);
    if args.dry_run {
        return dry_run(&store, &loaded, &asked.axes, &groups.concat());
    }

    let (record, replaced) = store.widen(&asked)?;
    if replaced > 0 {
        talk.say(format!("{replaced} cells take the place of ones with other settings, whose folders stay"));
    }
    let interrupted = interrupt::listen(talk)?;
    let mut progress = SweepProgress::new(&record.axes, &groups, talk);
    let unedited = cells.iter().filter(|cell| args.take_over && cell.plan.edits.is_empty()).cloned().collect();
    let ran = Runner { store: &store, loaded, interrupted, reporter: &mut progress, unedited }.run(&groups);
    progress.bar.finish_and_clear();
    if ran.is_ok() {
        store.tidy();
        // Where there are no locks, another process may have written its own part over this one.
        store.widen(&asked)?;
    }
    finish(args, &store, &record, progress, ran, talk)
}

/// Loads every model and completes every draft with its own, before anything is made. Gives the cells in the order of the
/// drafts, and the model that was loaded last.
fn check(
    args: &SweepArgs,
    drafts: &[Draft],
    init: Option<Rc<InitImage>>,
    decode_by_model: bool,
    talk: Talk,
) -> Result<(Loaded, Vec<Cell>)> {
    let options = plan::load_options_with(&args.loading, args.keep.preview_vae.as_ref())?;
    let mut names: Vec<&Option<String>> = vec![];
    for draft in drafts {
        if !names.contains(&&draft.model) {
            names.push(&draft.model);
        }
    }
    let (mut cells, mut last) = (vec![None; drafts.len()], None);
    // The first model comes last, for the first cells are its own.
    for name in names.into_iter().rev() {
        drop(last.take());
        let loaded = Loaded::load(name.as_deref(), args.loading.vae.as_deref(), &options)?;
        let loaded = loaded.beginning_from(init.clone());
        // Without a prompt, the model is that of the run that has it.
        let typed = args.axes.0.iter().any(|(axis, _)| axis == field::MODEL);
        let chosen_by = if name.is_some() && !typed { "the run's" } else { loaded.choice.chosen_by };
        talk.say(format!("model: {} ({chosen_by})", loaded.choice.id));
        loaded.pipeline.model().loras.iter().for_each(|lora| talk.say(format!("lora: {lora}")));
        loaded.pipeline.model().embeddings.iter().for_each(|embedding| talk.say(format!("embedding: {embedding}")));
        let preview = loaded.pipeline.model().preview.iter();
        preview.for_each(|preview| talk.say(format!("pictures of the steps: {preview}")));
        loaded.pipeline.notes().iter().for_each(|note| talk.warn(note));
        vae_override::warning(&loaded.choice.files)?.iter().for_each(|warning| talk.warn(warning));
        let everywhere = |field| drafts.iter().filter(|d| d.model == *name).all(|draft| draft.at.contains_key(field));
        let few = advice::few_steps(&loaded.pipeline, (everywhere("steps"), everywhere("guidance_scale")));
        few.iter().for_each(|line| talk.say(line));
        for (cell, draft) in cells.iter_mut().zip(drafts).filter(|(_, d)| d.model == *name) {
            let decodes_all = decode_by_model && loaded.pipeline.is_small();
            *cell = Some(if decodes_all { loaded.cell(&draft.decoding_all())? } else { loaded.cell(draft)? });
        }
        warn_of_cuts(&loaded, drafts.iter().filter(|d| d.model == *name), talk)?;
        advise(&loaded, &cells, name, talk);
        last = Some(loaded);
    }
    let cells: Vec<Cell> = cells.into_iter().flatten().collect();
    let (mut cells_by_model, mut models): (Vec<Cell>, Vec<&Option<String>>) = (vec![], vec![]);
    for cell in &cells {
        if !models.contains(&&cell.model) {
            models.push(&cell.model);
            cells_by_model.extend(cells.iter().filter(|c| c.model == cell.model).cloned());
        }
    }
    match last {
        Some(loaded) => Ok((loaded, cells_by_model)),
        None => Err(Error::invalid("a sweep of no cells", "give each axis at least one value").into()),
    }
}

/// Warns of words in the prompts of a model's cells that the model has never seen.
fn advise(loaded: &Loaded, cells: &[Option<Cell>], model: &Option<String>, talk: Talk) {
    let plans: Vec<_> = cells.iter().flatten().filter(|cell| cell.model == *model).map(|cell| &cell.plan).collect();
    let all = |text: fn(&Plan) -> &str| {
        let texts: BTreeSet<&str> = plans.iter().map(|plan| text(plan)).collect();
        texts.into_iter().collect::<Vec<_>>().join("\n")
    };
    if let Some(plan) = plans.first() {
        let texts = (all(|plan| &plan.prompt), all(|plan| &plan.negative_prompt));
        // Where `AND` joins parts the negative prompt may count whatever the scale.
        let lone = plans.iter().copied().filter(|plan| plan.prompt_syntax.is_plain() || !plan.prompt.contains("AND"));
        let unused = advice::unused_negative_prompts(&lone.collect::<Vec<_>>());
        unused.iter().for_each(|warning| talk.warn(warning));
        advice::unknown_words((&texts.0, &texts.1), plan.prompt_syntax, &loaded.pipeline, talk);
    }
}

fn warn_of_cuts<'a>(loaded: &Loaded, drafts: impl Iterator<Item = &'a Draft>, talk: Talk) -> LibResult<()> {
    let all: Vec<_> = drafts.map(|draft| &draft.plan).collect();
    let tags: BTreeSet<String> = all.iter().flat_map(|plan| plan::tag_warnings(plan)).collect();
    tags.iter().for_each(|warning| talk.warn(warning));
    let plans: Vec<_> = all.into_iter().filter(|plan| plan.prompt_syntax.is_plain()).collect();
    let texts: BTreeSet<&String> = plans.iter().flat_map(|plan| [&plan.prompt, &plan.negative_prompt]).collect();
    for text in texts {
        if let Some(cut) = loaded.pipeline.tokenizer.encode(text)?.cut {
            let window = loaded.pipeline.tokenizer.window();
            talk.warn(format!("`{text}` is longer than {window} tokens; this part of it is not seen: `{cut}`"));
        }
    }
    if let Some(hint) = plans.into_iter().find_map(plan::syntax_hint) {
        talk.say(format!("hint: {hint}"));
    }
    Ok(())
}

/// Prints the cells and what they will take.
fn dry_run(store: &Store, loaded: &Loaded, axes: &[Axis], cells: &[Cell]) -> Result<ExitCode> {
    let titles: Vec<&str> = axes.iter().map(Axis::title).chain(["model calls", "cell", "state"]).collect();
    let mut table = report::table(&titles);
    let mut missing = vec![];
    for cell in cells {
        let state = match store.state(&cell.id) {
            State::Complete => "done",
            State::Failed(_) => "failed before",
            State::Missing => "to make",
        };
        if state != "done" {
            missing.push(cell);
        }
        let values = axes.iter().map(|a| field::label(cell.at.get(&a.name).unwrap_or(&serde_json::Value::Null)));
        table.add_row(values.chain([cell.calls.to_string(), cell.id.clone(), state.into()]));
    }
    report::print_table(&table);
    let speed = match (estimate::recorded(store, cells), missing.first()) {
        (Some(speed), _) => Some(speed),
        (None, Some(first)) => Some(estimate::timed(loaded, first)?),
        (None, None) => None,
    };
    let model = loaded.pipeline.model();
    let cost = speed.as_ref().map(|s| estimate::cost(&missing, s, model.latent_channels, model.vae_scale_factor));
    report::print(format!("\n{}", total(cells.len(), cost.unwrap_or_default(), speed.as_ref())));
    Ok(ExitCode::SUCCESS)
}

/// `9 cells, 4 to make: 120 model calls (200 predictions), about 3 min and 40 MB; time from …`.
fn total(cells: usize, cost: Cost, speed: Option<&Speed>) -> String {
    let plural = if cells == 1 { "" } else { "s" };
    match speed {
        Some(speed) if cost.cells > 0 => format!(
            "{cells} cell{plural}, {} to make: {} model calls ({} predictions of noise), about {} and {} of disk\nestimated from {}",
            cost.cells,
            cost.calls,
            cost.predictions,
            duration(cost.seconds),
            report::size(cost.bytes),
            speed.source
        ),
        _ => format!("{cells} cell{plural}, nothing to make"),
    }
}

/// `40 s`, `3 min`, `2.5 h`.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "1 s".into(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Draws the grid of what is there and says what became of the sweep.
fn finish(
    args: &SweepArgs,
    store: &Store,
    record: &SweepRecord,
    progress: SweepProgress,
    ran: LibResult<bool>,
    talk: Talk,
) -> Result<ExitCode> {
    let [made, there, elsewhere] = progress.counts;
    let mut parts = vec![format!("{made} made")];
    let others = [(there, "there already"), (elsewhere, "being made elsewhere"), (progress.failed.len(), "failed")];
    parts.extend(others.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
    let summary = format!("{} cells: {}", progress.total, parts.join(", "));
    match ran {
        Err(error) => {
            return Err(report::Noted { error, note: format!("{summary}; the same command goes on from here") }.into());
        }
        Ok(false) => {
            let note = format!("{summary}; the same command goes on from here");
            return Err(report::Noted { error: Error::Cancelled, note }.into());
        }
        Ok(true) => talk.say(&summary),
    }
    if !args.no_grid {
        draw(store, record, talk)?;
    }
    if !args.no_report {
        super::report::of_sweep(store.dir(), talk);
    }
    for (name, reason) in &progress.failed {
        say(format_args!("error: {name}: {reason}"));
    }
    if progress.failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    say("hint: the same command tries the failed cells again; their folders hold what was recorded");
    Ok(ExitCode::from(2))
}

/// The grid, its pages, or with more than three axes the table.
fn draw(store: &Store, record: &SweepRecord, talk: Talk) -> Result<()> {
    let table = store.alone(|| sheet::write_table(store))?;
    if record.axes.len() > 3 {
        let (titles, rows) = sheet::table(store, record);
        let mut printed = report::table(&titles.iter().map(String::as_str).collect::<Vec<_>>());
        rows.into_iter().for_each(|row| {
            printed.add_row(row);
        });
        report::print_table(&printed);
        talk.say(format!("table: {}", table.display()));
        talk.say(format!("next: sdviz grid {} --rows AXIS --cols AXIS", store.dir().display()));
        return Ok(());
    }
    let bar = report::bar(0, talk);
    let pages = store.alone(|| sheet::write_pages(store, &Layout::default(), &super::grid::progress(&bar)));
    bar.finish_and_clear();
    super::grid::print(&pages?, talk);
    talk.say(format!("next: sdviz grid {} --format gif", store.dir().display()));
    Ok(())
}

/// Tells the user of the cells, and moves the bar with every call of the model.
struct SweepProgress<'a> {
    axes: &'a [Axis],
    talk: Talk,
    bar: ProgressBar,
    total: usize,
    done: usize,
    /// Calls of the cells that are done.
    calls: u64,
    /// Made, there already, being made elsewhere.
    counts: [usize; 3],
    failed: Vec<(String, String)>,
}

impl<'a> SweepProgress<'a> {
    fn new(axes: &'a [Axis], groups: &[Vec<Cell>], talk: Talk) -> SweepProgress<'a> {
        let calls: usize = groups.iter().flatten().map(|c| c.calls).sum();
        let bar = say::bar(Some(calls as u64), "{bar:32} call {pos}/{len} [{elapsed}, {eta} left]", talk.quiet);
        let total = groups.iter().map(Vec::len).sum();
        SweepProgress { axes, talk, bar, total, done: 0, calls: 0, counts: [0; 3], failed: vec![] }
    }
}

impl CellReporter for SweepProgress<'_> {
    fn observer(&mut self) -> &mut dyn Observer {
        self
    }

    fn done(&mut self, cell: &Cell, outcome: &CellOutcome, seconds: f64) {
        self.done += 1;
        self.calls += cell.calls as u64;
        self.bar.set_position(self.calls);
        let name = cell.name(self.axes);
        let (counted, told) = match outcome {
            CellOutcome::Made => (Some(0), format!("{seconds:.1} s")),
            CellOutcome::There => (Some(1), "there already".into()),
            CellOutcome::Elsewhere => (Some(2), "being made by another process".into()),
            CellOutcome::Failed(reason) => {
                self.failed.push((name.clone(), reason.clone()));
                (None, format!("failed: {reason}"))
            }
        };
        if let Some(counted) = counted {
            self.counts[counted] += 1;
        }
        let line = format!("{}/{} {name}: {told}", self.done, self.total);
        self.bar.suspend(|| self.talk.say(line));
    }
}

impl Observer for SweepProgress<'_> {
    fn wants(&self, _: Ask) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event) -> LibResult<Flow> {
        if let Event::Step(step) = event {
            self.bar.set_position(self.calls + step.index as u64);
        }
        Ok(Flow::Continue)
    }
}
