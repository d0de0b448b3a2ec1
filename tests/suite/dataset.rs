//! Data sets: the same bytes from the same seed, captions that say what the pictures show, and what the user is told.

use crate::common::{self, root, sdviz};
use sdviz::dataset::build::Composer;
use sdviz::dataset::caption::fill;
use sdviz::dataset::config::Config;
use sdviz::dataset::manifest::Dataset;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Output;

fn icons() -> PathBuf {
    root("tests/icons")
}

fn build(out: &Path, seed: &str, count: &str, more: &[&str]) -> Output {
    let (icons, config) = (icons(), icons().join("dataset.toml"));
    let folders = ["--out", out.to_str().unwrap(), "--icons", icons.to_str().unwrap()];
    let rest = ["--config", config.to_str().unwrap(), "--seed", seed, "--count", count];
    sdviz(&[&["dataset", "build"], &folders[..], &rest, more].concat())
}

/// The error and its hint, without the folders of this machine.
fn complaint(output: &Output, folder: &Path) -> String {
    let text = common::complaint(output, &"").replace(folder.to_str().unwrap(), "FOLDER");
    text.replace(icons().to_str().unwrap(), "ICONS").trim_end().to_string()
}

/// Every file of a folder with its bytes, by name.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = vec![];
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(dir).unwrap().to_path_buf();
                found.push((name, std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b, c, shorter] = ["a", "b", "c", "shorter"].map(|name| folder.path().join(name));
    for (out, seed, count) in [(&a, "5", "70"), (&b, "5", "70"), (&c, "6", "70"), (&shorter, "5", "9")] {
        assert!(build(out, seed, count, &[]).status.success());
    }
    assert_eq!(files(&a).len(), 72);
    assert!(files(&a) == files(&b));
    let rows = |dir: &Path| Dataset::read(dir).unwrap().rows;
    assert_ne!(rows(&a), rows(&c));
    // A shorter set is the beginning of a longer one.
    assert_eq!(rows(&a)[..9], rows(&shorter));
}

#[test]
fn every_combination_is_there_once_and_pictures_show_what_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("data");
    let count = 8 * 2 * 4;
    assert!(build(&out, "1", &count.to_string(), &[]).status.success());
    let data = Dataset::read(&out).unwrap();
    assert_eq!(data.rows.len(), count);
    let cells: HashSet<_> = data.rows.iter().map(|r| (&r.object, &r.style, &r.background)).collect();
    assert_eq!(cells.len(), count);
    let config = &data.manifest.config;
    for row in &data.rows {
        let picture = image::open(out.join(&row.file_name)).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (64, 64));
        let background = config.backgrounds.iter().find(|b| b.name == row.background).unwrap();
        let others = |x: u32, y: u32| picture.get_pixel(x, y).0 != background.rgb;
        assert!(!others(0, 0) && !others(63, 63), "{row:?}");
        // What is not background is as long as the row says, and where it says.
        let drawn: Vec<_> = (0..64).flat_map(|y| (0..64).map(move |x| (x, y))).filter(|&(x, y)| others(x, y)).collect();
        let span =
            |values: Vec<u32>| (*values.iter().min().unwrap() as f64, *values.iter().max().unwrap() as f64 + 1.0);
        let (left, right) = span(drawn.iter().map(|p| p.0).collect());
        let (top, bottom) = span(drawn.iter().map(|p| p.1).collect());
        let longer = (right - left).max(bottom - top);
        assert!((longer - row.scale * 64.0).abs() <= 3.0, "{longer} {row:?}");
        assert!(((left + right) / 2.0 - 32.0 - row.x * 64.0).abs() <= 2.0, "{row:?}");
        assert!(((top + bottom) / 2.0 - 32.0 - row.y * 64.0).abs() <= 2.0, "{row:?}");
        // A caption names nothing that is not there.
        for other in config.backgrounds.iter().filter(|b| b.name != row.background) {
            assert!(!row.text.contains(&other.name), "{row:?}");
        }
        assert!(config.styles.iter().all(|s| s.word == row.style || !row.text.contains(&s.word)), "{row:?}");
        let object = config.objects.iter().find(|o| o.names[0] == row.object).unwrap();
        assert!(object.names.iter().any(|name| row.text.contains(name.as_str())), "{row:?}");
        assert!(!row.text.contains("a airplane") && !row.text.contains("a cherries"), "{row:?}");
    }
    let sources: Vec<_> = data.manifest.sources.iter().map(|s| (&*s.about.package, &*s.about.licence)).collect();
    assert_eq!(sources, [("fluent-emoji-flat", "MIT"), ("noto", "Apache-2.0")]);
    assert!(data.manifest.sources.iter().all(|s| s.drawings == 8 && !s.about.author.is_empty()));

    let sheet = folder.path().join("sheet.png");
    let made = sdviz(&["dataset", "sheet", out.to_str().unwrap(), "--count", "5", "--out", sheet.to_str().unwrap()]);
    assert!(made.status.success());
    let page = image::open(sheet).unwrap().to_rgb8();
    assert!(page.width() > 5 * 64 && page.height() > 64, "{:?}", page.dimensions());
}

