//! `sdviz report`: what stands in the page, what a budget does to it, and that no prompt becomes markup.

mod attention;

use crate::common::{sdviz_in, stderr, stdout};
use crate::synthetic_run::Made;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::f16;
use sdviz::export::report::{self, NamedRun, PAGE_SCRIPT, ReportOptions};
use sdviz::record::plan::Quantity;
use sdviz::trace::reader::Run;
use sdviz::viz::colour::ColourMap;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;
use std::process::Output;

fn page_of(dirs: &[&Path], limit: Option<u64>) -> String {
    let named = |dir: &&Path| NamedRun { name: report::folder_name(dir), run: Run::open(dir).unwrap() };
    let runs: Vec<NamedRun> = dirs.iter().map(named).collect();
    let page = report::page(&runs, None, ReportOptions { limit, batch: 0 }).unwrap();
    String::from_utf8(page.html).unwrap()
}

/// The text of a block.
fn block<'a>(html: &'a str, id: &str) -> Option<&'a str> {
    let from = html.find(&format!("id=\"{id}\">"))? + id.len() + 6;
    Some(&html[from..from + html[from..].find("</script>")?])
}

fn data(html: &str) -> Value {
    serde_json::from_str(block(html, "report").unwrap()).unwrap()
}

/// A tensor's block as the page reads it.
fn numbers(text: &str, dtype: &str) -> Vec<f32> {
    let mut planes = vec![];
    flate2::read::DeflateDecoder::new(STANDARD.decode(text).unwrap().as_slice()).read_to_end(&mut planes).unwrap();
    let size = if dtype == "f32" { 4 } else { 2 };
    let count = planes.len() / size;
    let bytes = |i: usize| (0..size).map(|plane| planes[plane * count + i]).collect::<Vec<u8>>();
    let number = |bytes: Vec<u8>| match dtype {
        "f32" => f32::from_le_bytes(bytes.try_into().unwrap()),
        _ => f16::from_le_bytes(bytes.try_into().unwrap()).to_f32(),
    };
    (0..count).map(|i| number(bytes(i))).collect()
}

fn sdviz(arguments: &[&str], folder: &Path) -> Output {
    sdviz_in(folder, arguments)
}

#[test]
fn everything_recorded_comes_back_bit_for_bit() {
    let home = tempfile::tempdir().unwrap();
    let dir = Made { x0: true, ..Made::default() }.write(&home.path().join("run"));
    let html = page_of(&[&dir], Some(10_000_000));
    let run = Run::open(&dir).unwrap();
    let shown = &data(&html)["runs"][0];
    assert_eq!(shown["steps"], serde_json::json!([0, 1, 2, 3, 4]));
    assert_eq!(shown["record"]["plan"]["prompt"], "a red apple");
    assert_eq!(shown["reduced"], serde_json::json!([]));
    assert_eq!(shown["tensors"]["latents"]["dtype"], "f32");
    for (step, what) in [(0, Quantity::Latents), (3, Quantity::Latents), (3, Quantity::PredictedOriginal)] {
        let text = block(&html, &format!("t-0-{what}-{step}")).unwrap();
        let recorded: Vec<f32> = run.tensor(step, what, 0).unwrap().unwrap().iter().copied().collect();
        assert_eq!(numbers(text, "f32"), recorded, "{what} of step {step}");
    }
    let picture = STANDARD.decode(block(&html, "p-0-predicted_original-3").unwrap()).unwrap();
    assert_eq!(picture, std::fs::read(dir.join("steps/003-x0.png")).unwrap());
    assert!(block(&html, "t-0-predicted_original-0").is_none() && block(&html, "f-0").is_none());
}

