//! Colour: from numbers to colours, and the bar that says which is which.
//!
//! Enters: numbers and the [`Range`] that they are seen in. Leaves: pictures. The colour maps are those of the `colorous`
//! crate: perceptually even ones (equal steps look equal, also in grey and to colour-blind eyes) for amounts, and
//! diverging ones for differences, whose middle is white.

use std::fmt;
use std::str::FromStr;

use image::{Rgb, RgbImage};
use ndarray::ArrayView2;

use super::normalise::Range;
use super::pixels::{WHITE, fill, unit_to_u8};
use super::text::{Align, TextStyle};
use crate::arithmetic::{decimals, round_step};
use crate::error::{Error, Result};

/// What NaN is painted in: a magenta that no map has.
pub const NAN_COLOUR: Rgb<u8> = Rgb([255, 0, 255]);

/// Eight colours for categories that also colour-blind eyes tell apart, in Okabe and Ito's order: M. Okabe and K. Ito,
/// "Color Universal Design (CUD): How to make figures and presentations that are friendly to colorblind people", 2008,
/// <https://jfly.uni-koeln.de/color/>.
pub const OKABE_ITO: [Rgb<u8>; 8] = [
    Rgb([0, 0, 0]),
    Rgb([230, 159, 0]),
    Rgb([86, 180, 233]),
    Rgb([0, 158, 115]),
    Rgb([240, 228, 66]),
    Rgb([0, 114, 178]),
    Rgb([213, 94, 0]),
    Rgb([204, 121, 167]),
];

/// A colour for the category of this number, black left out; after seven they come again.
pub fn category(number: usize) -> Rgb<u8> {
    OKABE_ITO[1 + number % (OKABE_ITO.len() - 1)]
}

/// A colour map: from 0..=1 to a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ColourMap {
    /// Perceptually even, dark blue over green to yellow.
    #[default]
    Viridis,
    /// Perceptually even, black over red to pale yellow.
    Inferno,
    /// Perceptually even, black over purple to pale pink.
    Magma,
    /// Perceptually even, blue to yellow: looks the same to red-green colour-blind eyes.
    Cividis,
    /// Diverging, blue over white to red: for differences, with 0 in the middle.
    BlueRed,
    /// Diverging, purple over white to orange: for differences, the colour-blind-safe choice.
    PurpleOrange,
    /// Black to white.
    Grey,
}

impl ColourMap {
    /// Every map.
    pub const ALL: [ColourMap; 7] = [
        ColourMap::Viridis,
        ColourMap::Inferno,
        ColourMap::Magma,
        ColourMap::Cividis,
        ColourMap::BlueRed,
        ColourMap::PurpleOrange,
        ColourMap::Grey,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ColourMap::Viridis => "viridis",
            ColourMap::Inferno => "inferno",
            ColourMap::Magma => "magma",
            ColourMap::Cividis => "cividis",
            ColourMap::BlueRed => "blue-red",
            ColourMap::PurpleOrange => "purple-orange",
            ColourMap::Grey => "grey",
        }
    }

    /// Whether the middle is special, so that the range should lie evenly about 0 ([`Range::around_zero`]).
    pub fn is_diverging(self) -> bool {
        matches!(self, ColourMap::BlueRed | ColourMap::PurpleOrange)
    }

    /// The colour at a place in 0..=1; what lies outside is clipped, NaN is [`NAN_COLOUR`].
    pub fn at(self, unit: f64) -> Rgb<u8> {
        if unit.is_nan() {
            return NAN_COLOUR;
        }
        let unit = unit.clamp(0.0, 1.0);
        let (gradient, place) = match self {
            ColourMap::Viridis => (colorous::VIRIDIS, unit),
            ColourMap::Inferno => (colorous::INFERNO, unit),
            ColourMap::Magma => (colorous::MAGMA, unit),
            ColourMap::Cividis => (colorous::CIVIDIS, unit),
            // The crate's runs from red to blue; more is to be warmer.
            ColourMap::BlueRed => (colorous::RED_BLUE, 1.0 - unit),
            ColourMap::PurpleOrange => (colorous::PURPLE_ORANGE, unit),
            ColourMap::Grey => return Rgb([unit_to_u8(unit); 3]),
        };
        Rgb(gradient.eval_continuous(place).into_array())
    }

    /// A picture of numbers, `[height, width]`, one pixel each.
    pub fn paint(self, values: ArrayView2<'_, f32>, range: Range) -> RgbImage {
        let (height, width) = values.dim();
        RgbImage::from_fn(width as u32, height as u32, |x, y| self.at(range.unit(values[[y as usize, x as usize]])))
    }
}

