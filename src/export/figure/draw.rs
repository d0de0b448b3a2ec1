//! Draws a figure on whatever plotters can draw on.
//!
//! Sizes are those of a 1600×900 picture, times `k`. Axes and grid are plotters' own; the legend is drawn here, above the
//! curves, where it hides none.

use super::axis::Axis;
use super::{FONT, Figure, Line, Panel};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

type Area<DB> = DrawingArea<DB, Shift>;
type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;
type Place = (i32, i32);

/// Colours of Okabe and Ito, the ones that stand out on white first.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];
/// Length of dash and gap; no gap is a whole line.
const DASHES: [(i32, i32); 6] = [(1, 0), (22, 12), (6, 10), (40, 12), (14, 8), (3, 6)];
const GREY: RGBColor = RGBColor(95, 95, 95);
const GRID: RGBColor = RGBColor(222, 222, 222);
const MARGIN: i32 = 36;
const LINE_WIDTH: f64 = 5.0;
const TITLE: f64 = 54.0;
const SUBTITLE: f64 = 36.0;
const NAME: f64 = 38.0;
const ABOUT: f64 = 31.0;
const LABEL: f64 = 34.0;
/// Height of a line of the legend, and width of the sample before its name.
const ROW: f64 = 42.0;
const SWATCH: f64 = 92.0;

/// A pen of one size: everything scales with it.
#[derive(Clone, Copy)]
pub(super) struct Pen {
    /// Pixels of the surface per pixel of a 1600×900 picture.
    pub k: f64,
    /// How far text must be moved down, as a share of its size: plotters sets text of an `ab_glyph` font higher in a
    /// bitmap than the same text in an SVG.
    pub drop: f64,
}

impl Pen {
    fn px(self, size: impl Into<f64>) -> i32 {
        (size.into() * self.k).round() as i32
    }

    fn stroke(self, colour: RGBColor, width: f64) -> ShapeStyle {
        colour.stroke_width(self.px(width).max(1) as u32)
    }

    fn text(self, size: f64, colour: RGBColor, bold: bool) -> TextStyle<'static> {
        let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
        FontDesc::new(FontFamily::Name(FONT), size * self.k, style).color(&colour).pos(Pos::new(HPos::Left, VPos::Top))
    }

    /// Writes a line from its upper left corner, smaller if it is wider than `width`.
    fn write<DB: DrawingBackend>(
        self,
        area: &Area<DB>,
        text: &str,
        style: &TextStyle,
        at: Place,
        width: i32,
    ) -> Drawn<DB> {
        let (wide, _) = area.estimate_text_size(text, style)?;
        let shrink = (f64::from(width) / f64::from(wide.max(1))).min(1.0);
        let size = style.font.get_size() * shrink;
        // A line that had to shrink keeps the middle it would have had.
        let y = at.1 + (0.5 * (1.0 - shrink) * style.font.get_size() + self.drop * size).round() as i32;
        area.draw_text(text, &TextStyle { font: style.font.resize(size), ..style.clone() }, (at.0, y))
    }
}

/// Draws the whole figure.
pub(super) fn figure<DB: DrawingBackend>(figure: &Figure, area: &Area<DB>, pen: Pen) -> Drawn<DB> {
    let (width, height) = area.dim_in_pixel();
    let (width, height, margin) = (width as i32, height as i32, pen.px(MARGIN));
    let inner = width - 2 * margin;
    area.fill(&WHITE)?;
    pen.write(area, &figure.title, &pen.text(TITLE, BLACK, true), (margin, pen.px(22)), inner)?;
    pen.write(area, &figure.subtitle, &pen.text(SUBTITLE, GREY, false), (margin, pen.px(90)), inner)?;
    let mut bottom = height - pen.px(14);
    if !figure.note.is_empty() {
        bottom -= pen.px(44);
        pen.write(area, &figure.note, &pen.text(ABOUT, GREY, false), (margin, bottom), inner)?;
    }
    let (mut top, gap) = (pen.px(156), pen.px(34));
    let count = figure.panels.len().max(1) as i32;
    let each = (inner - gap * (count - 1)) / count;
    let names = |panel: &Panel| panel.curves.iter().map(|c| (c.name.clone(), c.look)).collect::<Vec<_>>();
    let shared = figure.panels.windows(2).all(|pair| names(&pair[0]) == names(&pair[1])) && count > 1;
    // Panels begin at one height, so that they can be compared.
    let most = figure.panels.iter().map(|p| p.curves.len()).max().unwrap_or(0) as i32;
    let mut rows = if most > 1 { most } else { 0 };
    if let (true, 1.., Some(first)) = (shared, rows, figure.panels.first()) {
        top = shared_legend(&first.curves, area, (margin, top), inner, pen)?;
        rows = 0;
    }
    for (i, panel) in (0..).zip(&figure.panels) {
        let left = margin + i * (each + gap);
        let part = area.clone().shrink((left, top), (each, bottom - top));
        draw_panel(panel, &part, pen, rows)?;
    }
    Ok(())
}

