//! What makes a style unmistakable: an outline, a shadow, a shine over a drawing; and another colour of a thing.
//!
//! Enters: pixels, premultiplied by alpha. Leaves: the same with more. Widths are shares of the drawing's longer side, so
//! that they grow with it.

use super::config::Style;
use super::drawing::bounds;
use image::{DynamicImage, GrayImage, Luma, Rgba, RgbaImage, imageops};

/// How soft a shadow is (its deviation), and how far it falls, as shares of the drawing's longer side.
const SHADOW: (f64, f64) = (0.025, 0.035);
/// How far a shine stays off the drawing's edge, and how far down it reaches in the middle and at the sides.
const SHINE: (f64, f64, f64) = (0.025, 0.50, 0.36);
/// Less colourful pixels keep their colour when a thing is given another one: saturation from 0 to 1.
const GREY: f32 = 0.25;
/// Pixels whose hue is at most this far from the thing's own are given another one, in degrees.
const ALIKE: f32 = 38.0;

/// A drawing in a style, and how many of its pixels on each side are shadow alone.
pub fn styled(drawing: RgbaImage, style: &Style) -> (RgbaImage, u32) {
    let longer = f64::from(drawing.width().max(drawing.height()));
    let width = style.outline * longer;
    let mut page = padded(&drawing, width.ceil() as u32 + 1);
    if style.shine > 0.0 {
        shine(&mut page, style.shine, longer);
    }
    if width > 0.0 {
        let far = distances(&page, width.ceil() as i32 + 1, |alpha| alpha >= 128);
        let rgb = style.outline_rgb;
        let reached = |place: usize| (width + 0.5 - far[place]).clamp(0.0, 1.0);
        below(&mut page, |place| ink(rgb, reached(place)));
    }
    // Whatever the outline did not use of the margin goes.
    let [left, top, right, bottom] = bounds(&page).unwrap_or([0, 0, page.width(), page.height()]);
    let page = imageops::crop_imm(&page, left, top, right - left, bottom - top).to_image();
    if style.shadow > 0.0 { shadowed(&page, style.shadow) } else { (page, 0) }
}

/// A colour that covers so much, premultiplied.
fn ink(rgb: [u8; 3], covers: f64) -> [f64; 4] {
    let [red, green, blue] = rgb.map(|channel| f64::from(channel) * covers);
    [red, green, blue, 255.0 * covers]
}

fn padded(drawing: &RgbaImage, margin: u32) -> RgbaImage {
    let mut page = RgbaImage::new(drawing.width() + 2 * margin, drawing.height() + 2 * margin);
    imageops::replace(&mut page, drawing, i64::from(margin), i64::from(margin));
    page
}

/// Puts something below a drawing, by the place of each pixel.
fn below(page: &mut RgbaImage, under: impl Fn(usize) -> [f64; 4]) {
    for (place, pixel) in page.pixels_mut().enumerate() {
        let open = 1.0 - f64::from(pixel.0[3]) / 255.0;
        if open > 0.0 {
            let under = under(place);
            pixel.0.iter_mut().zip(under).for_each(|(above, under)| {
                *above = (f64::from(*above) + under * open).round().min(255.0) as u8;
            });
        }
    }
}

/// The distance of each pixel from the nearest whose alpha `counts`, in pixels; exact up to `reach`, more beyond.
fn distances(page: &RgbaImage, reach: i32, counts: impl Fn(u8) -> bool) -> Vec<f64> {
    let (width, height) = (page.width() as usize, page.height() as usize);
    let none = reach + 1;
    // Up or down to the nearest first, then the best of the columns beside.
    let mut straight: Vec<i32> = page.pixels().map(|pixel| if counts(pixel.0[3]) { 0 } else { none }).collect();
    for place in width..width * height {
        straight[place] = straight[place].min(straight[place - width] + 1);
    }
    for place in (0..width * (height - 1)).rev() {
        straight[place] = straight[place].min(straight[place + width] + 1);
    }
    let mut all = Vec::with_capacity(width * height);
    for row in straight.chunks(width) {
        for x in 0..width as i32 {
            let beside = (-reach).max(-x)..=reach.min(width as i32 - 1 - x);
            let squares = beside.map(|dx| dx * dx + row[(x + dx) as usize].pow(2));
            all.push(f64::from(squares.min().unwrap_or(none * none)).sqrt());
        }
    }
    all
}

