//! The gallery's pictures: rows to guess from, tables of what came, heat maps; and writing them small.

use image::{Rgb, RgbImage};
use ndarray::Array2;
use quantette::deps::palette::{Srgb, cast::ComponentsAs};
use quantette::{ImageRef, PaletteSize, Pipeline, QuantizeMethod};
use sdviz::error::{Error, Result};
use sdviz::files::atomic::{make_folder_of, write_atomically};
use sdviz::viz::caption::{CaptionStyle, with_caption};
use sdviz::viz::colour::ColourMap;
use sdviz::viz::grid::{Axis, Grid, GridCell, GridStyle, gallery};
use sdviz::viz::heatmap::HeatMap;
use sdviz::viz::normalise::Range;
use sdviz::viz::pixels::{WHITE, pad};
use sdviz::viz::text::TextStyle;
use std::path::Path;

const INK: Rgb<u8> = Rgb([20; 3]);

/// A picture of the gallery: the file's name without its ending, and the picture.
pub type Plate = (String, RgbImage);

/// Pictures in a row, each with its name above, twice as large as they are.
pub fn row(cells: &[(String, RgbImage)]) -> RgbImage {
    pad(&gallery(cells, cells.len(), 2, &TextStyle::new(20.0, INK)), [8; 4], WHITE)
}

/// Pictures in rows and columns, each with words below it.
pub fn table(columns: &[String], rows: &[(String, Vec<(RgbImage, String)>)]) -> Result<RgbImage> {
    let style = CaptionStyle { text: TextStyle::new(12.0, INK), background: WHITE, lines: 1, padding: 1 };
    let cell = |(picture, words): &(RgbImage, String)| GridCell::Picture(with_caption(picture, words, &style));
    let grid = Grid {
        title: String::new(),
        rows: Axis::new("", rows.iter().map(|(title, _)| title.clone())),
        columns: Axis::new("", columns),
        cells: rows.iter().flat_map(|(_, cells)| cells.iter().map(cell)).collect(),
    };
    let style = GridStyle { least_cell: 128, ..GridStyle::default() };
    grid.draw(&style)?.into_iter().next().ok_or_else(|| Error::Broken("a table without a page".into()))
}

/// Numbers in rows and columns as colours: from purple, the least, over white, 0, to orange, if some are below 0.
pub fn heat(title: &str, rows: Vec<String>, columns: Vec<String>, values: &[f64], decimals: usize) -> Result<RgbImage> {
    let shape = (rows.len(), columns.len());
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    let range =
        Range::of(values.iter().copied().filter(|value| value.is_finite())).unwrap_or(Range { lo: 0.0, hi: 1.0 });
    let (map, range) = match range.lo < 0.0 {
        true => (ColourMap::PurpleOrange, range.around_zero()),
        // Zeros alone are dark too.
        false => (ColourMap::Viridis, Range { lo: 0.0, hi: range.hi.max(1.0) }),
    };
    let values = Array2::from_shape_vec(shape, values).map_err(|error| Error::Broken(error.to_string()))?;
    Ok(HeatMap { title: title.into(), rows, columns, values, map, range, decimals }.draw())
}

/// Writes a picture as a PNG of at most 256 colours.
pub fn write(path: &Path, picture: &RgbImage) -> Result<()> {
    let refused =
        |reason: String| Error::invalid(format!("cannot write `{}`: {reason}", path.display()), "report this");
    let (width, height) = picture.dimensions();
    let pixels: &[Srgb<u8>] = picture.as_raw().as_slice().components_as();
    let image = ImageRef::new(width, height, pixels).map_err(|error| refused(error.to_string()))?;
    let pipeline = Pipeline::new().palette_size(PaletteSize::MAX).quantize_method(QuantizeMethod::kmeans());
    let indexed = pipeline.ditherer(None).input_image(image).output_srgb8_indexed_image();
    let palette: Vec<u8> =
        indexed.palette().iter().flat_map(|colour| [colour.red, colour.green, colour.blue]).collect();
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_palette(palette);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header().map_err(|error| refused(error.to_string()))?;
    writer.write_image_data(indexed.indices()).map_err(|error| refused(error.to_string()))?;
    writer.finish().map_err(|error| refused(error.to_string()))?;
    make_folder_of(path)?;
    write_atomically(path, &bytes)
}