#[test]
fn the_range_is_the_one_that_the_exporter_found() {
    let home = tempfile::tempdir().unwrap();
    let dir = Made { scaled: true, ..Made::default() }.write(&home.path().join("run"));
    let html = page_of(&[&dir], None);
    assert!(sdviz(&["latents", "run", "--format", "apng"], home.path()).status.success());
    let record = std::fs::read_to_string(dir.join("exports/latents-012.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let range = &data(&html)["runs"][0]["tensors"]["latents"]["ranges"]["run"];
    assert_eq!((&range[0], &range[1]), (&record["range"]["lo"], &record["range"]["hi"]));
}

/// The script comes last: of a file that was cut short nothing else is left to say so.
#[test]
fn a_page_that_was_cut_short_says_so() {
    let home = tempfile::tempdir().unwrap();
    let html = page_of(&[&Made::default().write(&home.path().join("run"))], None);
    for whole in [html.len() * 6 / 10, html.len() - 50_000] {
        let cut = String::from_utf8_lossy(&html.as_bytes()[..whole]).into_owned();
        let shown = cut.split_once("<div id=\"page\">").and_then(|(_, rest)| rest.split_once("</div>")).unwrap().0;
        assert!(shown.contains("If this stays, the file was cut short, or scripts are switched off."), "{shown}");
        assert!(shown.contains("文件不完整") && !shown.contains("<noscript"), "{shown}");
    }
}

#[test]
fn a_prompt_becomes_no_markup() {
    const HOSTILE: &str = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> \u{2028} & \"q\"";
    let home = tempfile::tempdir().unwrap();
    let dir = Made::default().write(&home.path().join("run"));
    let path = dir.join("run.json");
    let mut record: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    record["plan"]["prompt"] = HOSTILE.into();
    record["plan"]["negative_prompt"] = HOSTILE.into();
    record["model"]["id"] = HOSTILE.into();
    std::fs::write(&path, record.to_string()).unwrap();
    let evil = home.path().join("<img src=x onerror=alert(1)>");
    std::fs::rename(&dir, &evil).unwrap();
    let html = page_of(&[&evil, &evil], Some(10_000_000));
    let outside = html.replace(PAGE_SCRIPT, "");
    assert!(!outside.contains("<script>alert") && !outside.contains("<img") && !outside.contains("<!--"));
    assert_eq!(data(&html)["runs"][0]["record"]["plan"]["prompt"], HOSTILE);
    // Every script is inert but the last, whose hash the policy names.
    let scripts: Vec<&str> = outside.match_indices("<script").map(|(at, _)| &outside[at..at + 30]).collect();
    let (last, inert) = scripts.split_last().unwrap();
    assert!(last.starts_with("<script></script>"));
    assert!(
        inert
            .iter()
            .all(|tag| tag.starts_with("<script type=\"text/plain\"")
                || tag.starts_with("<script type=\"application/js"))
    );
    let hash = STANDARD.encode(Sha256::digest(PAGE_SCRIPT.as_bytes()));
    assert!(html.contains("default-src 'none'") && html.contains(&format!("script-src 'sha256-{hash}'")));
}

#[test]
fn a_budget_is_kept_and_said() {
    let home = tempfile::tempdir().unwrap();
    // 41 steps at 256×256, of noise: near the worst there is to compress.
    let made = Made { width: 256, height: 256, calls: 40, last: 40, x0: true, linear: true, ..Made::default() };
    let dir = made.write(&home.path().join("run"));
    let whole = page_of(&[&dir], None);
    let whole_size = whole.len() as u64;
    let mut sizes = vec![];
    for limit in [whole_size * 3 / 4, whole_size / 2, whole_size / 3, 500_000] {
        let html = page_of(&[&dir], Some(limit));
        assert!(html.len() as u64 <= limit, "{} of {limit}", html.len());
        assert!(!data(&html)["runs"][0]["reduced"].as_array().unwrap().is_empty(), "{limit}");
        sizes.push(html.len());
    }
    assert!(sizes.windows(2).all(|pair| pair[0] > pair[1]), "{sizes:?}");
    // Half of it: tensors in half precision, none left out.
    let half = page_of(&[&dir], Some(whole_size / 2));
    let shown = &data(&half)["runs"][0];
    let latents = &shown["tensors"]["latents"];
    let text = block(&half, "t-0-latents-7").unwrap();
    let recorded = Run::open(&dir).unwrap().tensor(7, Quantity::Latents, 0).unwrap().unwrap();
    let kept = numbers(text, latents["dtype"].as_str().unwrap());
    assert!(recorded.iter().zip(&kept).all(|(a, b)| (a - b).abs() <= a.abs() / 1000.0 + 1e-4));
    assert_eq!(shown["tensors"]["predicted_original"]["dtype"], "f16");
    assert_eq!(shown["pictures"]["latents"]["steps"].as_array().unwrap().len(), 41);
    // A page of which nothing is left to reduce says what it would take.
    let named = NamedRun { name: "run".into(), run: Run::open(&dir).unwrap() };
    let refused = report::page(&[named], None, ReportOptions { limit: Some(1000), batch: 0 }).unwrap_err();
    assert!(refused.to_string().contains("may have 1000"), "{refused}");
    assert!(refused.hint().unwrap().contains("--budget"));
}

#[test]
fn what_follows_from_the_rest_is_not_held() {
    let home = tempfile::tempdir().unwrap();
    let arguments = ["--quiet", "trace", "--prompt", "a red apple", "--steps", "3", "--out", "run", "--no-report"];
    let traced = sdviz(&arguments, home.path());
    assert!(traced.status.success(), "{}", stderr(&traced));
    let dir = home.path().join("run");
    let whole = page_of(&[&dir], Some(10_000_000));
    assert!(data(&whole)["runs"][0]["tensors"].as_object().unwrap().values().all(|kept| kept["derived"] == false));
    // Room for four fifths of the tensors, which get two thirds of it, beside the rest and its margin.
    let spent = |what: &str| data(&whole)["budget"][what].as_u64().unwrap();
    let rest = whole.len() as u64 - spent("tensors") - spent("pictures") + 8192;
    let html = page_of(&[&dir], Some(rest + spent("tensors") * 4 / 5 * 3 / 2));
    let tensors = &data(&html)["runs"][0]["tensors"];
    assert_eq!(
        (&tensors["noise_guided"]["derived"], &tensors["predicted_original"]["derived"]),
        (&true.into(), &true.into())
    );
    assert_eq!(tensors["noise_guided"]["steps"], tensors["noise_text"]["steps"]);
    assert!(block(&html, "t-0-noise_guided-1").is_none() && block(&html, "t-0-noise_text-1").is_some());
}

#[test]
fn the_pages_colours_are_the_exporters() {
    let table: Value = serde_json::from_str(include_str!("../../web/src/maths/colour_maps.json")).unwrap();
    for map in ColourMap::ALL.into_iter().filter(|map| *map != ColourMap::Grey) {
        let hex = table[map.name()].as_str().unwrap();
        for place in 0..256 {
            let at =
                |part: usize| u8::from_str_radix(&hex[6 * place + 2 * part..6 * place + 2 * part + 2], 16).unwrap();
            assert_eq!([at(0), at(1), at(2)], map.at((place as f64 + 0.5) / 256.0).0, "{map} at {place}");
        }
    }
}

#[test]
fn a_trace_writes_its_report_unless_told_not_to() {
    let home = tempfile::tempdir().unwrap();
    let trace = |out: &str, more: &[&str]| {
        let arguments = [&["trace", "--prompt", "a red apple", "--steps", "1", "--out", out], more].concat();
        let done = sdviz(&arguments, home.path());
        assert!(done.status.success(), "{}", stderr(&done));
        String::from_utf8(done.stderr).unwrap()
    };
    assert!(trace("run", &[]).contains("report: run/index.html"));
    assert!(home.path().join("run/index.html").is_file());
    assert!(!trace("run-2", &["--no-report"]).contains("report:"));
    assert!(!home.path().join("run-2/index.html").exists());
    // The same as the verb writes.
    let before = std::fs::read(home.path().join("run/index.html")).unwrap();
    let again = sdviz(&["report", "run", "--out", "again.html"], home.path());
    assert_eq!(stdout(&again), "again.html\n");
    assert_eq!(std::fs::read(home.path().join("again.html")).unwrap(), before);
    // Two runs in one page.
    assert!(sdviz(&["report", "run", "run-2"], home.path()).status.success());
    let both = std::fs::read_to_string(home.path().join("report.html")).unwrap();
    assert_eq!(data(&both)["runs"][1]["name"], "run-2");
}

#[test]
fn a_sweep_is_a_page_too() {
    let home = tempfile::tempdir().unwrap();
    let swept = sdviz(
        &["sweep", "--prompt", "a red apple", "--steps", "1,2", "--guidance-scale", "1,4", "--out", "s", "--no-grid"],
        home.path(),
    );
    assert!(stderr(&swept).contains("report: s/index.html"));
    let html = std::fs::read_to_string(home.path().join("s/index.html")).unwrap();
    let report = data(&html);
    assert_eq!(report["sweep"]["axes"][0]["labels"], serde_json::json!(["1", "2"]));
    assert_eq!(report["sweep"]["axes"][1]["title"], "guidance scale");
    for cell in report["sweep"]["cells"].as_array().unwrap() {
        let run = &report["runs"][cell["run"].as_str().unwrap().parse::<usize>().unwrap()];
        let steps = cell["at"][0].as_u64().unwrap() + 1;
        assert_eq!(run["record"]["plan"]["steps"], steps, "{}", run["name"]);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let home = tempfile::tempdir().unwrap();
    Made::default().write(&home.path().join("run"));
    for (arguments, message) in [
        (vec!["report", "nowhere"], "`nowhere` is not a run"),
        (vec!["report", "run", "--budget", "0"], "cannot keep a report within `0` megabytes"),
        (vec!["report", "run", "--budget", "nan"], "cannot keep a report within `NaN` megabytes"),
        (vec!["report", "run", "--out", "run"], "`run` is a folder"),
        (vec!["report", "run", "--batch", "3"], "the batch has no picture 3"),
        (vec!["report", "run", "--budget", "0.01"], "bytes at the least, and may have 10000"),
    ] {
        let refused = sdviz(&arguments, home.path());
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(message) && said.contains("hint: "), "{arguments:?}: {said}");
    }
    assert!(!home.path().join("run/index.html").exists());
}
