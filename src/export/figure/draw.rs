//! Draws a figure as SVG.
//!
//! Sizes are pixels. Axes and grid are plotters' own; titles and the legend are drawn here, the legend above the curves,
//! where it hides none. How wide a text becomes is measured with the fonts that draw it in the end.

use super::axis::Axis;
use super::bands;
use super::{Across, Figure, LOOKS, Line, Panel};
use crate::viz::fonts::FAMILIES;
use crate::viz::text::TextStyle as Letters;
use image::Rgb;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Failure = DrawingAreaErrorKind<std::io::Error>;
pub(super) type Drawn = Result<(), Failure>;
pub(super) type Place = (i32, i32);

/// Colours of Okabe and Ito, the ones that stand out on white first.
pub(super) const COLOURS: [RGBColor; LOOKS] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];
/// Length of dash and gap; no gap is a whole line.
const DASHES: [(i32, i32); LOOKS] = [(1, 0), (22, 12), (6, 10), (40, 12), (14, 8), (3, 6)];
const GREY: RGBColor = RGBColor(95, 95, 95);
const GRID: RGBColor = RGBColor(222, 222, 222);
const MARGIN: i32 = 36;
/// Between two panels.
const GAP: i32 = 34;
/// Around a chart: free above and on the right, labels below.
const TOP: i32 = 16;
const RIGHT: i32 = 22;
const BELOW: i32 = 98;
const LINE_WIDTH: u32 = 5;
const THEORY_WIDTH: u32 = 3;
const THEORY_DASH: (i32, i32) = (4, 6);
const TITLE: f64 = 54.0;
const SUBTITLE: f64 = 36.0;
const NAME: f64 = 38.0;
const ABOUT: f64 = 31.0;
pub(super) const LABEL: f64 = 34.0;
/// What plotters divides a size by: the em of its text in an SVG.
const EM: f64 = 1.24;
/// Height of a line of the legend, and width of the sample before its name.
const ROW: i32 = 42;
const SWATCH: i32 = 92;

pub(super) fn text(size: f64, colour: RGBColor, bold: bool) -> TextStyle<'static> {
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    FontDesc::new(FontFamily::Name(FAMILIES), size, style).color(&colour).pos(Pos::new(HPos::Left, VPos::Top))
}

/// The same text as letters that can be measured.
fn letters(style: &TextStyle) -> Letters {
    let letters = Letters::new((style.font.get_size() / EM) as f32, Rgb([0; 3]));
    if matches!(style.font.get_style(), FontStyle::Bold) { letters.bold() } else { letters }
}

pub(super) fn wide(text: &str, style: &TextStyle) -> i32 {
    letters(style).width(text) as i32
}

/// Writes a line from its upper left corner, smaller if it is wider than `width`.
fn write(area: &Area, words: &str, style: &TextStyle, at: Place, width: i32) -> Drawn {
    let shrink = (f64::from(width) / f64::from(wide(words, style).max(1))).min(1.0);
    let size = style.font.get_size();
    // A line that had to shrink keeps the middle it would have had.
    let y = at.1 + (0.5 * (1.0 - shrink) * size).round() as i32;
    area.draw_text(words, &TextStyle { font: style.font.resize(size * shrink), ..style.clone() }, (at.0, y))
}

/// Writes text in lines, at most `most` of them, `apart` pixels from one to the next; gives where it ends.
fn write_lines(
    area: &Area,
    words: &str,
    style: &TextStyle,
    y: i32,
    (most, apart): (usize, i32),
) -> Result<i32, Failure> {
    let inner = area.dim_in_pixel().0 as i32 - 2 * MARGIN;
    let mut y = y;
    for line in letters(style).wrap_to(words, inner as u32, most).lines().filter(|line| !line.is_empty()) {
        write(area, line, style, (MARGIN, y), inner)?;
        y += apart;
    }
    Ok(y)
}

/// Draws the whole figure.
pub(super) fn figure(figure: &Figure, area: &Area) -> Drawn {
    let (width, height) = area.dim_in_pixel();
    let (inner, height) = (width as i32 - 2 * MARGIN, height as i32);
    area.fill(&WHITE)?;
    let under_title = write_lines(area, &figure.title, &text(TITLE, BLACK, true), 22, (2, 68))?;
    let mut top = 20 + write_lines(area, &figure.subtitle, &text(SUBTITLE, GREY, false), under_title, (3, 46))?;
    let note = text(ABOUT, GREY, false);
    let lines = letters(&note).wrap_to(&figure.note, inner as u32, 2).lines().filter(|line| !line.is_empty()).count();
    let bottom = height - 14 - 44 * lines as i32;
    write_lines(area, &figure.note, &note, bottom, (2, 44))?;
    // Panels begin at one height, so that they can be compared.
    let most = figure.panels.iter().map(|p| named(p).count()).max().unwrap_or(0) as i32;
    let mut legend_rows = if most > 1 { most } else { 0 };
    if let (Some(curves), 1..) = (shared_curves(figure), legend_rows) {
        top = shared_legend(&curves, area, (MARGIN, top), (inner, figure.panels.iter().all(|panel| panel.stacked)))?;
        legend_rows = 0;
    }
    let rows = figure.rows() as i32;
    let across = figure.panels.len().div_ceil(figure.rows()).max(1) as i32;
    let (wide, high) = ((inner - GAP * (across - 1)) / across, (bottom - top - GAP * (rows - 1)) / rows);
    for (i, panel) in (0..).zip(&figure.panels) {
        let (left, upper) = (MARGIN + i % across * (wide + GAP), top + i / across * (high + GAP));
        draw_panel(panel, &area.clone().shrink((left, upper), (wide, high)), legend_rows)?;
    }
    Ok(())
}

