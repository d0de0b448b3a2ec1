//! What a run was asked for, in words: what stands above and below its figures.
//!
//! Enters: runs. Leaves: `“a red apple” · PNDM · 25 steps · guidance 7.5 · seed 0 · pocket` of one run; of several what
//! they have in common, and for each what sets it apart, which is its name in the figure.

use crate::record::plan::Plan;
use crate::record::schema::Status;
use crate::scheduler::SchedulerKind;
use crate::trace::reader::Run;
use crate::units::count;
use std::path::Path;

/// Between two settings.
const BETWEEN: &str = " · ";
/// Characters of a prompt in the name of a run among others.
const IN_A_NAME: usize = 40;

/// A setting of a run.
#[derive(Debug, Clone, PartialEq)]
struct Setting {
    /// In words; none where the run does without.
    said: Option<String>,
    /// What is said instead beside a run that does not.
    otherwise: &'static str,
    /// Whether it is said only where runs differ in it.
    hidden: bool,
}

impl Setting {
    fn of(said: String) -> Setting {
        Setting { said: Some(said), otherwise: "", hidden: false }
    }

    fn perhaps(said: Option<String>, otherwise: &'static str) -> Setting {
        Setting { said, otherwise, hidden: false }
    }

    fn words(&self) -> String {
        self.said.clone().unwrap_or_else(|| self.otherwise.into())
    }
}

/// All settings of a run that shape its pictures, always as many and in one order. Prompts have at most `length`
/// characters.
fn settings(run: &Run, batch: usize, length: usize) -> Vec<Setting> {
    let (record, plan) = (run.record(), &run.record().plan);
    // Without guidance nothing is stayed away from.
    let negative = (record.is_guided() && !plan.negative_prompt.trim().is_empty())
        .then(|| format!("not “{}”", shortened(&plan.negative_prompt, length)));
    let eta = if plan.eta == 0.0 { String::new() } else { format!(", η {}", plan.eta) };
    let sigmas = plan.sigmas.map_or(String::new(), |sigmas| format!(", {sigmas} sigmas"));
    let zero = if plan.zero_terminal_snr { ", zero terminal SNR" } else { "" };
    let calls = (record.calls() != plan.steps && record.calls() > 0).then(|| count(record.calls(), "model call"));
    let loras: Vec<String> = record.model.loras.iter().map(|l| format!("{} × {}", l.name(), l.weight)).collect();
    let vae = record.model.components.iter().find_map(|component| component.from.as_deref());
    let mut all = vec![
        Setting::of(format!("“{}”", shortened(&plan.prompt, length))),
        Setting::perhaps(negative, "no negative prompt"),
        Setting::perhaps(begun(plan), "from noise"),
        Setting::perhaps(plan.mask.as_ref().map(|f| format!("mask {}", f.file)), "no mask"),
        Setting::of(format!("{}{sigmas}{zero}{eta}", scheduler_name(&plan.scheduler))),
        Setting::of(count(plan.steps, "step")),
        Setting { hidden: calls.is_none(), ..Setting::of(calls.unwrap_or_else(|| "a model call a step".into())) },
        Setting::perhaps(plan.hires.map(|hires| format!("then {}× larger", hires.scale)), "no second pass"),
        Setting::of(format!("guidance {}", plan.guidance_scale)),
        Setting::of(format!("seed {}", plan.seed.wrapping_add(batch as u64))),
        Setting { hidden: true, ..Setting::of(format!("{}×{}", plan.width, plan.height)) },
        Setting::perhaps((!loras.is_empty()).then(|| format!("LoRA {}", loras.join(", "))), "no LoRA"),
        Setting::perhaps((plan.clip_skip != 1).then(|| format!("CLIP skip {}", plan.clip_skip)), "no CLIP skip"),
        Setting { hidden: plan.prompt_syntax.is_plain(), ..Setting::of(format!("{} syntax", plan.prompt_syntax)) },
        Setting::perhaps(vae.map(|name| format!("VAE {}", last_part(name))), "the model’s VAE"),
        Setting::perhaps(branched(plan, length), "no branch"),
        Setting::perhaps(Some(last_part(&record.model.id)).filter(|name| !name.is_empty()), "another model"),
    ];
    all.push(Setting { hidden: record.status == Status::Complete, ..Setting::of(record.status.to_string()) });
    all
}

/// What it begins with, where that is not seeded noise: a picture, which it may only look into, or an inversion.
fn begun(plan: &Plan) -> Option<String> {
    let file = plan.init_image.as_ref().map(|picture| picture.file.as_str());
    Some(match (&plan.start, &plan.inversion, &plan.look, file) {
        (Some(parent), ..) => format!("from step {} of {}", parent.step, last_part(&parent.run)),
        (None, Some(inversion), _, Some(file)) if inversion.refine > 0 => {
            format!("inversion of {file}, refined {} times", inversion.refine)
        }
        (None, Some(_), _, Some(file)) => format!("inversion of {file}"),
        (None, None, Some(_), Some(file)) => format!("a look into {file}"),
        (.., file) => {
            let strength = plan.strength.map(|strength| format!(", strength {strength}")).unwrap_or_default();
            format!("from {}{strength}", file?)
        }
    })
}

