//! The file itself: head with its content-security policy, style, the data as inert blocks, the script.
//!
//! Enters: what the page shows. Leaves: HTML. What comes from a run, prompts above all, is hostile text: it stands only in
//! JSON whose `<` are written `\u003c`, and escaped in the title.

use super::Report;
use super::SweepData;
use super::budget::Block;
use super::describe::RunData;
use crate::error::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::Path;

/// The front end, built from `web/`.
pub const PAGE_SCRIPT: &str = include_str!("../../../web/dist/page.js");
/// Its style sheet.
pub const PAGE_STYLE: &str = include_str!("../../../web/dist/page.css");
/// What the page shows until its script, which comes last, puts itself in its place: in a file that was cut short it never
/// does.
const UNTIL_THE_SCRIPT: &str = "<p>This page draws a recorded run with a script at its end. If this stays, the file was cut short, or scripts are switched off.</p>\
     <p lang=\"zh\">此页面由文件末尾的脚本绘制一次记录的运行。如果一直停在这里，说明文件不完整，或脚本已被禁用。</p>";
/// For what stands around the data, and what may yet come to it.
const MARGIN: u64 = 8_192;

/// How many bytes a page has beside its tensors and pictures.
///
/// # Errors
/// When the data cannot be written as JSON.
pub(super) fn fixed_size(runs: &[RunData], sweep: Option<&SweepData>) -> Result<u64> {
    let data = json(&runs)?.len() + json(&sweep)?.len();
    Ok((PAGE_SCRIPT.len() + PAGE_STYLE.len() + data) as u64 + MARGIN)
}

/// JSON that stands inside a script element: no `<` in it, so that neither `</script>` nor `<!--` can.
fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|e| Error::bad_file(Path::new("report"), "report's data", e))?;
    Ok(text.replace('<', "\\u003c"))
}

/// Text that stands between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// What the page may do: nothing but show its own data and run the one script that is in it.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(PAGE_SCRIPT.as_bytes()));
    format!(
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'"
    )
}

/// Writes the page.
///
/// # Errors
/// As [`fixed_size`].
pub(super) fn write(title: &str, report: &Report, blocks: &[Block]) -> Result<Vec<u8>> {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <title>{}</title>\n<style>{PAGE_STYLE}</style>\n</head>\n<body>\n\
         <div id=\"page\">{UNTIL_THE_SCRIPT}</div>\n<script type=\"application/json\" id=\"report\">{}</script>\n",
        policy(),
        escaped(title),
        json(report)?
    );
    html.reserve(blocks.iter().map(|block| block.text.len() + 100).sum::<usize>() + PAGE_SCRIPT.len());
    for Block { id, text } in blocks {
        html.push_str("<script type=\"text/plain\" id=\"");
        html.push_str(id);
        html.push_str("\">");
        html.push_str(text);
        html.push_str("</script>\n");
    }
    html.push_str("<script>");
    html.push_str(PAGE_SCRIPT);
    html.push_str("</script>\n</body>\n</html>\n");
    Ok(html.into_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_bundle_can_stand_in_a_page() {
        // Either would end the element, or have the browser look for another end.
        assert!(!PAGE_SCRIPT.contains("</script") && !PAGE_SCRIPT.contains("<script"));
        assert!(!PAGE_STYLE.contains("</style"));
    }

    #[test]
    fn no_markup_comes_out_of_data() {
        let hostile = "</script><script>alert(1)</script><!--";
        assert!(!json(&hostile).unwrap().contains('<'));
        assert_eq!(serde_json::from_str::<String>(&json(&hostile).unwrap()).unwrap(), hostile);
        assert_eq!(escaped("a <b> & \"c\""), "a &lt;b&gt; &amp; &quot;c&quot;");
    }
}