/// The curves that the legend names.
fn named(panel: &Panel) -> impl Iterator<Item = &Line> {
    panel.curves.iter().filter(|curve| !curve.name.is_empty())
}

/// The curves of all panels, each once, if there are several panels or bands and each look stands for one thing.
fn shared_curves(figure: &Figure) -> Option<Vec<&Line>> {
    let mut curves: Vec<&Line> = vec![];
    for curve in figure.panels.iter().flat_map(named) {
        match curves.iter().find(|known| known.look == curve.look && known.theory == curve.theory) {
            Some(known) if known.name != curve.name => return None,
            Some(_) => {}
            None => curves.push(curve),
        }
    }
    curves.sort_by_key(|curve| curve.look);
    (figure.panels.len() > 1 || figure.panels.iter().any(|panel| panel.stacked)).then_some(curves)
}

/// One legend for all panels, in lines across the figure, of bands or of lines; gives the height at which it ends.
fn shared_legend(
    curves: &[&Line],
    area: &Area,
    (left, top): Place,
    (width, bands): (i32, bool),
) -> Result<i32, Failure> {
    let (mut x, mut y) = (left, top);
    for curve in curves {
        let needed = SWATCH + wide(&curve.name, &text(LABEL, BLACK, false));
        if x > left && x + needed > left + width {
            (x, y) = (left, y + ROW);
        }
        legend_entry(curve, area, (x, y), (width, bands))?;
        x += needed + 44;
    }
    Ok(y + ROW + 24)
}

fn legend_entry(line: &Line, area: &Area, (x, y): Place, (width, band): (i32, bool)) -> Drawn {
    let middle = y + (LABEL * 0.42) as i32;
    if band || bands::is_grey(line.look) {
        bands::swatch(line.look, area, (x, middle), SWATCH - 14)?;
        return write(area, &line.name, &text(LABEL, BLACK, false), (x + SWATCH, y), width - SWATCH);
    }
    stroke(area, line, &[(x, middle), (x + SWATCH - 14, middle)])?;
    if !line.theory {
        marker(area, line.look, (x + (SWATCH - 14) / 2, middle))?;
    }
    write(area, &line.name, &text(LABEL, BLACK, false), (x + SWATCH, y), width - SWATCH)
}

fn draw_panel(panel: &Panel, area: &Area, legend_rows: i32) -> Drawn {
    let (width, height) = area.dim_in_pixel();
    let (width, height) = (width as i32, height as i32);
    let values = panel.curves.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    let y = match (panel.stacked, panel.log) {
        (true, _) => Axis::linear(bands::sums(panel).into_iter(), 5),
        (_, true) => Axis::log(values),
        _ => Axis::linear(values, 5),
    };
    write(area, &panel.y, &text(NAME, BLACK, true), (0, 0), width)?;
    let about = match y.cut_at() {
        Some(start) => format!("{} · axis from {start}", panel.about),
        None => panel.about.clone(),
    };
    write(area, &about, &text(ABOUT, GREY, false), (0, 46), width)?;
    let head = 96;
    if legend_rows > 0 {
        for (i, line) in (0..).zip(named(panel)) {
            legend_entry(line, area, (0, head + i * ROW), (width, false))?;
        }
    }
    let top = head + legend_rows * ROW + 6;
    let chart = area.clone().shrink((0, top), (width, height - top));
    draw_curves(panel, y, &chart, area)
}

/// Both axes of a panel whose chart has so many pixels, labels included.
fn axes(panel: &Panel, y: Axis, (width, height): (u32, u32)) -> (Axis, Axis) {
    let count = width as usize / 95;
    if panel.across == Across::Steps {
        return (Axis::steps(panel.x_end, count), y);
    }
    let points = panel.curves.iter().flat_map(|line| &line.points);
    let across = points.clone().map(|(x, _)| *x);
    if panel.across == Across::Numbers {
        return (Axis::linear(across, count.saturating_sub(1)), y);
    }
    let room = (f64::from(width as i32 - RIGHT - beside(&y)), f64::from(height as i32 - TOP - BELOW));
    let room = (room.0.max(1.0), room.1.max(1.0));
    Axis::at_one_scale(across, points.map(|(_, y)| *y), room, (count.saturating_sub(1), 5))
}

/// Room for the labels of a vertical axis.
fn beside(y: &Axis) -> i32 {
    let longest = y.marks.iter().map(|m| y.label(*m).chars().count()).max().unwrap_or(1) as i32;
    20 * longest + 26
}