/// Which step of which run it goes on from, and what that was asked to draw, if it was something else.
fn branched(plan: &Plan, length: usize) -> Option<String> {
    let parent = plan.branch.as_ref()?;
    let other = parent.plan.prompt != plan.prompt;
    let before = if other { format!(" “{}”", shortened(&parent.plan.prompt, length)) } else { String::new() };
    Some(format!("from step {} of{} {}", parent.step, before, last_part(&parent.run)))
}

/// What a run was asked for, in one line. Prompts have at most `length` characters.
pub fn about(run: &Run, batch: usize, length: usize) -> String {
    common(&[run], batch, length)
}

/// What several runs have in common, in one line.
pub fn common(runs: &[&Run], batch: usize, length: usize) -> String {
    let all: Vec<Vec<Setting>> = runs.iter().map(|run| settings(run, batch, length)).collect();
    let Some(first) = all.first() else { return String::new() };
    let agreed = |place: &usize| all.iter().all(|other| other[*place].said == first[*place].said);
    let shared = (0..first.len()).filter(agreed).map(|place| &first[place]).filter(|setting| !setting.hidden);
    shared.filter_map(|setting| setting.said.clone()).collect::<Vec<_>>().join(BETWEEN)
}

/// A name for each run: the settings that are not those of all the others. Where two agree in all of them, the folder's
/// name tells them apart; a run alone has its folder's name.
pub fn names(runs: &[&Run], batch: usize) -> Vec<String> {
    let all: Vec<Vec<Setting>> = runs.iter().map(|run| settings(run, batch, IN_A_NAME)).collect();
    let whole: Vec<Vec<Setting>> = runs.iter().map(|run| settings(run, batch, usize::MAX)).collect();
    let differs = |place: &usize| whole.iter().any(|other| other[*place].said != whole[0][*place].said);
    let places: Vec<usize> = (0..whole.first().map_or(0, Vec::len)).filter(differs).collect();
    let own: Vec<String> =
        all.iter().map(|run| places.iter().map(|p| run[*p].words()).collect::<Vec<_>>().join(BETWEEN)).collect();
    let unique = |name: &str, names: &[String]| names.iter().filter(|other| *other == name).count() == 1;
    let folders = folders(runs);
    let name = |(own_name, folder): (&String, &String)| match (own_name.as_str(), unique(own_name, &own)) {
        ("", _) => folder.clone(),
        (_, true) => own_name.clone(),
        _ => format!("{own_name} ({folder})"),
    };
    own.iter().zip(&folders).map(name).collect()
}

/// The folder's name of each run, or its path where two have one name; for runs in memory their place among the others.
fn folders(runs: &[&Run]) -> Vec<String> {
    let last = |run: &Run| Some(run.dir()?.file_name()?.to_string_lossy().into_owned());
    let unique = |name: &String| runs.iter().filter(|run| last(run).as_ref() == Some(name)).count() == 1;
    let otherwise = |place: usize, run: &Run| match run.dir() {
        Some(dir) => dir.display().to_string(),
        None => format!("run {}", place + 1),
    };
    let name = |(place, run): (usize, &&Run)| last(run).filter(unique).unwrap_or_else(|| otherwise(place, run));
    runs.iter().enumerate().map(name).collect()
}

/// A scheduler as people write it: `DPM++ 2M Karras`. Web UIs call PNDM by its older name.
pub fn scheduler_name(name: &str) -> String {
    match SchedulerKind::parse(name) {
        Ok(SchedulerKind::Pndm) => "PNDM".into(),
        Ok(kind) => kind.a1111_name().into(),
        Err(_) => name.into(),
    }
}

/// `1 step`, `25 steps`.
fn last_part(path: &str) -> String {
    Path::new(path).file_name().map_or(path.into(), |name| name.to_string_lossy().into_owned())
}

/// At most `length` characters, cut at a word where there is one.
pub fn shortened(text: &str, length: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= length {
        return text;
    }
    // One more than there is room for: where that is a space, a word ends just in time.
    let start: String = text.chars().take(length).collect();
    let last = start.char_indices().next_back().map_or(0, |(at, _)| at);
    let cut = start.rfind(' ').filter(|at| *at > length / 2).unwrap_or(last);
    format!("{}…", start[..cut].trim_end_matches([',', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_prompts_are_cut_at_a_word() {
        assert_eq!(shortened("a red apple", 44), "a red apple");
        assert_eq!(shortened("a painting of a squirrel, eating a burger", 26), "a painting of a squirrel…");
        assert_eq!(shortened("ääääääääää", 5), "ääää…");
    }

    #[test]
    fn schedulers_have_their_proper_names() {
        let names = ["pndm", "euler_a", "dpmpp_2m_karras", "unipc", "of-tomorrow"].map(scheduler_name);
        assert_eq!(names, ["PNDM", "Euler a", "DPM++ 2M Karras", "UniPC", "of-tomorrow"]);
    }
}
