//! What an edit is done to: sites, steps, predictions, heads, words, channels, a part of the picture.
//!
//! Enters: the values of an edit's keys as they were typed. Leaves: data that no model has been asked about yet.

use crate::error::{Error, Result};
use crate::watch::site::Branch;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// To what an edit is done, and when. What is not said is all of it; of the predictions, those with the prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selector {
    /// Which sites: a pattern, `**.attn2`. Empty for what has its own place.
    pub sites: String,
    /// At which steps.
    pub steps: Steps,
    /// In which predictions.
    pub branch: Option<Branches>,
    /// In which heads of an attention, from 0.
    pub heads: Option<Ranges>,
    /// At which words.
    pub words: Option<Vec<Word>>,
    /// In which channels, from 0.
    pub channels: Option<Ranges>,
    /// In which part of the picture.
    pub area: Option<Area>,
    /// At which sizes: how many times smaller than the latents, 1, 2, 4, …
    pub sizes: Option<Vec<i64>>,
    /// In which pictures of the batch, from 0.
    pub batch: Option<Ranges>,
}

/// At which steps. A step's number is that of its file in `steps/`: 1 for the first call of the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Steps {
    /// At all, and before the first.
    #[default]
    All,
    /// At none: the edit is switched off.
    None,
    /// At those of these numbers.
    Calls(Ranges),
    /// At this share of the steps, from 0 to 1: step `k` of `n` where `⌊from·n⌋ < k ≤ ⌊to·n⌋`, so that shares which meet
    /// have no step in common.
    Share(f64, f64),
    /// Where the model is called with a timestep from the larger to the smaller.
    Timesteps(f64, f64),
    /// Where the latents have a noise level σ from the larger to the smaller.
    Sigma(f64, f64),
}

/// In which predictions of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branches {
    /// With the prompt, or any part of it.
    Text,
    /// With the negative prompt, or nothing.
    Uncond,
    /// In all.
    Both,
}

/// Whole numbers, in ranges that include both ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(usize, usize)>);

/// A word of a prompt, or what stands around the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A word or several, as written: where it stands for the n-th time, or wherever it stands.
    Text(String, Option<usize>),
    /// The token at this place, 0 for begin-of-text.
    Place(usize),
    /// Begin-of-text.
    Start,
    /// All of the prompt's own tokens.
    Words,
    /// The first end-of-text.
    End,
    /// What fills the window behind it.
    Padding,
}

/// A part of the picture.
#[derive(Debug, Clone, PartialEq)]
pub enum Area {
    /// Left, top, right and bottom, each as a share of the picture from 0 to 1.
    Rectangle([f64; 4]),
    /// Where this picture is white.
    Mask(PathBuf),
}

impl Branches {
    /// Whether it includes a prediction of the run. Other runs' are their own.
    pub fn include(self, branch: Branch) -> bool {
        match branch {
            Branch::Uncond => self != Branches::Text,
            Branch::Text(_) => self != Branches::Uncond,
            Branch::Donor(_) => false,
        }
    }
}

impl fmt::Display for Branches {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Branches::Text => "text",
            Branches::Uncond => "uncond",
            Branches::Both => "both",
        })
    }
}

impl FromStr for Branches {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Branches::Text, Branches::Uncond, Branches::Both];
        let found = all.into_iter().find(|branch| branch.to_string() == text);
        found.ok_or_else(|| Error::unknown("branch", text, all.map(|branch| branch.to_string())))
    }
}

impl Ranges {
    /// One number.
    pub fn one(number: usize) -> Ranges {
        Ranges(vec![(number, number)])
    }

