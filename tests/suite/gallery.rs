//! The gallery: its page names commands that are understood, figures that were measured, and pictures that are there.

#[path = "../../examples/gallery/document.rs"]
mod document;
#[allow(dead_code)]
#[path = "../../examples/gallery/figures.rs"]
mod figures;
use crate::common::root;
use clap::Parser;
use figures::{Figure, Figures, Units, Values};
use sdviz::cli::args::{Cli, Command};
use sdviz::prelude::*;

/// The largest that all pictures together may be.
const MOST: u64 = 6_000_000;

fn page() -> String {
    std::fs::read_to_string(root("docs/gallery.md")).unwrap()
}

/// The page's commands; those of a loop once, with a number in the place of its variable.
fn commands() -> Vec<String> {
    let page = page();
    let lines = page.lines().filter_map(|line| line.strip_prefix("    ")).map(str::trim);
    lines.filter(|line| line.starts_with("sdviz ")).map(|line| line.replace("$k", "8")).collect()
}

#[test]
fn the_commands_are_understood() {
    let sd = Model::load("pocket").unwrap();
    let all = commands();
    assert!(all.len() > 20, "{all:?}");
    for line in all {
        let command =
            Cli::try_parse_from(shlex::split(&line).unwrap()).unwrap_or_else(|error| panic!("{line}: {error}")).command;
        let Command::Trace(trace) = command else { continue };
        let mut edits = trace.edits.edit.iter();
        let known = |edit: &&String| edit.parse::<Edit>().unwrap_or_else(|error| panic!("{line}: {error}"));
        edits.by_ref().for_each(|edit| drop(known(&edit)));
        // What needs no other run is resolved: its sites, words and steps are there.
        if let (None, true, Some(prompt)) = (&trace.branch, trace.donors.donor.is_empty(), &trace.prompt) {
            let drawing = trace.edits.edit.iter().fold(sd.draw(prompt), |drawing, edit| drawing.edit(edit));
            drawing.plan().unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}

#[test]
fn the_page_has_the_figures_that_were_measured() {
    let figures = Figures::read(&root("docs/gallery.json")).unwrap();
    let filled = document::fill(&page(), &figures).unwrap();
    assert!(
        filled == page(),
        "docs/gallery.md is not what docs/gallery.json says: `cargo run --example gallery -- --fill`"
    );
}

#[test]
fn the_pictures_are_there_and_small() {
    let page = page();
    let named: Vec<&str> = page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|path| path.ends_with(".png"))
        .collect();
    assert!(named.len() > 10);
    for path in named {
        assert!(root("docs").join(path).is_file(), "{path}");
    }
    let sizes =
        std::fs::read_dir(root("assets/gallery")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert!(sizes.sum::<u64>() < MOST);
}

#[test]
fn figures_are_means_of_subjects_with_their_errors() {
    let folder = tempfile::tempdir().unwrap();
    let units = Units::in_folder(folder.path());
    for (subject, seen) in [(0, vec![1.0, 1.0]), (1, vec![0.0, 0.5]), (2, vec![0.5])] {
        let mut values = Values { seeds: seen.len(), ..Values::default() };
        seen.into_iter().for_each(|value| values.push("object", value));
        values.push("nothing", f64::NAN);
        units.keep("03", subject, &values).unwrap();
    }
    assert!(units.has("03", 0, 2) && !units.has("03", 2, 2) && !units.has("03", 3, 1));
    let figures = units.figures().unwrap();
    // The means 1, 0.25, 0.5: their deviation is √(7/48), divided by √3.
    let found = figures.get("03", "object").unwrap();
    assert!((found.mean - 1.75 / 3.0).abs() < 1e-12 && (found.error - (7.0f64 / 144.0).sqrt()).abs() < 1e-12);
    assert_eq!((found.prompts, found.pictures, figures.get("03", "nothing")), (3, 5, None));
    figures.write(&folder.path().join("all.json")).unwrap();
    assert!((Figures::read(&folder.path().join("all.json")).unwrap().mean("03", "object") - found.mean).abs() < 1e-5);
}

#[test]
fn figures_are_filled_in_and_a_mark_without_one_is_an_error() {
    let mut figures = Figures::default();
    let figure = Figure { mean: 0.834, error: 0.021, prompts: 48, pictures: 384 };
    figures.0.entry("03".into()).or_default().insert("early.object".into(), figure);
    let fill = |text: &str| document::fill(text, &figures);
    assert_eq!(
        fill("in <!--03 early.object %-->?<!----> of <!--03 early.object n--><!----> pictures").unwrap(),
        "in <!--03 early.object %-->83 ± 2 %<!----> of <!--03 early.object n-->384<!----> pictures"
    );
    assert_eq!(fill("nothing").unwrap(), "nothing");
    let alone = Figure { mean: -0.004, error: 0.0, prompts: 1, pictures: 1 };
    figures.0.entry("16".into()).or_default().insert("gaussian".into(), alone);
    let fill = |text: &str| document::fill(text, &figures);
    assert_eq!(
        fill("<!--16 gaussian .2--><!---->, <!--16 gaussian of--><!---->").unwrap(),
        "<!--16 gaussian .2-->0.00<!---->, <!--16 gaussian of-->1 picture of 1 prompt<!---->"
    );
    figures.0.entry("05".into()).or_default().insert("all layers.early".into(), Figure { mean: -0.5, ..alone });
    assert_eq!(
        document::fill("<!--05 all layers.early %--><!---->", &figures).unwrap(),
        "<!--05 all layers.early %-->−50 %<!---->"
    );
    for broken in
        ["<!--03 late.object %--><!---->", "<!--03 early.object %-->", "<!--03 early.object ?--><!---->", "<!--x"]
    {
        assert!(document::fill(broken, &figures).is_err(), "{broken}");
    }
}