impl fmt::Display for ColourMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ColourMap {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hit = ColourMap::ALL.into_iter().find(|map| map.name().eq_ignore_ascii_case(text));
        hit.ok_or_else(|| Error::unknown("colour map", text, ColourMap::ALL.map(ColourMap::name)))
    }
}

/// Round numbers in a range, about `count` of them, each with its label; the minus is a real one (−).
pub fn ticks(range: Range, count: usize) -> Vec<(f64, String)> {
    let span = range.hi - range.lo;
    if !(span > 0.0 && span.is_finite()) {
        return vec![(range.lo, label(range.lo, 3))];
    }
    let step = round_step(span / count.max(1) as f64);
    let decimals = decimals(step);
    let first = (range.lo / step - 1e-9).ceil() as i64;
    let last = (range.hi / step + 1e-9).floor() as i64;
    (first..=last).map(|number| number as f64 * step).map(|value| (value, label(value, decimals))).collect()
}

/// A number as people write it.
fn label(value: f64, decimals: usize) -> String {
    let text = if value.abs() >= 1e6 { format!("{value:.1e}") } else { format!("{value:.decimals$}") };
    match text.strip_prefix('-') {
        Some(amount) if amount.chars().any(|digit| ('1'..='9').contains(&digit)) => format!("−{amount}"),
        Some(zero) => zero.to_string(),
        None => text,
    }
}

