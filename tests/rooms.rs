//! The order of the rooms: nothing imports from a room to its right. CONTRIBUTING.md shows the same order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

/// From left to right.
const ROOMS: [&str; 25] = [
    "arithmetic",
    "units",
    "error",
    "say",
    "files",
    "record",
    "watch",
    "viz",
    "scheduler",
    "model",
    "prompt",
    "pipeline",
    "trace",
    "run",
    "export",
    "show",
    "sweep",
    "dataset",
    "eval",
    "train",
    "draw",
    "prelude",
    "cli",
    "lib",
    "main",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let within = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false => vec![path],
    };
    entries.flat_map(within).filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}

/// The rooms that a file's own code speaks of: its tests may look anywhere.
fn rooms_named(text: &str) -> Vec<String> {
    let own = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let code = own.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = code.flat_map(|line| line.split("crate::").skip(1).map(String::from).collect::<Vec<_>>());
    let word = |rest: String| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    // `crate::{…}` names none: it has to be written out.
    named.map(word).collect()
}

#[test]
fn nothing_imports_from_a_room_to_its_right() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut wrong = vec![];
    for file in sources(&source) {
        let within = file.strip_prefix(&source).unwrap();
        let room = within.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        // What belongs to the program alone.
        if room == "spin" {
            continue;
        }
        let own = place(&room).unwrap_or_else(|| panic!("the room `{room}` has no place in the order"));
        for named in rooms_named(&std::fs::read_to_string(&file).unwrap()) {
            if place(&named).is_none_or(|other| other > own) {
                wrong.push(format!("{} names `{named}`", within.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An arrow to the right is seen, in one line or in several, and those of tests are not.
#[test]
fn an_arrow_that_turns_is_seen() {
    let text = "use crate::error::Result;\nfn a() { crate::cli::b() }\n// crate::train\n#[cfg(test)]\nmod t { use crate::eval; }\n";
    assert_eq!(rooms_named(text), ["error", "cli"]);
}

#[test]
fn the_order_is_the_one_that_is_told() {
    let told = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("CONTRIBUTING.md")).unwrap();
    let rows = told.lines().filter_map(|line| line.strip_prefix("| `src/")?.split(['/', '.', '`']).next());
    let rows: Vec<&str> = rows.collect();
    let order: Vec<&str> = ROOMS.into_iter().filter(|room| rows.contains(room)).collect();
    assert_eq!(rows, order);
    let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap().flatten();
    let folders = folders.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    let untold: Vec<String> = folders.filter(|room| !rows.contains(&room.as_str())).collect();
    assert!(untold.is_empty(), "{untold:?}");
}
