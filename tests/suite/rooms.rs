//! The order of the rooms: nothing imports from a room to its right. CONTRIBUTING.md shows the same order. Within a room no
//! two modules need each other.

use crate::common::root;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// From left to right.
const ROOMS: [&str; 29] = [
    // These stand in `crates/base`.
    "arithmetic",
    "numbers",
    "units",
    "error",
    "viz",
    "encode",
    "say",
    "files",
    "record",
    "watch",
    "scheduler",
    "model",
    "prompt",
    "edit",
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
    "serve",
    "cli",
    "lib",
    "main",
];

/// The source folders: what all stand on, and the rooms.
fn houses() -> [PathBuf; 2] {
    ["crates/base/src", "src"].map(root)
}

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
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut wrong = vec![];
    for (source, file) in houses().iter().flat_map(|house| sources(house).into_iter().map(move |file| (house, file))) {
        let within = file.strip_prefix(source).unwrap();
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

/// The modules that a file lists behind a feature.
fn behind_a_feature(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let module = |pair: &[&str]| {
        let name = pair[1].strip_prefix("pub mod ")?.strip_suffix(';')?;
        pair[0].starts_with("#[cfg(feature").then(|| name.to_string())
    };
    lines.windows(2).filter_map(module).collect()
}

/// Without libtorch the library reads, draws and exports runs: what is left of it names nothing that is not.
#[test]
fn what_reads_a_run_needs_no_libtorch() {
    let source = root("src");
    let read = |name: &str| std::fs::read_to_string(source.join(name)).unwrap();
    let (rooms, of_trace) = (behind_a_feature(&read("lib.rs")), behind_a_feature(&read("trace/mod.rs")));
    assert!(rooms.contains(&"model".into()) && of_trace.contains(&"writer".into()), "{rooms:?} {of_trace:?}");
    let mut wrong = vec![];
    for file in sources(&source) {
        let within = file.strip_prefix(&source).unwrap().with_extension("");
        let parts: Vec<_> = within.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let of_the_program = ["main", "spin", "lib", "prelude", "scheduler"].contains(&parts[0].as_str());
        let hidden = parts[0] == "trace" && parts.get(1).is_some_and(|module| of_trace.contains(module));
        if of_the_program || rooms.contains(&parts[0]) || hidden {
            continue;
        }
        let text = read(&format!("{}.rs", within.display()));
        let mut named = rooms_named(&text);
        named.retain(|room| rooms.contains(room) && room != "scheduler");
        named.extend(modules_named("trace", 9, &text).into_iter().filter(|module| of_trace.contains(module)));
        if !named.is_empty() {
            wrong.push(format!("{} names {named:?}", within.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The modules of a room that a file's own code speaks of, `depth` folders below the room. What it hands on (`pub use`)
/// is another name for the same thing, and no arrow.
fn modules_named(room: &str, depth: usize, text: &str) -> BTreeSet<String> {
    let own = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let code = own.lines().filter(|line| !line.trim_start().starts_with("//") && !line.starts_with("pub use"));
    let (code, up) = (code.collect::<Vec<_>>().join("\n"), "super::".repeat(depth));
    let after = |place: &str| {
        let ends = code.match_indices(place).filter(|(at, _)| !code[..*at].ends_with("::"));
        ends.map(|(at, _)| at + place.len()).collect::<Vec<_>>()
    };
    let starts = after(&up).into_iter().chain(after(&format!("crate::{room}::")));
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    // `super::{a, b::{…}}` names what stands at the first level of its braces.
    let mut named = BTreeSet::new();
    for rest in starts.map(|at| &code[at..]) {
        let (mut level, mut first) = (0, true);
        for (at, c) in rest.char_indices() {
            match c {
                '{' => (level, first) = (level + 1, level == 0),
                '}' => level -= 1,
                ',' if level == 1 => first = true,
                c if first && (c.is_alphanumeric() || c == '_') => {
                    named.insert(word(&rest[at..]));
                    first = false;
                }
                _ => {}
            }
            if level == 0 && !first {
                break;
            }
        }
    }
    named.remove("super");
    named
}

/// A way from a module back to itself.
fn loop_in(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn follow(arrows: &BTreeMap<String, BTreeSet<String>>, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        let Some(here) = way.last().cloned() else { return false };
        for next in arrows.get(&here).into_iter().flatten().filter(|next| **next != here) {
            if let Some(start) = way.iter().position(|module| module == next) {
                way.drain(..start);
                return true;
            }
            if !done.contains(next) {
                way.push(next.clone());
                if follow(arrows, way, done) {
                    return true;
                }
            }
        }
        done.insert(here);
        way.pop();
        false
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|start| {
        let mut way = vec![start.clone()];
        (!done.contains(start) && follow(arrows, &mut way, &mut done)).then_some(way)
    })
}

/// The modules of a room have an order too: each can be read without those that need it. A registry, `mod.rs`, and the
/// modules that it lists know each other.
#[test]
fn no_modules_of_a_room_need_each_other() {
    let rooms = houses().into_iter().flat_map(|house| std::fs::read_dir(house).unwrap().flatten());
    let rooms = rooms.filter(|entry| entry.path().is_dir());
    let mut loops = vec![];
    for room in rooms {
        let name = room.file_name().into_string().unwrap();
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in sources(&room.path()) {
            let within = file.strip_prefix(room.path()).unwrap().with_extension("");
            let parts: Vec<_> = within.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            let parts: Vec<_> = parts.into_iter().filter(|part| part != "mod").collect();
            if let Some(module) = parts.first() {
                let named = modules_named(&name, parts.len(), &std::fs::read_to_string(&file).unwrap());
                arrows.entry(module.clone()).or_default().extend(named);
            }
        }
        loops.extend(loop_in(&arrows).map(|way| format!("{name}: {}", way.join(" → "))));
    }
    assert!(loops.is_empty(), "{loops:#?}");
}

#[test]
fn a_loop_is_seen() {
    let text = "use super::b::{C, D};\nuse super::{d, e::{F, g}};\npub use super::h;\nfn f() { crate::room::i::j(); super::super::k() }";
    let named = |depth| modules_named("room", depth, text).into_iter().collect::<Vec<_>>();
    assert_eq!(
        (named(1), named(2)),
        (["b", "d", "e", "i"].map(String::from).into(), ["i", "k"].map(String::from).into())
    );
    let arrows = |list: &[(&str, &[&str])]| {
        let all = list.iter().map(|(from, to)| (from.to_string(), to.iter().map(|to| to.to_string()).collect()));
        loop_in(&all.collect())
    };
    assert_eq!(arrows(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &["a1"])]), None);
    let way = arrows(&[("a", &["b"]), ("b", &["c"]), ("c", &["d", "b"])]).unwrap();
    assert_eq!(way, ["b", "c"]);
}

#[test]
fn the_order_is_the_one_that_is_told() {
    let told = std::fs::read_to_string(root("CONTRIBUTING.md")).unwrap();
    let rows = told.lines().filter_map(|line| line.strip_prefix("| `src/")?.split(['/', '.', '`']).next());
    let rows: Vec<&str> = rows.collect();
    let order: Vec<&str> = ROOMS.into_iter().filter(|room| rows.contains(room)).collect();
    assert_eq!(rows, order);
    let folders = std::fs::read_dir(root("src")).unwrap().flatten();
    let folders = folders.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    let untold: Vec<String> = folders.filter(|room| !rows.contains(&room.as_str())).collect();
    assert!(untold.is_empty(), "{untold:?}");
}