/// Two things stand left and right as the caption says; a thing in another colour has that colour, and says so; a drawing
/// that is turned and mirrored keeps its place.
#[test]
fn pairs_and_other_colours_are_what_the_list_says() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(icons().join("dataset.toml")).unwrap();
    let text = text.replace("shift = 0.06", "shift = 0.06\nmirror = true\nturn = 8");
    let text = text.replace("icon = \"red-heart\"", "icon = \"red-heart\", noun = \"heart\"");
    let text = text.replace("package = \"noto\"", "package = \"noto\", outline = 0.05, outline_rgb = [255, 0, 255]");
    let more = "
[pairs]
share = 0.4
scale = [0.38, 0.48]
captions = [{ text = \"{a} {object} and {a} {second} on {an} {background} background\", weight = 1 }]
[recolour]
share = 0.7
named = 1.0
colours = [{ name = \"blue\", rgb = [50, 110, 230] }]
";
    let config = folder.path().join("more.toml");
    std::fs::write(&config, format!("{text}{more}")).unwrap();
    let composer = Composer::new(Config::read(&config).unwrap(), &icons()).unwrap();
    let cells = composer.cells(1, 192);
    let (mut pairs, mut blue) = (0, 0);
    for (number, cell) in cells.iter().enumerate() {
        let (picture, row) = composer.picture(1, number, *cell);
        let ground = composer.config().backgrounds[cell.background].rgb;
        let drawn = |x: u32, y: u32| picture.get_pixel(x, y).0.iter().zip(ground).any(|(a, b)| a.abs_diff(b) > 8);
        let (left, right): (Vec<_>, Vec<_>) = (0..64)
            .flat_map(|y| (0..64).map(move |x| (x, y)))
            .filter(|&(x, y)| drawn(x, y))
            .partition(|&(x, _)| x < 32);
        if let Some(second) = &row.second_object {
            pairs += 1;
            assert!(row.x < 0.0 && row.second_x.unwrap() > 0.0 && row.second_scale.unwrap() <= 0.49, "{row:?}");
            assert!(left.len() > 40 && right.len() > 40, "{row:?}");
            assert!(
                !row.text.contains('{') && !row.text.contains("a airplane") && !row.text.contains("a cherries"),
                "{row:?}"
            );
            let and = row.text.find(" and ").unwrap();
            let named = |object: &str, part: &str| {
                let known = composer.config().objects.iter().find(|o| o.names[0] == object);
                known.map_or(part.contains(object), |o| o.names.iter().any(|name| part.contains(name.as_str())))
            };
            assert!(named(&row.object, &row.text[..and]) && named(second, &row.text[and..]), "{row:?}");
        } else if row.colour.is_some() {
            blue += 1;
            assert_eq!((&*row.object, row.colour.as_deref()), ("heart", Some("blue")));
            assert!(row.text.contains("blue heart"), "{row:?}");
            let (x, y) = ((32.0 + row.x * 64.0) as u32, (32.0 + row.y * 64.0) as u32);
            let [red, _, blue] = picture.get_pixel(x, y).0;
            assert!(blue > 150 && red < 120, "{row:?} {:?}", picture.get_pixel(x, y));
        } else if row.style == "noto" {
            assert!(picture.pixels().filter(|p| p.0[0] > 200 && p.0[1] < 60 && p.0[2] > 200).count() > 30, "{row:?}");
        }
    }
    assert!((48..110).contains(&pairs) && blue > 4, "{pairs} pairs, {blue} blue");
    let judged = sdviz::eval::judge::Classes::of(composer.config(), sdviz::eval::judge::Of::Object);
    let rows: Vec<_> = cells.iter().enumerate().map(|(i, cell)| composer.picture(1, i, *cell).1).collect();
    let plain = |row: &&sdviz::dataset::manifest::Row| row.second_object.is_none() && row.colour.is_none();
    assert_eq!(rows.iter().filter(|row| judged.fits(row)).count(), rows.iter().filter(plain).count());

    std::fs::write(&config, format!("{text}{}", more.replace("0.48]", "0.6]"))).unwrap();
    let refused = Config::read(&config).unwrap_err().to_string();
    assert!(refused.contains("pairs.scale is [0.38, 0.6]"), "{refused}");
}

#[test]
fn articles_and_plurals() {
    let caption = "{a} {style} {object} on {an} {background} background";
    for (name, plural, style, background, expected) in [
        ("airplane", false, "flat", "blue", "a flat airplane on a blue background"),
        ("cat", false, "old", "orange", "an old cat on an orange background"),
        ("cherries", true, "flat", "blue", "flat cherries on a blue background"),
    ] {
        assert_eq!(fill(caption, name, plural, style, background), expected);
    }
    assert_eq!(fill("{a} {object}", "airplane", false, "", ""), "an airplane");
}

#[test]
fn the_embedded_description_is_sound() {
    let config = Config::pocket().unwrap();
    assert_eq!((config.objects.len(), config.styles.len(), config.backgrounds.len()), (48, 4, 8));
    assert_eq!(config.size, 128);
    // Backgrounds can be told apart.
    let far = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).map(|(a, b)| a.abs_diff(b)).max().unwrap();
    for (i, a) in config.backgrounds.iter().enumerate() {
        assert!(config.backgrounds[..i].iter().all(|b| far(a.rgb, b.rgb) > 60), "{}", a.name);
    }
}

#[test]
fn what_is_missing_is_said_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("data");
    let here = folder.path().to_str().unwrap();
    let nowhere = sdviz(&["dataset", "build", "--out", out.to_str().unwrap(), "--icons", here]);
    insta::assert_snapshot!("dataset_no_icons", complaint(&nowhere, folder.path()));

    let write = |name: &str, from: &str, to: &str| {
        let path = folder.path().join(name);
        let text = std::fs::read_to_string(icons().join("dataset.toml")).unwrap();
        assert!(text.contains(from));
        std::fs::write(&path, text.replace(from, to)).unwrap();
        path
    };
    let with = |config: &Path| {
        let (icons, config) = (icons(), config.to_str().unwrap());
        let (out, icons) = (out.to_str().unwrap(), icons.to_str().unwrap());
        sdviz(&["dataset", "build", "--out", out, "--icons", icons, "--config", config])
    };
    let unknown = write("unknown.toml", "icon = \"cat-face\"", "icon = \"cat-fase\"");
    insta::assert_snapshot!("dataset_unknown_icon", complaint(&with(&unknown), folder.path()));
    let brace = write("brace.toml", "{object}, {style} style", "{thing}, {style} style");
    insta::assert_snapshot!("dataset_bad_caption", complaint(&with(&brace), folder.path()));
    let field = write("field.toml", "shift = 0.06", "shifted = 0.06");
    insta::assert_snapshot!("dataset_bad_field", complaint(&with(&field), folder.path()));
    assert!(!out.exists(), "nothing was begun");

    assert!(build(&out, "1", "3", &[]).status.success());
    insta::assert_snapshot!("dataset_not_empty", complaint(&build(&out, "1", "3", &[]), folder.path()));
    std::fs::write(out.join("mine.txt"), "kept").unwrap();
    assert!(build(&out, "1", "2", &["--force"]).status.success());
    assert_eq!(files(&out).len(), 5, "two pictures, their list, the manifest, and what was not ours");
    let sheet = sdviz(&["dataset", "sheet", here]);
    insta::assert_snapshot!("dataset_none", complaint(&sheet, folder.path()));
}

#[test]
fn order_is_balanced() {
    let config = Config::read(&icons().join("dataset.toml")).unwrap();
    let composer = Composer::new(config, &icons()).unwrap();
    let cells = composer.cells(3, 64 * 3);
    let key = |i: usize| (cells[i].object, cells[i].style, cells[i].background);
    for round in 0..3 {
        assert_eq!((64 * round..64 * (round + 1)).map(key).collect::<HashSet<_>>().len(), 64);
    }
    assert!((0..64).any(|i| key(i) != key(i + 64)), "each round has an order of its own");
}
