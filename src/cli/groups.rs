//! The verbs in groups, as `sdviz --help` lists them. clap knows headings for flags, not for verbs: a template has them.
//!
//! Enters: the command line as clap derives it. Leaves: the same with its own list of verbs, in which each has the line that
//! it has in `args.rs`. A verb that no group names stands in the last one; a test says that there is none.

use clap::Command;
use comfy_table::Table;

/// What one can do, and the verbs for it, in the order in which one comes to need them.
const GROUPS: [(&str, &[&str]); 7] = [
    ("Draw and record", &["trace", "sweep", "serve", "invert", "look"]),
    (
        "Look at a run",
        &["report", "shapes", "latents", "filmstrip", "video", "frames", "plot", "preview", "export", "metadata"],
    ),
    ("Compare", &["diff", "grid", "schedule"]),
    ("Look inside", &["tokens", "attention", "attribution", "features", "ablate", "patch", "effects"]),
    ("Models", &["models", "inspect", "fetch", "convert", "merge", "schedulers"]),
    ("Train and measure", &["dataset", "train", "eval"]),
    ("The program itself", &["plugins", "completions", "man", "help"]),
];

/// clap's own line for the verb that it adds.
const HELP: (&str, &str) = ("help", "Print this message or the help of a verb");
/// The widest that help is written, as `args::Cli` has it.
const WIDEST: usize = 100;
/// Columns before a verb's name.
const INDENT: usize = 2;

/// The command line with its verbs in groups.
pub fn grouped(command: Command) -> Command {
    let width = Table::new().width().map_or(WIDEST, |columns| usize::from(columns).clamp(40, WIDEST));
    let list = list(&command, width);
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{list}\n{{options}}{{after-help}}"
    ))
}

/// All groups, each with its heading.
fn list(command: &Command, width: usize) -> String {
    let verbs = verbs(command);
    let column = INDENT + 2 + verbs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let header = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let mut text = String::new();
    let last = GROUPS.len() - 1;
    for (place, (heading, names)) in GROUPS.iter().enumerate() {
        text += &format!("\n{header}{heading}:{header:#}\n");
        let listed = names.iter().filter_map(|name| verbs.iter().find(|(verb, _)| verb == name));
        let left = verbs.iter().filter(|(verb, _)| place == last && !is_grouped(verb));
        for (name, about) in listed.chain(left) {
            let gap = " ".repeat(column - INDENT - name.len());
            let about = wrapped(about, width.saturating_sub(column)).join(&format!("\n{}", " ".repeat(column)));
            text += &format!("{}{literal}{name}{literal:#}{gap}{about}\n", " ".repeat(INDENT));
        }
    }
    text + &format!("\n{header}Options:{header:#}")
}

/// The verbs that can be typed, with their lines.
fn verbs(command: &Command) -> Vec<(String, String)> {
    let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let line = |verb: &Command| verb.get_about().map(ToString::to_string).unwrap_or_default();
    let mut verbs: Vec<(String, String)> = shown.map(|verb| (verb.get_name().to_string(), line(verb))).collect();
    if verbs.iter().all(|(name, _)| name != HELP.0) {
        verbs.push((HELP.0.into(), HELP.1.into()));
    }
    verbs
}

fn is_grouped(name: &str) -> bool {
    GROUPS.iter().any(|(_, names)| names.contains(&name))
}

/// Words in lines of at most `width` characters, but for longer words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::args::Cli;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    #[test]
    fn every_verb_stands_in_one_group() {
        let command = Cli::command();
        let true_list: BTreeSet<String> = verbs(&command).into_iter().map(|(name, _)| name).collect();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let once: BTreeSet<String> = grouped.iter().map(ToString::to_string).collect();
        assert_eq!(grouped.len(), once.len(), "a verb stands in two groups");
        let without_page = |name: &String| cfg!(feature = "serve") || name != "serve";
        assert_eq!(once.into_iter().filter(without_page).collect::<BTreeSet<_>>(), true_list);
    }

    #[test]
    fn help_has_every_verb_with_its_own_line_and_no_line_is_too_long() {
        let mut command = grouped(Cli::command());
        let lines: Vec<(String, String)> = verbs(&command);
        let help = command.render_help().to_string();
        for (name, about) in lines {
            let first = about.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
            let found = help.lines().any(|line| {
                line.trim_start().strip_prefix(&name).is_some_and(|rest| rest.trim_start().starts_with(&first))
            });
            assert!(found, "{name}: {help}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= WIDEST), "{help}");
        assert!(help.contains("--quiet") && help.contains("Usage: sdviz"), "{help}");
    }

    #[test]
    fn lines_are_wrapped_between_words() {
        assert_eq!(wrapped("a bb ccc dddd", 4), ["a bb", "ccc", "dddd"]);
        assert_eq!(wrapped("longer than", 3), ["longer", "than"]);
    }
}
