//! Reads an edit as it is typed: `op site key=value …`.
//!
//! Enters: a text. Leaves: an [`Edit`]. Values with blanks stand in single or double quotes.

use crate::edit::Edit;
use crate::edit::keys::Keys;
use crate::edit::op::Kind;
use crate::edit::selector::{self, Selector};
use crate::error::{Error, Result};
use std::str::FromStr;

impl FromStr for Edit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        read(text).map_err(|error| match &error {
            Error::Invalid { .. } | Error::Unknown { .. } => {
                Error::Invalid { message: format!("{error}: in the edit `{}`", text.trim()), hint: error.hint() }
            }
            _ => error,
        })
    }
}

fn read(text: &str) -> Result<Edit> {
    let mut parts = split(text)?.into_iter();
    let Some(name) = parts.next() else {
        return Err(Error::invalid("an empty edit", "write what is done to what: `zero unet.mid_block steps=1-5`"));
    };
    let kind = Kind::find(&name)?;
    let mut site = String::new();
    let mut keys = Keys::default();
    for part in parts {
        match part.split_once('=') {
            Some((key, value)) => keys.add(kind.keys, key, value)?,
            None if site.is_empty() && kind.sited => site = part,
            None => {
                return Err(Error::invalid(
                    format!("`{part}` is neither the site nor `key=value`"),
                    "write `op site key=value …`, and values with blanks in quotes: `text='a green pear'`",
                ));
            }
        }
    }
    if kind.sited && site.is_empty() {
        return Err(Error::invalid(
            format!("`{name}` says not where"),
            "name a site after it, `unet.mid_block`, or a pattern; `sdviz inspect --sites` lists them",
        ));
    }
    let at = Selector {
        sites: site,
        steps: keys.read("steps", str::parse)?.unwrap_or_default(),
        branch: keys.read("branch", str::parse)?,
        heads: keys.read("heads", str::parse)?,
        words: keys.read("words", selector::words)?,
        channels: keys.read("channels", str::parse)?,
        area: keys.read("area", str::parse)?,
        sizes: keys.read("sizes", selector::sizes)?,
        batch: keys.read("batch", str::parse)?,
    };
    Ok(Edit { op: kind.op(&mut keys)?, at })
}

/// The parts between blanks, quotes taken off; what stands in quotes is one part, or belongs to one.
fn split(text: &str) -> Result<Vec<String>> {
    let (mut parts, mut part, mut open) = (vec![], None::<String>, None);
    for letter in text.chars() {
        match open {
            Some(quote) if quote == letter => open = None,
            Some(_) => part.get_or_insert_default().push(letter),
            None if ['\'', '"'].contains(&letter) => {
                open = Some(letter);
                part.get_or_insert_default();
            }
            None if letter.is_whitespace() => parts.extend(part.take()),
            None => part.get_or_insert_default().push(letter),
        }
    }
    if open.is_some() {
        return Err(Error::invalid("a quote is not closed", "close it"));
    }
    parts.extend(part);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::edit::Op;
    use crate::edit::selector::{Branches, Steps, Word};

    #[test]
    fn edits_are_read_as_they_are_typed() {
        let read = |text: &str| text.parse::<Edit>().unwrap();
        let edit = read("zero unet.up_blocks.**.attn2 steps=5-10 heads=0,3 branch=both");
        assert_eq!((edit.op, edit.at.sites.as_str()), (Op::Zero, "unet.up_blocks.**.attn2"));
        assert_eq!((edit.at.steps, edit.at.branch), ("5-10".parse::<Steps>().unwrap(), Some(Branches::Both)));
        assert!(edit.at.heads.is_some_and(|heads| heads.contains(3) && !heads.contains(1)));
        let edit = read("prompt **.attn2 sizes=f4,f2 text='a \"green\" pear'");
        assert_eq!((edit.op, edit.at.sizes), (Op::Prompt("a \"green\" pear".into()), Some(vec![4, 2])));
        let edit = read("weigh unet.** word=\"red apple\" by=3");
        assert_eq!((edit.op, edit.at.words), (Op::Weigh(3.0), Some(vec![Word::Text("red apple".into(), None)])));
        assert_eq!(read("freeu b1=1.5 s2=0.2").op, Op::Freeu { b: [1.5, 1.0], s: [1.0, 0.2] });
        assert_eq!(read("prompt ** text=''").op, Op::Prompt(String::new()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("", "an empty edit"),
            ("zerro mid", "did you mean `zero`"),
            ("zero", "says not where"),
            ("zero mid by=2", "unknown key `by`"),
            ("scale mid", "`by` is missing"),
            ("scale mid by=x", "`by=x` is no number"),
            ("scale mid by=inf", "`by=inf` is no number"),
            ("zero mid steps=1 steps=2", "said twice"),
            ("zero mid here", "`here` is neither"),
            ("prompt mid text='a", "not closed"),
            ("zero mid step=x", "names no steps"),
            ("clamp mid", "between nothing"),
        ] {
            let error = text.parse::<Edit>().unwrap_err().to_string();
            assert!(error.contains(named), "`{text}`: {error}");
        }
    }
}
