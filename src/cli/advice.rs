//! What a run's user is told unasked, because it is easily overlooked: words that the model never learned, a negative
//! prompt that nobody reads, a seed that was drawn, what to look at next.
//!
//! Enters: a checked run and its model. Leaves: lines of text, which the verbs say.

use super::args::{Seed, TraceArgs};
use super::report::Talk;
use crate::model::about::{About, Repertoire};
use crate::pipeline::Pipeline;
use crate::record::conditions::PromptSyntax;
use crate::record::plan::{Decode, Plan, Quantity};
use crate::record::schema::RunRecord;
use std::path::Path;

/// So many unknown words are named, and the others counted.
const NAMED_WORDS: usize = 8;
/// How wide a list of things may become.
const LIST_WIDTH: usize = 100;

/// Tells what is worth knowing of a run that begins now.
pub fn before(args: &TraceArgs, record: &RunRecord, pipeline: &Pipeline, talk: Talk) {
    let plan = &record.plan;
    if args.seed == Some(Seed::Random) {
        talk.say(format!("seed: {}, drawn at random; `--seed {}` draws this picture again", plan.seed, plan.seed));
    }
    let typed = (args.steps.is_some(), args.guidance_scale.is_some());
    few_steps(pipeline, typed).iter().for_each(|line| talk.say(line));
    if plan.prompt.trim().is_empty() {
        talk.say("the prompt is empty: the picture is drawn without one");
    }
    // Parts that `AND` joins are weighed against the negative prompt whatever the scale.
    let parts = record.conditions.iter().flat_map(|conditions| &conditions.prompt);
    let joined = parts.map(|part| part.weight).collect::<Vec<_>>();
    if joined.is_empty() || joined == [1.0] {
        unused_negative_prompts(&[plan]).iter().for_each(|warning| talk.warn(warning));
    }
    unknown_words((&plan.prompt, &plan.negative_prompt), plan.prompt_syntax, pipeline, talk);
}

/// What a model of few steps is drawn with where steps or guidance scale were not `typed`, and why. What the model says
/// itself in its `sdviz.json` goes before it, and needs no word.
pub fn few_steps(pipeline: &Pipeline, (steps, scale): (bool, bool)) -> Option<String> {
    let (few, about) = (pipeline.few_steps()?, pipeline.about());
    let used = [
        (!steps && about.steps.is_none()).then(|| (format!("{} steps", few.steps), "--steps")),
        (!scale && about.guidance_scale.is_none())
            .then(|| (format!("guidance scale {}", few.guidance_scale), "--guidance-scale")),
    ];
    let (values, flags): (Vec<String>, Vec<String>) =
        used.into_iter().flatten().map(|(value, flag)| (value, format!("`{flag}`"))).unzip();
    let take = if flags.len() == 1 { "takes another" } else { "take others" };
    let line = || format!("few steps: {} ({}); {} {take}", values.join(", "), few.why, flags.join(" and "));
    (!values.is_empty()).then(line)
}

/// A word on the plans whose negative prompt no prediction is made with.
pub fn unused_negative_prompts(plans: &[&Plan]) -> Option<String> {
    let unused = |plan: &&&Plan| plan.guidance_scale <= 1.0 && !plan.negative_prompt.trim().is_empty();
    let scales: Vec<f64> = plans.iter().filter(unused).map(|plan| plan.guidance_scale).collect();
    let what = match scales.len() {
        0 => return None,
        n if n == plans.len() => "the negative prompt is not used".to_string(),
        n => format!("the negative prompt is not used in {n} of {} cells", plans.len()),
    };
    let most = scales.into_iter().fold(0.0, f64::max);
    Some(format!("{what}: that takes a guidance scale above 1, and it is {most}"))
}

/// Warns of the words of prompt and negative prompt that the model has never seen, if it is one that says what it knows.
pub fn unknown_words((prompt, negative): (&str, &str), syntax: PromptSyntax, pipeline: &Pipeline, talk: Talk) {
    let model = pipeline.model();
    // What a LoRA has taught the model is known to nobody here.
    let Some(draws) = pipeline.about().draws.as_ref().filter(|_| model.loras.is_empty()) else { return };
    let added: Vec<&str> = model.embeddings.iter().map(|embedding| embedding.name.as_str()).collect();
    let unknown = draws.unknown_words(&format!("{prompt}\n{negative}"), syntax, &added);
    if unknown.is_empty() {
        return;
    }
    let told = |word: &String| match draws.singular(word) {
        Some(one) => format!("`{word}` (but `{one}`)"),
        None => format!("`{word}`"),
    };
    let named: Vec<String> = unknown.iter().take(NAMED_WORDS).map(told).collect();
    let more = match unknown.len() - named.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let stray = if draws.names_a_thing(prompt) { "" } else { ", and the prompt names nothing that it draws" };
    talk.warn(format!("`{}` has never seen {}{more}{stray}", model.id, named.join(", ")));
    talk.say(format!(
        "hint: it draws {}, as in \"{}\": `sdviz models` lists them; for anything else name a larger model with `--model`",
        draws.size(),
        draws.example
    ));
}

