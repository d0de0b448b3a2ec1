//! Letters of every script in figures: Chinese prompts, emoji, and what no font has.

use crate::common::{sdviz_in, stderr, succeeded};
use crate::synthetic_run::Made;
use std::path::Path;
use std::process::Output;

const PROMPT: &str = "一只红苹果 🍎 りんご 사과";

/// A run without a model, with a prompt.
fn run(home: &Path, name: &str, prompt: &str) {
    let folder = Made::default().write(&home.join(name));
    let path = folder.join("run.json");
    let mut record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    record["plan"]["prompt"] = prompt.into();
    std::fs::write(path, record.to_string()).unwrap();
}

fn sdviz(home: &Path, arguments: &[&str]) -> Output {
    succeeded(sdviz_in(home, arguments), &arguments)
}

#[test]
fn chinese_japanese_korean_and_emoji_are_letters() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    // As many signs, other ones: as boxes they would look alike.
    for (name, prompt) in [("one", PROMPT), ("two", "一只红苹里 🍊 りんこ 사자")] {
        run(home, name, prompt);
        for arguments in [
            &["plot", name, "--what", "schedule", "--format", "png,svg,pdf"][..],
            &["filmstrip", name, "--frames", "3"],
            &["latents", name, "--sheet"],
        ] {
            assert_eq!(stderr(&sdviz(home, arguments)).matches("no font").count(), 0, "{arguments:?}");
        }
    }
    for file in ["plot-schedule.png", "filmstrip-images.png", "latents-sheet.png"] {
        let [one, two] = ["one", "two"].map(|name| image::open(home.join(name).join("exports").join(file)).unwrap());
        let (one, two) = (one.to_rgb8(), two.to_rgb8());
        let different = one.pixels().zip(two.pixels()).filter(|(a, b)| a != b).count();
        assert!(one.dimensions() == two.dimensions() && different > 40, "{file}: {different} pixels");
    }
    let svg = std::fs::read_to_string(home.join("one/exports/plot-schedule.svg")).unwrap();
    assert!(svg.contains(PROMPT) && svg.contains("DejaVu Sans, Noto Sans CJK SC, Noto Emoji, Verdana"), "{svg}");
}

#[test]
fn a_pdf_brings_its_fonts_and_keeps_its_text() {
    let home = tempfile::tempdir().unwrap();
    run(home.path(), "run", PROMPT);
    sdviz(home.path(), &["plot", "run", "--what", "schedule", "--format", "pdf"]);
    let bytes = std::fs::read(home.path().join("run/exports/plot-schedule.pdf")).unwrap();
    assert!(bytes.starts_with(b"%PDF-"));
    let there = |words: &str| bytes.windows(words.len()).any(|window| window == words.as_bytes());
    // A map back to characters is what makes text of glyphs.
    for words in ["DejaVuSans", "NotoSansCJKsc", "NotoEmoji", "/ToUnicode", "/MediaBox[0 0 800 450]"] {
        assert!(there(words), "the PDF lacks {words}");
    }
    assert!(bytes.len() < 200_000, "whole fonts are in it: {} bytes", bytes.len());
}

#[test]
fn what_no_font_has_is_named() {
    let home = tempfile::tempdir().unwrap();
    // U+0378 is no character at all, so that no system's font has it.
    run(home.path(), "run", "an \u{378}");
    for arguments in [&["plot", "run", "--what", "schedule"][..], &["filmstrip", "run"]] {
        let said = stderr(&sdviz(home.path(), arguments));
        assert!(said.contains("warning: no font here has \u{378} (U+0378)"), "{said}");
        assert!(said.contains("hint: install a font"), "{said}");
    }
    let quiet = sdviz(home.path(), &["--quiet", "filmstrip", "run"]);
    assert_eq!(stderr(&quiet), "");
}
