//! Numbers in JSON that JSON has no numbers for: NaN and the infinities, as the words that most languages read as such.

use serde::{Deserialize, Deserializer, Serializer};

/// A number as it stands in JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Word(String),
    /// What serde makes of a number that is not finite when it is not told otherwise.
    Nothing,
}

/// Writes a number, or `"NaN"`, `"Infinity"`, `"-Infinity"`.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
    match number {
        n if n.is_finite() => to.serialize_f64(*n),
        n if n.is_nan() => to.serialize_str("NaN"),
        n => to.serialize_str(if *n > 0.0 { "Infinity" } else { "-Infinity" }),
    }
}

/// Reads what [`serialize`] writes; `null` is NaN.
///
/// # Errors
/// When it is neither a number nor one of the words.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    match Written::deserialize(from)? {
        Written::Number(number) => Ok(number),
        Written::Word(word) => word.parse().map_err(|_| serde::de::Error::custom(format!("`{word}` is no number"))),
        Written::Nothing => Ok(f64::NAN),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Row(#[serde(with = "super")] f64);

    #[test]
    fn every_number_comes_back() {
        for number in [0.5, -3.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-300] {
            let text = serde_json::to_string(&Row(number)).unwrap();
            let back = serde_json::from_str::<Row>(&text).unwrap().0;
            assert!(back == number || back.is_nan() && number.is_nan(), "{number} as {text} is {back}");
        }
        assert!(serde_json::from_str::<Row>("null").unwrap().0.is_nan());
        assert_eq!(serde_json::from_str::<Row>("3").unwrap().0, 3.0);
        assert!(serde_json::from_str::<Row>("\"three\"").is_err());
    }
}