    /// These numbers, which rise.
    pub fn of(numbers: impl IntoIterator<Item = usize>) -> Ranges {
        let mut ranges: Vec<(usize, usize)> = vec![];
        for number in numbers {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        Ranges(ranges)
    }

    /// Whether it includes a number.
    pub fn contains(&self, number: usize) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    /// The largest number.
    pub fn last(&self) -> usize {
        self.0.iter().map(|(_, last)| *last).max().unwrap_or_default()
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let one = |(first, last): &(usize, usize)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        f.write_str(&self.0.iter().map(one).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Ranges {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("`{text}` is no list of whole numbers"), "write `3`, `5-10` or `1-3,7`");
        let one = |part: &str| -> Option<(usize, usize)> {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (range.0 <= range.1).then_some(range)
        };
        text.split(',').map(one).collect::<Option<Vec<_>>>().map(Ranges).ok_or_else(wrong)
    }
}

impl FromStr for Steps {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hint = "write `5-10`, `3,7`, `0-40%`, `t:981-601`, `sigma:5-1`, `all` or `none`";
        let wrong = || Error::invalid(format!("`steps={text}` names no steps"), hint);
        let two = |part: &str| -> Option<(f64, f64)> {
            let (first, last) = part.split_once('-')?;
            let number =
                |text: &str| text.trim().trim_end_matches('%').trim().parse::<f64>().ok().filter(|x| *x >= 0.0);
            Some((number(first)?, number(last)?))
        };
        let falling = |(a, b): (f64, f64)| (a.max(b), a.min(b));
        match text {
            "all" => Ok(Steps::All),
            "none" => Ok(Steps::None),
            _ if text.ends_with('%') => {
                let (from, to) = two(text).filter(|(from, to)| from < to && *to <= 100.0).ok_or_else(wrong)?;
                Ok(Steps::Share(from / 100.0, to / 100.0))
            }
            _ => match text.split_once(':') {
                Some(("t", range)) => two(range).map(falling).map(|(a, b)| Steps::Timesteps(a, b)).ok_or_else(wrong),
                Some(("sigma", range)) => two(range).map(falling).map(|(a, b)| Steps::Sigma(a, b)).ok_or_else(wrong),
                _ => text.parse().map(Steps::Calls).map_err(|_| wrong()),
            },
        }
    }
}

impl FromStr for Word {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let own =
            [("<start>", Word::Start), ("<words>", Word::Words), ("<end>", Word::End), ("<padding>", Word::Padding)];
        if let Some((_, word)) = own.into_iter().find(|(name, _)| *name == text) {
            return Ok(word);
        }
        if let Some(place) = text.strip_prefix('#').and_then(|place| place.parse().ok()) {
            return Ok(Word::Place(place));
        }
        let (word, time) = match text.rsplit_once('@').map(|(word, time)| (word, time.parse::<usize>())) {
            Some((word, Ok(time))) if time > 0 && !word.is_empty() => (word, Some(time)),
            _ => (text, None),
        };
        match word.trim() {
            "" => Err(Error::invalid("an empty word", "write `words=apple`, `words='red apple'` or `words=<start>`")),
            word => Ok(Word::Text(word.into(), time)),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Word::Text(word, None) => f.write_str(word),
            Word::Text(word, Some(time)) => write!(f, "{word}@{time}"),
            Word::Place(place) => write!(f, "#{place}"),
            Word::Start => f.write_str("<start>"),
            Word::Words => f.write_str("<words>"),
            Word::End => f.write_str("<end>"),
            Word::Padding => f.write_str("<padding>"),
        }
    }
}

/// Words, commas between them.
///
/// # Errors
/// When one is empty.
pub fn words(text: &str) -> Result<Vec<Word>> {
    text.split(',').map(|word| word.trim().parse()).collect()
}

/// Sizes, commas between them: `f2,f4`.
///
/// # Errors
/// When one is none.
pub fn sizes(text: &str) -> Result<Vec<i64>> {
    let one = |part: &str| part.trim().strip_prefix('f')?.parse::<i64>().ok().filter(|factor| *factor > 0);
    text.split(',').map(one).collect::<Option<_>>().ok_or_else(|| {
        Error::invalid(
            format!("`sizes={text}` names no sizes"),
            "`f1` is the size of the latents, `f2` half of it, `f4` a quarter: `sizes=f2,f4`",
        )
    })
}

impl FromStr for Area {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<Option<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        if parts.iter().all(Option::is_none) {
            return Ok(Area::Mask(text.into()));
        }
        let numbers: Vec<f64> = parts.into_iter().flatten().filter(|x| (0.0..=1.0).contains(x)).collect();
        match numbers.as_slice() {
            [left, top, right, bottom] if left < right && top < bottom && text.split(',').count() == 4 => {
                Ok(Area::Rectangle([*left, *top, *right, *bottom]))
            }
            _ => Err(Error::invalid(
                format!("`area={text}` is no part of the picture"),
                "write left, top, right and bottom as shares from 0 to 1, `area=0.2,0.2,0.6,0.8`, or name a mask file",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn steps_are_read_in_each_form() {
        let read = |text: &str| text.parse::<Steps>().unwrap();
        assert_eq!(read("5-10"), Steps::Calls(Ranges(vec![(5, 10)])));
        assert_eq!((read("0-40%"), read("60%-100%")), (Steps::Share(0.0, 0.4), Steps::Share(0.6, 1.0)));
        assert_eq!((read("t:601-981"), read("sigma:5-1")), (Steps::Timesteps(981.0, 601.0), Steps::Sigma(5.0, 1.0)));
        for wrong in ["10-5", "40-40%", "-3", "t:5", "x", "", "0-140%"] {
            assert!(wrong.parse::<Steps>().is_err(), "{wrong}");
        }
        assert_eq!(Ranges::of([1, 2, 3, 7]).to_string(), "1-3,7");
    }

    #[test]
    fn words_and_areas_are_read() {
        let all = words("apple@2, red pear,#5,<start>,<end>,me@home").unwrap();
        let text = |word: &str, time| Word::Text(word.into(), time);
        assert_eq!(all[..3], [text("apple", Some(2)), text("red pear", None), Word::Place(5)]);
        assert_eq!(all[3..], [Word::Start, Word::End, text("me@home", None)]);
        assert!(words("a,,b").is_err());
        assert_eq!("0.2,0,0.6,1".parse::<Area>().unwrap(), Area::Rectangle([0.2, 0.0, 0.6, 1.0]));
        assert_eq!("mask.png".parse::<Area>().unwrap(), Area::Mask("mask.png".into()));
        assert!("0.6,0,0.2,1".parse::<Area>().is_err() && "0,0,1".parse::<Area>().is_err());
    }
}