/// An upright colour bar, `length` pixels long, the range's greatest number on top, with ticks to its right in the size
/// and colour of `style`. The picture is a little longer than the bar, so that the outermost labels are whole.
pub fn colour_bar(map: ColourMap, range: Range, length: u32, style: &TextStyle) -> RgbImage {
    let length = length.max(2);
    let thickness = (style.px * 1.2).round().max(4.0) as u32;
    let tick = (style.px * 0.35).round().max(2.0) as u32;
    let margin = style.line_height().div_ceil(2);
    let wished = (length / (style.line_height() * 2)).clamp(2, 8) as usize;
    // One label alone would say nothing of the scale.
    let enough = |marks: &Vec<(f64, String)>| marks.len() >= 2 || range.hi <= range.lo;
    let marks = (wished..4 * wished).map(|count| ticks(range, count)).find(enough).unwrap_or_default();
    let widest = marks.iter().map(|(_, text)| style.width(text)).max().unwrap_or(0);
    let mut bar = RgbImage::from_pixel(thickness + 2 * tick + widest + 2, length + 2 * margin, WHITE);
    for y in 0..length {
        let place = 1.0 - (f64::from(y) + 0.5) / f64::from(length);
        fill(&mut bar, (0, i64::from(margin + y)), (thickness, 1), map.at(place));
    }
    for (value, text) in marks {
        let place = if range.hi > range.lo { (value - range.lo) / (range.hi - range.lo) } else { 0.5 };
        let y = i64::from(margin) + ((1.0 - place) * f64::from(length - 1)).round() as i64;
        fill(&mut bar, (i64::from(thickness), y), (tick, 1), style.colour);
        let at = (i64::from(thickness + 2 * tick), y - i64::from(style.line_height() / 2));
        style.draw(&mut bar, at, Align::Left, &text);
    }
    bar
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::viz::pixels::BLACK;
    use ndarray::array;

    #[test]
    fn names_come_back() {
        assert!(ColourMap::ALL.iter().all(|map| map.to_string().parse::<ColourMap>().unwrap() == *map));
        let error = "virdis".parse::<ColourMap>().unwrap_err();
        assert_eq!(error.to_string(), "unknown colour map `virdis`; did you mean `viridis`?");
    }

    #[test]
    fn maps_go_the_right_way() {
        // matplotlib's ends: viridis #440154..#fde725, inferno #000004..#fcffa4.
        assert_eq!((ColourMap::Viridis.at(0.0), ColourMap::Viridis.at(1.0)), (Rgb([68, 1, 84]), Rgb([253, 231, 37])));
        assert_eq!((ColourMap::Inferno.at(-5.0), ColourMap::Inferno.at(2.0)), (Rgb([0, 0, 4]), Rgb([252, 255, 164])));
        assert_eq!(ColourMap::Grey.at(0.5), Rgb([128; 3]));
        let brightness = |colour: Rgb<u8>| colour.0.iter().map(|c| u32::from(*c)).sum::<u32>();
        for map in [ColourMap::BlueRed, ColourMap::PurpleOrange] {
            let (low, middle, high) = (map.at(0.0), map.at(0.5), map.at(1.0));
            assert!(low.0[2] > low.0[0] && high.0[0] > high.0[2], "{map}: more is warmer");
            assert!(brightness(middle) > 700 && map.is_diverging(), "{map}: nothing is white");
        }
        for map in [ColourMap::Viridis, ColourMap::Inferno, ColourMap::Magma, ColourMap::Cividis] {
            let luma = |place: i32| {
                let Rgb([r, g, b]) = map.at(f64::from(place) / 16.0);
                0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b)
            };
            assert!((0..16).all(|place| luma(place) < luma(place + 1)), "{map} gets brighter all along");
        }
    }

    #[test]
    fn numbers_are_painted_in_their_place() {
        let values = array![[-1.0, 0.0, 1.0], [f32::NAN, f32::INFINITY, f32::NEG_INFINITY]];
        let picture = ColourMap::Grey.paint(values.view(), Range { lo: -1.0, hi: 1.0 });
        let expected = [Rgb([0; 3]), Rgb([128; 3]), Rgb([255; 3]), NAN_COLOUR, Rgb([255; 3]), Rgb([0; 3])];
        assert_eq!(picture.pixels().copied().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn ticks_are_round_numbers() {
        let labels = |lo, hi, count| ticks(Range { lo, hi }, count).into_iter().map(|tick| tick.1).collect::<Vec<_>>();
        assert_eq!(labels(-3.2, 3.1, 4), ["−2", "0", "2"]);
        assert_eq!(labels(-0.25, 0.25, 5), ["−0.2", "−0.1", "0.0", "0.1", "0.2"]);
        assert_eq!(labels(0.0, 1000.0, 5), ["0", "200", "400", "600", "800", "1000"]);
        assert_eq!(labels(0.5, 0.5, 5), ["0.500"]);
        assert_eq!(labels(f64::NAN, 1.0, 5), ["NaN"]);
    }

    #[test]
    fn the_bar_is_whole() {
        let bar = colour_bar(ColourMap::Viridis, Range { lo: -4.0, hi: 4.0 }, 200, &TextStyle::new(14.0, BLACK));
        assert_eq!(bar.height(), 200 + 18);
        assert_eq!(*bar.get_pixel(0, 9), ColourMap::Viridis.at(1.0 - 0.5 / 200.0));
        assert_eq!(*bar.get_pixel(0, 208), ColourMap::Viridis.at(0.5 / 200.0));
        // However short the bar, two labels at the least.
        let style = TextStyle::new(18.0, BLACK);
        for range in [Range { lo: -2.5, hi: 2.8 }, Range { lo: 0.0, hi: 0.9 }, Range { lo: 11.0, hi: 14.0 }] {
            let bar = colour_bar(ColourMap::Grey, range, 60, &style);
            // Each label has a tick of its own just right of the bar.
            let ticks = (0..bar.height()).filter(|&y| *bar.get_pixel(23, y) == BLACK).count();
            assert!(ticks >= 2, "{range:?}: {ticks}");
        }
    }

    #[test]
    fn categories_differ() {
        assert_eq!(category(0), OKABE_ITO[1]);
        assert_eq!(category(7), category(0));
    }
}