/// Lightens the upper part, within the drawing's edge, most at the top: light that falls on something smooth.
fn shine(page: &mut RgbaImage, strength: f64, longer: f64) {
    let (off, middle, side) = SHINE;
    let Some([left, top, right, bottom]) = bounds(page) else { return };
    let within = distances(page, (off * longer).ceil() as i32 + 1, |alpha| alpha < 128);
    let columns = page.width() as usize;
    for (place, pixel) in page.pixels_mut().enumerate() {
        let x = ((place % columns) as f64 - f64::from(left)) / f64::from(right - left) * 2.0 - 1.0;
        let y = ((place / columns) as f64 - f64::from(top)) / f64::from(bottom - top);
        let ends = side + (middle - side) * (1.0 - x * x).max(0.0);
        let soft = |distance: f64, over: f64| (distance / over).clamp(0.0, 1.0);
        let inside = soft(within[place] - off * longer, 2.0) * soft((ends - y) * longer, 3.0);
        let light = strength * inside * (1.0 - 0.75 * (y / ends).clamp(0.0, 1.0));
        let white = f64::from(pixel.0[3]);
        for channel in &mut pixel.0[..3] {
            *channel = (f64::from(*channel) + (white - f64::from(*channel)) * light).round() as u8;
        }
    }
}

/// With a soft shadow below, and the margin that it needs.
fn shadowed(page: &RgbaImage, strength: f64) -> (RgbaImage, u32) {
    let longer = f64::from(page.width().max(page.height()));
    let (soft, falls) = (SHADOW.0 * longer, (SHADOW.1 * longer).round() as i64);
    let margin = (3.0 * soft).ceil() as u32 + falls as u32;
    let mut page = padded(page, margin);
    let alpha = GrayImage::from_fn(page.width(), page.height(), |x, y| Luma([page.get_pixel(x, y).0[3]]));
    let soft = DynamicImage::ImageLuma8(alpha).blur(soft as f32).into_luma8();
    let columns = i64::from(page.width());
    below(&mut page, |place| {
        let (x, y) = (place as i64 % columns, place as i64 / columns - falls);
        let dark = if y < 0 { 0.0 } else { f64::from(soft.get_pixel(x as u32, y as u32).0[0]) / 255.0 };
        ink([0; 3], strength * dark)
    });
    (page, margin)
}

/// Hue in degrees, saturation and value from 0 to 1.
fn hsv([red, green, blue]: [f32; 3]) -> [f32; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let spread = most - least;
    let hue = match spread {
        spread if spread <= 0.0 => 0.0,
        spread if most == red => ((green - blue) / spread).rem_euclid(6.0),
        spread if most == green => (blue - red) / spread + 2.0,
        spread => (red - green) / spread + 4.0,
    };
    [60.0 * hue, if most > 0.0 { spread / most } else { 0.0 }, most]
}

