//! The pictures of README.md and docs/: each is there, is made by a command of scripts/figures.toml that stands in its page,
//! and none lies about that no page shows.

use crate::common::root;
use clap::Parser;
use sdviz::cli::args::Cli;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The largest that what moves at the head of the README may be, in bytes.
const MOST_MOVING: u64 = 1_500_000;

#[derive(Deserialize)]
struct Table {
    figure: Vec<Figure>,
    elsewhere: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Figure {
    name: String,
    page: String,
    commands: String,
    pictures: BTreeMap<String, String>,
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn table() -> Table {
    toml::from_str(&text("scripts/figures.toml")).unwrap()
}

/// README.md, the pages of docs/, and the embedded model's card.
fn pages() -> Vec<String> {
    let docs = std::fs::read_dir(root("docs")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages = docs.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}"));
    pages.chain(["README.md", "assets/pocket/README.md"].map(String::from)).collect()
}

/// The pictures that a page shows, by their paths in the repository.
fn shown(page: &str) -> BTreeSet<String> {
    let folder = Path::new(page).parent().unwrap();
    let text = text(page);
    let after_names = text.split("![").skip(1).filter_map(|rest| rest.split_once(']')?.1.strip_prefix('('));
    let paths = after_names.filter_map(|rest| rest.split(')').next());
    let here = paths.filter(|path| !path.contains("://")).map(|path| match path.strip_prefix("../") {
        Some(above) => folder.parent().unwrap().join(above),
        None => folder.join(path),
    });
    here.map(|path| path.to_str().unwrap().to_string()).collect()
}

#[test]
fn every_picture_is_there_and_something_makes_it() {
    let Table { figure: figures, elsewhere } = table();
    let made: BTreeSet<&String> = figures.iter().flat_map(|figure| figure.pictures.keys()).collect();
    let mut all = BTreeSet::new();
    for page in pages() {
        for picture in shown(&page) {
            assert!(root(&picture).is_file(), "{page} shows {picture}, which is not there");
            let known = made.contains(&picture) || elsewhere.keys().any(|place| picture.starts_with(place));
            assert!(known, "nothing in scripts/figures.toml makes {picture}, which {page} shows");
            all.insert(picture);
        }
    }
    assert!(all.len() > 40, "{all:?}");
    let unused = made.into_iter().find(|picture| !all.contains(*picture));
    assert_eq!(unused, None, "no page shows it");
    for entry in std::fs::read_dir(root("assets/readme")).unwrap() {
        let path = format!("assets/readme/{}", entry.unwrap().file_name().to_str().unwrap());
        assert!(all.contains(&path), "no page shows {path}");
    }
}

#[test]
fn the_command_stands_where_the_picture_is_shown() {
    let (mut names, mut pictures) = (BTreeSet::new(), BTreeSet::new());
    for Figure { name, page, commands, pictures: its } in table().figure {
        assert!(names.insert(name.clone()), "{name} twice");
        let shown = shown(&page);
        for picture in its.into_keys() {
            assert!(shown.contains(&picture), "{name}: {page} does not show {picture}");
            assert!(pictures.insert(picture.clone()), "{picture} twice");
        }
        let last = commands.trim().lines().last().unwrap();
        assert!(text(&page).contains(last), "{name}: {page} lacks the command `{last}`");
    }
}

#[test]
fn the_commands_are_understood() {
    let mut understood = 0;
    for Figure { name, commands, .. } in table().figure {
        // Those in loops have the shell's words around them.
        for line in commands.lines().filter(|line| line.starts_with("sdviz ")) {
            Cli::try_parse_from(shlex::split(line).unwrap()).unwrap_or_else(|error| panic!("{name}: {line}: {error}"));
            understood += 1;
        }
    }
    assert!(understood > 20, "{understood}");
}

#[test]
fn what_moves_is_light() {
    let moving: Vec<String> = shown("README.md").into_iter().filter(|path| path.ends_with(".gif")).collect();
    assert!(!moving.is_empty(), "nothing moves in the README");
    for path in moving {
        let size = std::fs::metadata(root(&path)).unwrap().len();
        assert!(size < MOST_MOVING, "{path} has {size} bytes");
    }
}