fn draw_curves(panel: &Panel, y: Axis, chart: &Area, area: &Area) -> Drawn {
    let (x, y) = axes(panel, y, chart.dim_in_pixel());
    let mut context = ChartBuilder::on(chart)
        .margin_right(RIGHT)
        .margin_top(TOP)
        .x_label_area_size(BELOW)
        .y_label_area_size(beside(&y))
        .build_cartesian_2d(x.clone(), y.clone())?;
    context
        .configure_mesh()
        .bold_line_style(GRID.stroke_width(2))
        .light_line_style(TRANSPARENT)
        .axis_style(GREY.stroke_width(2))
        .set_all_tick_mark_size(8)
        // The labels are written below, where they can be moved to stand level with their marks.
        .x_labels(0)
        .y_labels(0)
        .x_label_formatter(&|_| String::new())
        .y_label_formatter(&|_| String::new())
        .label_style(text(LABEL, BLACK, false))
        .draw()?;
    // From here on in pixels of the panel, where dashes and markers have their sizes.
    let origin = area.get_pixel_range();
    let (left, top) = (origin.0.start, origin.1.start);
    let pixel = |x: f64, y: f64| {
        let (x, y) = context.backend_coord(&(x, y));
        (x - left, y - top)
    };
    write_labels(panel, (&x, &y), pixel, area)?;
    if panel.stacked {
        return bands::draw(panel, pixel, area);
    }
    for line in &panel.curves {
        let place = |(step, value): &(f64, f64)| {
            let value = y.place(*value).filter(|v| (y.start..=y.end).contains(v))?;
            Some(pixel(*step, value))
        };
        draw_line(line, place, panel.across, area)?;
    }
    Ok(())
}

fn write_labels(panel: &Panel, (x, y): (&Axis, &Axis), pixel: impl Fn(f64, f64) -> Place, area: &Area) -> Drawn {
    let style = |horizontal, vertical| text(LABEL, BLACK, false).pos(Pos::new(horizontal, vertical));
    for mark in &y.marks {
        let (px, py) = pixel(x.start, *mark);
        area.draw_text(&y.label(*mark), &style(HPos::Right, VPos::Center), (px - 16, py))?;
    }
    let under = style(HPos::Center, VPos::Top);
    for mark in &x.marks {
        let (px, py) = pixel(*mark, y.start);
        area.draw_text(&x.label(*mark), &under, (px, py + 14))?;
    }
    let (px, py) = pixel(0.5 * (x.start + x.end), y.start);
    area.draw_text(&panel.x, &under, (px, py + 54))
}

fn draw_line(line: &Line, pixel: impl Fn(&(f64, f64)) -> Option<Place>, across: Across, area: &Area) -> Drawn {
    let places: Vec<Place> = line.points.iter().filter_map(pixel).collect();
    stroke(area, line, &places)?;
    if line.theory {
        return Ok(());
    }
    // Markers that would touch each other hide the line: then only some are drawn, the last one always.
    let span = match across {
        // A path may go any way.
        Across::SameScale => {
            let far = |pair: &[Place]| f64::from(pair[1].0 - pair[0].0).hypot(f64::from(pair[1].1 - pair[0].1));
            places.windows(2).map(far).sum::<f64>() as i32
        }
        _ => places.last().map_or(0, |p| p.0) - places.first().map_or(0, |p| p.0),
    };
    let fitting = (span / 30).max(1) as usize;
    let every = places.len().div_ceil(fitting).max(1);
    for (i, place) in places.iter().enumerate() {
        if i.is_multiple_of(every) || i + 1 == places.len() {
            marker(area, line.look, *place)?;
        }
    }
    Ok(())
}

fn stroke(area: &Area, line: &Line, places: &[Place]) -> Drawn {
    if places.len() < 2 {
        return Ok(());
    }
    let (width, (dash, gap)) = match line.theory {
        true => (THEORY_WIDTH, THEORY_DASH),
        false => (LINE_WIDTH, DASHES[line.look % DASHES.len()]),
    };
    let style = COLOURS[line.look % COLOURS.len()].stroke_width(width);
    if gap == 0 {
        return area.draw(&PathElement::new(places.to_vec(), style));
    }
    let path = places.iter().copied();
    area.draw(&plotters::element::DashedPathElement::new(path, dash, gap, style))
}

fn marker(area: &Area, look: usize, (x, y): Place) -> Drawn {
    let colour = COLOURS[look % COLOURS.len()];
    let filled = colour.filled();
    let polygon = |corners: &[(i32, i32)]| {
        Polygon::new(corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect::<Vec<_>>(), filled)
    };
    match look % 6 {
        0 => area.draw(&Circle::new((x, y), 9, filled)),
        1 => area.draw(&Rectangle::new([(x - 8, y - 8), (x + 8, y + 8)], filled)),
        2 => area.draw(&polygon(&[(0, -12), (-11, 8), (11, 8)])),
        3 => area.draw(&polygon(&[(0, -13), (13, 0), (0, 13), (-13, 0)])),
        4 => area.draw(&polygon(&[(0, 12), (-11, -8), (11, -8)])),
        _ => area.draw(&Cross::new((x, y), 9, colour.stroke_width(4))),
    }
}
