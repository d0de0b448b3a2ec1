//! Numbers in words, for messages.

/// `1 step`, `25 steps`.
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// `350 kB`, `12 MB`, `3.4 GB`, `1.2 TB`.
pub fn size(bytes: f64) -> String {
    match bytes {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.0} MB", b / 1e6),
        b if b < 1e12 => format!("{:.1} GB", b / 1e9),
        b => format!("{:.1} TB", b / 1e12),
    }
}

/// Bytes as [`size`] writes them: `350 kB`, `12MB`, `3.4 GB`; a number alone is bytes.
pub fn bytes(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

/// `3,438,167`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|c| std::str::from_utf8(c).ok()).collect();
    groups.join(",")
}

/// `−1.50`: with a minus sign in place of a hyphen, and none before what rounds to 0.
pub fn decimal(value: f64, decimals: usize) -> String {
    let written = format!("{value:.decimals$}");
    let is_zero = written.chars().all(|letter| "-0.".contains(letter));
    written.replace('-', if is_zero { "" } else { "−" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_zero_is_negative() {
        let written =
            [(-1.5, 2), (-0.004, 2), (0.0, 1), (-0.5, 0), (12.34, 1), (-0.006, 2)].map(|(v, n)| decimal(v, n));
        assert_eq!(written, ["−1.50", "0.00", "0.0", "0", "12.3", "−0.01"]);
    }

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, expected) in
            [("2GB", Some(2e9)), ("1.5 MB", Some(1.5e6)), ("800", Some(800.0)), ("350 kB", Some(3.5e5))]
        {
            assert_eq!(bytes(text), expected, "{text}");
        }
        assert_eq!(bytes(&size(2.5e9)), Some(2.5e9));
        for text in ["", "GB", "2 GiB", "-1", "1.2.3"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
