//! What README and docs tell is there: each command is one the program takes, and what is cheap is run; each `make` target
//! exists, each link leads somewhere.

#[cfg(unix)]
mod running;

use clap::Parser;
use clap::error::ErrorKind;
use sdviz::cli::args::{Cli, Command};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every page: README, CONTRIBUTING, `docs`, the cards beside what is shipped.
fn pages() -> Vec<(PathBuf, String)> {
    let mut found = vec![];
    for folder in
        [".", "docs", "docs/zh", "assets", "assets/pocket", "assets/judge", "notebooks-rs", "python", "tests/goldens"]
    {
        let Ok(entries) = std::fs::read_dir(Path::new(ROOT).join(folder)) else { continue };
        found.extend(
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "md")),
        );
    }
    found.sort();
    let read = |path: PathBuf| (std::fs::read_to_string(&path).unwrap(), path);
    found.into_iter().map(read).map(|(text, path)| (path, text)).collect()
}

fn name(path: &Path) -> String {
    path.strip_prefix(ROOT).unwrap().display().to_string()
}

/// The command lines of a page's blocks, each in one line, and those in its sentences.
fn commands(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut blocks, mut sentences, mut fenced) = (vec![], vec![], false);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            let mut whole = line.trim().to_string();
            while let Some(begun) = whole.strip_suffix('\\') {
                whole = format!("{} {}", begun.trim_end(), lines.next().unwrap_or_default().trim());
            }
            blocks.push(whole);
        } else {
            sentences.extend(line.split('`').skip(1).step_by(2).map(str::to_string));
        }
    }
    (blocks, sentences)
}

/// The words of a command of this program, without what a shell does before and after it; `None` for any other.
fn words(command: &str, program: &str) -> Option<Vec<String>> {
    let words = shlex::split(command)?;
    let is_setting = |word: &String| {
        word.split_once('=').is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
    };
    let mut words =
        words.into_iter().skip_while(|word| is_setting(word) || ["$", "time", "nice"].contains(&word.as_str()));
    (words.next()? == program).then(|| {
        let ends = |word: &String| ["|", "&&", ";", "&", ">", ">>", "2>", "2>&1", "<"].contains(&word.as_str());
        words.take_while(|word| !ends(word)).collect()
    })
}

/// Why the program would not take these words. Of a command in a sentence something may be left out.
fn refusal(words: &[String], is_whole: bool) -> Option<String> {
    // `…` stands for whatever else is asked for, unless it is a flag's value; a variable's value is a number or a text.
    let is_left_out = |i: usize| words[i] == "…" && !words[..i].last().is_some_and(|before| before.starts_with('-'));
    let is_whole = is_whole && !(0..words.len()).any(is_left_out);
    let kept = (0..words.len()).filter(|i| !is_left_out(*i)).map(|i| match words[i].as_str() {
        variable if variable.starts_with('$') => "1",
        choice if !is_whole && !choice.contains(' ') => choice.split('|').next().unwrap_or(choice),
        word => word,
    });
    match Cli::try_parse_from(["sdviz"].into_iter().chain(kept)) {
        Ok(Cli { command: Command::Other(words), .. }) => {
            let name = words[0].to_string_lossy().into_owned();
            // A verb that a plug-in brings.
            (!["NAME", "spread", "again"].contains(&name.as_str())).then(|| format!("there is no verb `{name}`"))
        }
        Ok(_) => None,
        Err(error) if !is_whole && error.to_string().starts_with("error: a value is required for") => None,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                if !is_whole =>
            {
                None
            }
            _ => Some(error.to_string().lines().next().unwrap_or_default().to_string()),
        },
    }
}

#[test]
fn every_command_of_the_docs_is_one_that_the_program_takes() {
    let (mut wrong, mut count) = (vec![], 0);
    for (path, text) in pages() {
        let (blocks, sentences) = commands(&text);
        for (command, is_whole) in blocks.iter().map(|c| (c, true)).chain(sentences.iter().map(|c| (c, false))) {
            let Some(words) = words(command, "sdviz") else { continue };
            count += 1;
            if let Some(why) = refusal(&words, is_whole) {
                wrong.push(format!("{}: {command}\n    {why}", name(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 300, "only {count} commands were found");
}

#[test]
fn every_make_target_of_the_docs_exists() {
    let makefile = std::fs::read_to_string(Path::new(ROOT).join("Makefile")).unwrap();
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', ' ', '#', '.']))
        .filter_map(|line| line.split_once(':').filter(|(_, rest)| !rest.starts_with('=')))
        .flat_map(|(targets, _)| targets.split_whitespace())
        .collect();
    let mut wrong = vec![];
    for (path, text) in pages() {
        let (blocks, sentences) = commands(&text);
        for command in blocks.iter().chain(&sentences) {
            let named = words(command, "make").into_iter().flatten().filter(|word| !word.contains(['=', '…']));
            wrong.extend(
                named
                    .filter(|word| !targets.contains(word.as_str()))
                    .map(|word| format!("{}: make {word}", name(&path))),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names by which a page's headings can be linked to, as code hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    let mut fenced = false;
    let mut is_heading = |line: &&str| {
        fenced ^= line.trim_start().starts_with("```");
        !fenced && line.starts_with('#')
    };
    text.lines().filter(|line| is_heading(line)).map(heading).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = vec![];
    for (path, text) in pages() {
        let (folder, mut fenced) = (path.parent().unwrap(), false);
        for line in text.lines() {
            fenced ^= line.trim_start().starts_with("```");
            if fenced || line.starts_with("    ") {
                continue;
            }
            // What stands between two backticks is no link.
            let prose: String = line.split('`').step_by(2).collect();
            for target in prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (file, anchor) =
                    target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
                let file = if file.is_empty() { path.clone() } else { folder.join(file) };
                let there = anchor.is_none_or(|anchor| {
                    std::fs::read_to_string(&file).is_ok_and(|text| anchors(&text).contains(anchor))
                });
                if !file.exists() || !there {
                    wrong.push(format!("{}: {target}", name(&path)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
