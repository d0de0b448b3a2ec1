//! How a value is shown in a notebook: evcxr reads blocks of one MIME type each from standard output.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::Write;

/// Shows bytes of a MIME type, or what went wrong in making them, with a plain text for who shows no pictures.
pub(crate) fn bytes(mime: &str, bytes: crate::error::Result<Vec<u8>>, plain: &str) {
    match bytes {
        Ok(bytes) => print(&[("text/plain", plain), (mime, &STANDARD.encode(bytes))]),
        Err(error) => print(&[("text/plain", &format!("{plain}\nerror: {error}"))]),
    }
}

/// Shows HTML, with a plain text for who shows none.
pub(crate) fn html(html: &str, plain: &str) {
    print(&[("text/plain", plain), ("text/html", html)]);
}

/// Shows a plain text.
pub(crate) fn plain(text: &str) {
    print(&[("text/plain", text)]);
}

/// Prints all blocks at once, so that what another thread prints does not come between them.
fn print(blocks: &[(&str, &str)]) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away is no error.
    let _ = out.write_all(bundle(blocks).as_bytes()).and_then(|()| out.flush());
}

fn bundle(blocks: &[(&str, &str)]) -> String {
    let block = |(mime, content): &(&str, &str)| format!("EVCXR_BEGIN_CONTENT {mime}\n{content}\nEVCXR_END_CONTENT\n");
    blocks.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_has_a_block_for_each_type() {
        let expected = "EVCXR_BEGIN_CONTENT text/plain\na picture\nEVCXR_END_CONTENT\n\
                        EVCXR_BEGIN_CONTENT image/png\niVBO\nEVCXR_END_CONTENT\n";
        assert_eq!(bundle(&[("text/plain", "a picture"), ("image/png", "iVBO")]), expected);
    }
}