/// What a model says of itself, for a person: its steps, its guidance scale and all that it draws, unless another model that was told
/// of draws the same. Empty for one that says nothing.
pub fn about(name: &str, about: &About, same_as: Option<&str>) -> String {
    let mut parts = vec![];
    match (&about.draws, same_as) {
        (Some(_), Some(other)) => parts.push(format!("{name} draws what {other} draws")),
        (Some(draws), None) => parts.push(repertoire(name, draws)),
        (None, _) => {}
    }
    let own = [
        about.steps.map(|n| format!("{n} steps")),
        about.guidance_scale.map(|scale| format!("guidance scale {scale}")),
    ];
    let own: Vec<String> = own.into_iter().flatten().collect();
    if !own.is_empty() {
        let others = if about.steps.is_some() { "others are" } else { "another is" };
        parts.push(format!("{name}: {} unless {others} asked for", own.join(", ")));
    }
    parts.join("\n")
}

fn repertoire(name: &str, draws: &Repertoire) -> String {
    let things = draws.things.iter().filter_map(|names| {
        let (first, others) = names.split_first()?;
        Some(if others.is_empty() { first.clone() } else { format!("{first} ({})", others.join(", ")) })
    });
    let mut text = format!("{name} draws {}, as in \"{}\":\n", draws.size(), draws.example);
    let lists =
        [("things", things.collect()), ("backgrounds", draws.backgrounds.clone()), ("styles", draws.styles.clone())];
    for (title, words) in lists.into_iter().filter(|(_, words): &(_, Vec<String>)| !words.is_empty()) {
        text += &wrapped(&format!("  {title}: "), &words);
    }
    text.trim_end().into()
}

/// A list behind its title, in lines that are not too long, the later ones set in.
fn wrapped(title: &str, words: &[String]) -> String {
    let mut lines = vec![title.to_string()];
    for (i, word) in words.iter().enumerate() {
        let word = if i + 1 < words.len() { format!("{word}, ") } else { word.clone() };
        match lines.last_mut() {
            Some(line) if line.len() + word.trim_end().len() <= LIST_WIDTH => line.push_str(&word),
            _ => lines.push(format!("    {word}")),
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The verbs that make most of what a run recorded.
pub fn next_steps(plan: &Plan, out: &Path) -> String {
    let recorded = |wanted: &[Quantity]| wanted.iter().all(|what| plan.record.contains(what));
    let verbs = [
        ("filmstrip", matches!(plan.decode, Decode::Every(_)) && plan.decode_what.contains(&Quantity::Latents)),
        ("latents", recorded(&[Quantity::Latents])),
        ("plot", recorded(&[Quantity::NoiseUncond, Quantity::NoiseText])),
        ("shapes", true),
    ];
    let verbs: Vec<&str> = verbs.into_iter().filter(|(_, worth)| *worth).map(|(verb, _)| verb).collect();
    let out = out.display().to_string();
    let out = if out.contains(char::is_whitespace) { format!("'{out}'") } else { out };
    let all = if verbs.len() > 1 { format!("; sdviz export {out} --all makes everything") } else { String::new() };
    let verbs: Vec<String> = verbs.iter().map(|verb| format!("sdviz {verb} {out}")).collect();
    format!("{}{all}", verbs.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn next_comes_what_the_record_is_good_for() {
        let all = Plan { record: Quantity::ALL.to_vec(), ..Plan::default() };
        assert_eq!(
            next_steps(&all, Path::new("run")),
            "sdviz filmstrip run, sdviz latents run, sdviz plot run, sdviz shapes run; sdviz export run --all makes everything"
        );
        let nothing = Plan { record: vec![], decode: Decode::Final, ..all };
        assert_eq!(next_steps(&nothing, Path::new("my run")), "sdviz shapes 'my run'");
    }

    #[test]
    fn long_lists_are_wrapped() {
        let words: Vec<String> = (0..30).map(|i| format!("word {i}")).collect();
        let text = wrapped("  things: ", &words);
        assert!(text.lines().count() == 3 && text.lines().all(|line| line.len() <= LIST_WIDTH), "{text}");
        assert!(text.starts_with("  things: word 0, word 1,") && text.ends_with("word 28, word 29\n"), "{text}");
    }
}