/// One legend for all panels, in lines across the figure; gives the height at which it ends.
fn shared_legend<DB: DrawingBackend>(
    curves: &[Line],
    area: &Area<DB>,
    (left, top): Place,
    width: i32,
    pen: Pen,
) -> Result<i32, DrawingAreaErrorKind<DB::ErrorType>> {
    let (mut x, mut y) = (left, top);
    for curve in curves {
        let (wide, _) = area.estimate_text_size(&curve.name, &pen.text(LABEL, BLACK, false))?;
        let needed = pen.px(SWATCH) + wide as i32;
        if x > left && x + needed > left + width {
            (x, y) = (left, y + pen.px(ROW));
        }
        legend_entry(curve, area, (x, y), width, pen)?;
        x += needed + pen.px(44);
    }
    Ok(y + pen.px(ROW) + pen.px(24))
}

fn legend_entry<DB: DrawingBackend>(line: &Line, area: &Area<DB>, (x, y): Place, width: i32, pen: Pen) -> Drawn<DB> {
    let middle = y + pen.px(LABEL * 0.42);
    stroke(area, pen, line.look, &[(x, middle), (x + pen.px(SWATCH - 14.0), middle)])?;
    marker(area, pen, line.look, (x + pen.px(0.5 * (SWATCH - 14.0)), middle))?;
    pen.write(area, &line.name, &pen.text(LABEL, BLACK, false), (x + pen.px(SWATCH), y), width - pen.px(SWATCH))
}

fn draw_panel<DB: DrawingBackend>(panel: &Panel, area: &Area<DB>, pen: Pen, rows: i32) -> Drawn<DB> {
    let (width, height) = area.dim_in_pixel();
    let (width, height) = (width as i32, height as i32);
    pen.write(area, &panel.y, &pen.text(NAME, BLACK, true), (0, 0), width)?;
    pen.write(area, &panel.about, &pen.text(ABOUT, GREY, false), (0, pen.px(46)), width)?;
    let (head, row) = (pen.px(96), pen.px(ROW));
    if rows > 0 {
        for (i, line) in (0..).zip(&panel.curves) {
            legend_entry(line, area, (0, head + i * row), width, pen)?;
        }
    }
    let top = head + rows * row + pen.px(6);
    let chart = area.clone().shrink((0, top), (width, height - top));
    draw_curves(panel, &chart, area, pen)
}

fn draw_curves<DB: DrawingBackend>(panel: &Panel, chart: &Area<DB>, area: &Area<DB>, pen: Pen) -> Drawn<DB> {
    let values = panel.curves.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    let y = if panel.log { Axis::log(values) } else { Axis::linear(values, 5) };
    let width = chart.dim_in_pixel().0 as i32;
    let x = Axis::steps(panel.x_end, (f64::from(width) / (95.0 * pen.k)) as usize);
    let longest = y.marks.iter().map(|m| y.label(*m).chars().count()).max().unwrap_or(1) as i32;
    let mut context = ChartBuilder::on(chart)
        .margin_right(pen.px(22))
        .margin_top(pen.px(16))
        .x_label_area_size(pen.px(98))
        .y_label_area_size(pen.px(20 * longest + 26))
        .build_cartesian_2d(x.clone(), y.clone())?;
    context
        .configure_mesh()
        .bold_line_style(pen.stroke(GRID, 1.5))
        .light_line_style(TRANSPARENT)
        .axis_style(pen.stroke(GREY, 2.0))
        .set_all_tick_mark_size(pen.px(8))
        // The labels are written below, where they can be moved to stand level with their marks.
        .x_labels(0)
        .y_labels(0)
        .x_label_formatter(&|_| String::new())
        .y_label_formatter(&|_| String::new())
        .label_style(pen.text(LABEL, BLACK, false))
        .draw()?;
    // From here on in pixels of the panel, where dashes and markers have their sizes.
    let origin = area.get_pixel_range();
    let (left, top) = (origin.0.start, origin.1.start);
    let pixel = |x: f64, y: f64| {
        let (x, y) = context.backend_coord(&(x, y));
        (x - left, y - top)
    };
    write_labels(panel, (&x, &y), pixel, area, pen)?;
    for line in &panel.curves {
        let place = |(step, value): &(f64, f64)| {
            let value = y.place(*value).filter(|v| (y.start..=y.end).contains(v))?;
            Some(pixel(*step, value))
        };
        draw_line(line, place, area, pen)?;
    }
    Ok(())
}

