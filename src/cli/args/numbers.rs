//! Numbers as people type them.

use std::str::FromStr;

/// A seed as it was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// This one.
    Number(u64),
    /// One to be drawn: `-1` or `random`.
    Random,
}

impl From<u64> for Seed {
    fn from(number: u64) -> Seed {
        Seed::Number(number)
    }
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Seed, String> {
        match text.trim() {
            "-1" | "random" => Ok(Seed::Random),
            number => number
                .parse()
                .map(Seed::Number)
                .map_err(|_| format!("give a whole number from 0 to {}, or `random` for one that is drawn", u64::MAX)),
        }
    }
}

/// A number with a decimal point.
///
/// # Errors
/// When it is none; a decimal comma is named as such.
pub fn number(text: &str) -> Result<f64, String> {
    text.trim().parse().map_err(|_| match text.replacen(',', ".", 1) {
        point if text.contains(',') && point.parse::<f64>().is_ok() => format!("write a decimal point: {point}"),
        _ => "not a number".into(),
    })
}

/// A whole number from 0 up.
///
/// # Errors
/// When it is none.
pub fn whole(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| "give a whole number".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_decimal_comma_is_told_from_what_is_no_number() {
        assert_eq!(number("7.5"), Ok(7.5));
        assert_eq!(number("7,5").unwrap_err(), "write a decimal point: 7.5");
        assert_eq!(number("1,000.5").unwrap_err(), "not a number");
        assert_eq!(number("strong").unwrap_err(), "not a number");
    }

    #[test]
    fn a_count_is_whole() {
        assert_eq!(whole("25"), Ok(25));
        assert!(["2.5", "-1", "many", ""].iter().all(|text| whole(text).unwrap_err() == "give a whole number"));
    }

    #[test]
    fn a_seed_is_a_number_or_one_to_be_drawn() {
        assert_eq!(["7", "-1", "random"].map(|text| text.parse()), [Ok(7.into()), Ok(Seed::Random), Ok(Seed::Random)]);
        assert_eq!("18446744073709551615".parse(), Ok(Seed::Number(u64::MAX)));
        assert!(["-2", "1.5", "", "18446744073709551616"].iter().all(|text| text.parse::<Seed>().is_err()));
    }
}
