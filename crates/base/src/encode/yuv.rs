//! From RGB to what a video codec codes: BT.709 limited range, 4:2:0.
//!
//! Enters: an [`RgbImage`] of any size. Leaves: planes of even size. The constants are those of ITU-R BT.709-6, items
//! 3.2 to 3.4: Y' = 0.2126 R' + 0.7152 G' + 0.0722 B', C'B = (B' − Y') / 1.8556, C'R = (R' − Y') / 1.5748, with Y' in
//! 16..=235 and the colour differences in 16..=240. Everything is rounded, nothing truncated.

use image::RgbImage;
use openh264::formats::YUVSource;

/// One frame in 4:2:0: a full plane of luma, two of colour difference at half the width and height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Yuv {
    width: usize,
    height: usize,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

impl Yuv {
    /// Converts `frame`, magnified `zoom` times with hard pixels and brought to `width`×`height` (both even, neither
    /// less than the magnified frame) by repeating the last row and column. A colour sample is the mean of its four
    /// pixels.
    pub(super) fn from_rgb(frame: &RgbImage, zoom: u32, width: u32, height: u32) -> Self {
        let (w, h) = (width as usize, height as usize);
        let mut planes = Yuv { width: w, height: h, y: vec![0; w * h], u: vec![0; w * h / 4], v: vec![0; w * h / 4] };
        let columns: Vec<usize> = (0..width).map(|x| 3 * (x / zoom).min(frame.width() - 1) as usize).collect();
        let stride = 3 * frame.width() as usize;
        let row = |y: usize| {
            let start = (y as u32 / zoom).min(frame.height() - 1) as usize * stride;
            &frame.as_raw()[start..start + stride]
        };
        for block_y in 0..h / 2 {
            let rows = [row(2 * block_y), row(2 * block_y + 1)];
            for block_x in 0..w / 2 {
                let (mut sum_u, mut sum_v) = (0.0, 0.0);
                for (down, pixels) in rows.iter().enumerate() {
                    for right in 0..2 {
                        let x = 2 * block_x + right;
                        let at = columns[x];
                        let (luma, blue, red) = bt709(pixels[at], pixels[at + 1], pixels[at + 2]);
                        planes.y[(2 * block_y + down) * w + x] = (16.0 + luma * 219.0 / 255.0).round() as u8;
                        sum_u += blue;
                        sum_v += red;
                    }
                }
                let at = block_y * (w / 2) + block_x;
                planes.u[at] = (128.0 + sum_u / 4.0 * 224.0 / 255.0).round() as u8;
                planes.v[at] = (128.0 + sum_v / 4.0 * 224.0 / 255.0).round() as u8;
            }
        }
        planes
    }
}

/// Luma 0..=255 and the two colour differences −127.5..=127.5 of one pixel.
fn bt709(red: u8, green: u8, blue: u8) -> (f32, f32, f32) {
    let (red, green, blue) = (f32::from(red), f32::from(green), f32::from(blue));
    let luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    (luma, (blue - luma) / 1.8556, (red - luma) / 1.5748)
}

impl YUVSource for Yuv {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }

    fn y(&self) -> &[u8] {
        &self.y
    }

    fn u(&self) -> &[u8] {
        &self.u
    }

    fn v(&self) -> &[u8] {
        &self.v
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn primaries_have_the_levels_of_bt709() {
        // 8-bit levels of 100 % colour bars, as ITU-R BT.709-6 and any test signal generator give them.
        let levels = [
            ([255, 255, 255], [235, 128, 128]),
            ([0, 0, 0], [16, 128, 128]),
            ([255, 0, 0], [63, 102, 240]),
            ([0, 255, 0], [173, 42, 26]),
            ([0, 0, 255], [32, 240, 118]),
        ];
        for (rgb, [y, u, v]) in levels {
            let planes = Yuv::from_rgb(&RgbImage::from_pixel(2, 2, Rgb(rgb)), 1, 2, 2);
            assert_eq!((planes.y[0], planes.u[0], planes.v[0]), (y, u, v), "{rgb:?}");
        }
    }

    #[test]
    fn an_odd_frame_repeats_its_last_row_and_column() {
        let frame = RgbImage::from_fn(3, 1, |x, _| Rgb([100 * x as u8; 3]));
        let planes = Yuv::from_rgb(&frame, 1, 4, 2);
        assert_eq!(planes.y[..4], planes.y[4..]);
        assert_eq!(planes.y[2], planes.y[3]);
        assert_ne!(planes.y[1], planes.y[2]);
    }

    #[test]
    fn zoom_makes_hard_pixels() {
        let frame = RgbImage::from_fn(2, 1, |x, _| Rgb([255 * x as u8; 3]));
        let planes = Yuv::from_rgb(&frame, 2, 4, 2);
        assert_eq!(planes.y, [16, 16, 235, 235, 16, 16, 235, 235]);
    }
}