fn write_labels<DB: DrawingBackend>(
    panel: &Panel,
    (x, y): (&Axis, &Axis),
    pixel: impl Fn(f64, f64) -> Place,
    area: &Area<DB>,
    pen: Pen,
) -> Drawn<DB> {
    let down = (pen.drop * LABEL * pen.k).round() as i32;
    let text = |horizontal, vertical| pen.text(LABEL, BLACK, false).pos(Pos::new(horizontal, vertical));
    for mark in &y.marks {
        let (px, py) = pixel(x.start, *mark);
        area.draw_text(&y.label(*mark), &text(HPos::Right, VPos::Center), (px - pen.px(16), py + down))?;
    }
    let under = text(HPos::Center, VPos::Top);
    for mark in &x.marks {
        let (px, py) = pixel(*mark, y.start);
        area.draw_text(&x.label(*mark), &under, (px, py + pen.px(14) + down))?;
    }
    let (px, py) = pixel(0.5 * (x.start + x.end), y.start);
    area.draw_text(&panel.x, &under, (px, py + pen.px(54) + down))
}

fn draw_line<DB: DrawingBackend>(
    line: &Line,
    pixel: impl Fn(&(f64, f64)) -> Option<Place>,
    area: &Area<DB>,
    pen: Pen,
) -> Drawn<DB> {
    let places: Vec<Place> = line.points.iter().filter_map(pixel).collect();
    stroke(area, pen, line.look, &places)?;
    // Markers that would touch each other hide the line: then only some are drawn, the last one always.
    let span = places.last().map_or(0, |p| p.0) - places.first().map_or(0, |p| p.0);
    let fitting = (span / pen.px(30)).max(1) as usize;
    let every = places.len().div_ceil(fitting).max(1);
    for (i, place) in places.iter().enumerate() {
        if i.is_multiple_of(every) || i + 1 == places.len() {
            marker(area, pen, line.look, *place)?;
        }
    }
    Ok(())
}

fn stroke<DB: DrawingBackend>(area: &Area<DB>, pen: Pen, look: usize, places: &[Place]) -> Drawn<DB> {
    if places.len() < 2 {
        return Ok(());
    }
    let style = pen.stroke(COLOURS[look % COLOURS.len()], LINE_WIDTH);
    let (dash, gap) = DASHES[look % DASHES.len()];
    if gap == 0 {
        return area.draw(&PathElement::new(places.to_vec(), style));
    }
    let path = places.iter().copied();
    area.draw(&plotters::element::DashedPathElement::new(path, pen.px(dash), pen.px(gap), style))
}

fn marker<DB: DrawingBackend>(area: &Area<DB>, pen: Pen, look: usize, (x, y): Place) -> Drawn<DB> {
    let (colour, r) = (COLOURS[look % COLOURS.len()], pen.px(10.0));
    let filled = colour.filled();
    let polygon = |corners: &[(i32, i32)]| Polygon::new(corners.to_vec(), filled);
    match look % 6 {
        0 => area.draw(&Circle::new((x, y), r * 9 / 10, filled)),
        1 => area.draw(&Rectangle::new([(x - r * 8 / 10, y - r * 8 / 10), (x + r * 8 / 10, y + r * 8 / 10)], filled)),
        2 => area.draw(&polygon(&[
            (x, y - r * 12 / 10),
            (x - r * 11 / 10, y + r * 8 / 10),
            (x + r * 11 / 10, y + r * 8 / 10),
        ])),
        3 => area.draw(&polygon(&[
            (x, y - r * 13 / 10),
            (x + r * 13 / 10, y),
            (x, y + r * 13 / 10),
            (x - r * 13 / 10, y),
        ])),
        4 => area.draw(&polygon(&[
            (x, y + r * 12 / 10),
            (x - r * 11 / 10, y - r * 8 / 10),
            (x + r * 11 / 10, y - r * 8 / 10),
        ])),
        _ => area.draw(&Cross::new((x, y), r * 9 / 10, pen.stroke(colour, 4.0))),
    }
}