fn rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    [5.0f32, 3.0, 1.0].map(|channel| {
        let k = (channel + hue / 60.0).rem_euclid(6.0);
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}

/// How far two hues are apart, in degrees.
fn apart(a: f32, b: f32) -> f32 {
    let between = (a - b).rem_euclid(360.0);
    between.min(360.0 - between)
}

/// The colour of a pixel from 0 to 1, without its alpha.
fn bare(pixel: Rgba<u8>) -> [f32; 3] {
    let [red, green, blue, alpha] = pixel.0.map(f32::from);
    [red, green, blue].map(|channel| if alpha > 0.0 { (channel / alpha).min(1.0) } else { 0.0 })
}

/// The drawing with its own colour, which is the hue that most of it has, turned into another. What is grey, or of another
/// hue, such as the leaf of an apple, stays. Lights and shades keep their part.
pub fn recoloured(drawing: &RgbaImage, to: [u8; 3]) -> RgbaImage {
    let colours: Vec<[f32; 3]> = drawing.pixels().map(|pixel| hsv(bare(*pixel))).collect();
    let alpha = |place: usize| f32::from(drawing.as_raw()[4 * place + 3]);
    let mut weights = [0.0f32; 36];
    for (place, [hue, saturation, value]) in colours.iter().enumerate().filter(|(_, c)| c[1] > GREY) {
        weights[(hue / 10.0) as usize % 36] += saturation * value * alpha(place);
    }
    let around = |i: usize| weights[(i + 35) % 36] + weights[i] + weights[(i + 1) % 36];
    let own = (0..36).max_by(|a, b| around(*a).total_cmp(&around(*b))).unwrap_or(0) as f32 * 10.0 + 5.0;
    let alike = |c: &[f32; 3]| c[1] > GREY && apart(c[0], own) <= ALIKE;
    // What its pixels are in the mean becomes the colour that is asked for.
    let (mut sums, mut whole) = ([0.0f32; 2], 1e-6f32);
    for (place, colour) in colours.iter().enumerate().filter(|(_, c)| alike(c)) {
        whole += alpha(place);
        (0..2).for_each(|i| sums[i] += colour[i + 1] * alpha(place));
    }
    let target = hsv(to.map(|channel| f32::from(channel) / 255.0));
    let mut picture = drawing.clone();
    for (place, pixel) in picture.pixels_mut().enumerate().filter(|(place, _)| alike(&colours[*place])) {
        let [_, saturation, value] = colours[place];
        let share = |own: f32, sum: f32, to: f32| (own / (sum / whole).max(1e-3) * to).clamp(0.0, 1.0);
        let turned = rgb([target[0], share(saturation, sums[0], target[1]), share(value, sums[1], target[2])]);
        let alpha = f32::from(pixel.0[3]);
        pixel.0.iter_mut().zip(turned).for_each(|(channel, turned)| *channel = (turned * alpha).round() as u8);
    }
    picture
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn disc(rgb: [u8; 3]) -> RgbaImage {
        let inside = |x: u32, y: u32| (f64::from(x) - 49.5).hypot(f64::from(y) - 49.5) < 50.0;
        RgbaImage::from_fn(
            100,
            100,
            |x, y| if inside(x, y) { Rgba([rgb[0], rgb[1], rgb[2], 255]) } else { Rgba([0; 4]) },
        )
    }

    fn style(change: impl Fn(&mut Style)) -> Style {
        let mut style = Style { word: "w".into(), package: "p".into(), ..Style::default() };
        change(&mut style);
        style
    }

    #[test]
    fn an_outline_is_as_wide_as_it_says_and_a_shadow_falls_down() {
        let (plain, margin) = styled(disc([200, 30, 30]), &style(|_| ()));
        assert_eq!((plain, margin), (disc([200, 30, 30]), 0), "nothing asked for, nothing done");
        let (page, margin) = styled(disc([200, 30, 30]), &style(|s| (s.outline, s.outline_rgb) = (0.05, [9, 8, 7])));
        assert_eq!((page.dimensions(), margin), ((110, 110), 0));
        assert_eq!(page.get_pixel(55, 2).0, [9, 8, 7, 255]);
        assert_eq!(page.get_pixel(55, 55).0, [200, 30, 30, 255]);
        let (page, margin) = styled(disc([200, 30, 30]), &style(|s| s.shadow = 0.5));
        let alpha = |x: u32, y: u32| page.get_pixel(x, y).0[3];
        assert_eq!(page.width(), 100 + 2 * margin);
        assert!(alpha(margin + 50, margin + 103) > 30 && alpha(margin + 50, margin - 4) == 0);
    }

    #[test]
    fn a_shine_lightens_the_upper_part_within_the_edge() {
        let (page, _) = styled(disc([200, 30, 30]), &style(|s| s.shine = 0.6));
        let green = |y: u32| page.get_pixel(50, y).0[1];
        assert!(green(8) > 120 && green(40) > 30 && green(0) == 30 && green(70) == 30, "{} {}", green(8), green(40));
    }

    #[test]
    fn a_thing_gets_the_colour_and_its_leaf_keeps_its_own() {
        let mut apple = disc([200, 30, 30]);
        (40..60).for_each(|x| (20..30).for_each(|y| apple.put_pixel(x, y, Rgba([30, 160, 40, 255]))));
        let blue = recoloured(&apple, [40, 90, 215]);
        assert_eq!(blue.get_pixel(50, 25).0, [30, 160, 40, 255]);
        assert!(blue.get_pixel(50, 60).0.iter().zip([40u8, 90, 215]).all(|(a, b)| a.abs_diff(b) <= 2));
        for colour in [[1.0, 0.5, 0.2], [0.1, 0.7, 0.9], [0.3, 0.3, 0.3], [0.9, 0.1, 0.8]] {
            let back = rgb(hsv(colour));
            assert!(back.iter().zip(colour).all(|(a, b)| (a - b).abs() < 1e-5), "{colour:?} {back:?}");
        }
    }
}
