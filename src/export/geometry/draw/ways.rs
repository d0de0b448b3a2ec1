//! Where a run goes: the plane of start and end, principal components, cosines.

use super::{Parts, Points, each, over_steps, panel, percent};
use crate::export::figure::{Across, Line, Panel};
use crate::export::geometry::components::Components;
use crate::export::geometry::cosines::{Cosines, Curve};
use crate::export::geometry::plane::Plane;
use crate::export::geometry::trajectory::{Of, Trajectory};
use crate::export::words;

/// The lags that a figure of one run shows.
const LAGS: [usize; 4] = [1, 2, 5, 10];

pub(super) fn plane(all: &[Plane], ways: &[Trajectory]) -> Parts {
    let of = ways[0].of.symbol();
    let path = |plane: &Plane| plane.along.iter().copied().zip(plane.across.iter().copied()).collect();
    let mut curves = each(all, ways, |plane, _| path(plane));
    let mut foreseen = each(all, ways, |plane, way| way.curve(&percent(&plane.unforeseen_by_two)));
    let mut notes = vec![format!("e₁ points to the end, {of}(N); e₂ is perpendicular to it, towards the start.")];
    let mut about = format!("of ‖{of}(N)‖², outside the span of {of}(0), {of}(k)");
    if let ([plane], [way]) = (all, ways) {
        with_ends(&mut curves, way);
        if !plane.arc.is_empty() {
            curves.push(Line::theory("√ᾱ·end + √(1−ᾱ)·start", plane.arc.clone(), 5));
        }
        foreseen[0].name = format!("outside the span of {of}(0), {of}(k)");
        let points = way.curve(&percent(&plane.unforeseen_by_all));
        foreseen.push(Line::measured(format!("outside the span of {of}(0) … {of}(k)"), points, 1));
        notes.push(format!("The angle between start and end is {:.1}°.", plane.angle));
        about = format!("of ‖{of}(N)‖²");
    }
    let outside = each(all, ways, |plane, way| way.curve(&percent(&plane.outside)));
    let panels = vec![
        panel((&format!("{of}·e₁"), Across::SameScale), &format!("{of}·e₂"), "the plane of start and end", curves),
        over_steps(ways, "outside the plane, %", &format!("of ‖{of}(k)‖²"), outside),
        over_steps(ways, "the end not yet seen, %", &about, foreseen),
    ];
    Parts { title: "How flat the way is: the plane of start and end", panels, notes }
}

/// Names a way's only curve, and marks where it begins and ends.
fn with_ends(curves: &mut Vec<Line>, way: &Trajectory) {
    let Some(path) = curves.first_mut() else { return };
    path.name = "the way".into();
    let points = path.points.clone();
    for (look, at) in [(1, 0), (2, points.len() - 1)] {
        curves.push(Line::measured(format!("step {}", way.steps[at]), vec![points[at]], look));
    }
}

pub(super) fn components(all: &[Components], ways: &[Trajectory]) -> Parts {
    let (mut panels, mut notes, mut shares) = (vec![], vec![], vec![]);
    for (group, basis) in all.iter().enumerate() {
        let (channels, height, width) = basis.shape;
        let size = if all.len() > 1 { format!("{channels}×{height}×{width}") } else { String::new() };
        panels.extend(of_basis(basis, ways, &size));
        let points = basis.explained.iter().enumerate().map(|(at, share)| ((at + 1) as f64, 100.0 * share));
        shares.push(Line::measured(size.clone(), points.collect(), group));
        let two = words::percent(basis.explained.get(1).copied().unwrap_or(1.0));
        let whose = if size.is_empty() { String::new() } else { format!(" at {size}") };
        let one = words::percent(basis.explained[0]);
        notes.push(format!("The first component holds {one}, two hold {two} of the variance{whose}."));
    }
    let across = ("components", Across::Numbers);
    panels.insert(1, panel(across, "explained variance, %", "by so many of them together", shares));
    let title = match ways[0].of {
        Of::Predicted => "The directions in which x₀ varies most over the steps",
        Of::Noise => "The directions in which ε varies most over the steps",
        _ => "The directions in which the latents vary most over the steps",
    };
    Parts { title, panels, notes }
}

/// The way in the plane of the first two components, and along the first over the steps.
fn of_basis(basis: &Components, ways: &[Trajectory], size: &str) -> [Panel; 2] {
    let own: Vec<_> = ways.iter().enumerate().filter(|(_, way)| way.values[0].dim() == basis.shape).collect();
    let lines = |points: &dyn Fn(&[Vec<f64>], &Trajectory) -> Points| -> Vec<Line> {
        let pairs = own.iter().zip(&basis.members);
        pairs.map(|((look, way), own)| Line::measured(way.name.clone(), points(&own.scores, way), *look)).collect()
    };
    let score = |scores: &[f64], component: usize| scores.get(component).copied().unwrap_or(0.0);
    let along = |component: usize| {
        lines(&|scores, way| way.curve(&scores.iter().map(|s| score(s, component)).collect::<Vec<_>>()))
    };
    let mut path = lines(&|scores, _| scores.iter().map(|s| (score(s, 0), score(s, 1))).collect());
    let (mut over, mut about) = (along(0), "along the first, one basis for all".to_string());
    if let [way] = ways {
        with_ends(&mut path, way);
        let named = |at: usize| {
            along(at).into_iter().map(move |line| Line::measured(format!("component {}", at + 1), line.points, at))
        };
        (over, about) = ((0..3).flat_map(named).collect(), "along the first three".into());
    }
    let between = if size.is_empty() { "" } else { " · " };
    [
        panel(("component 1", Across::SameScale), "component 2", &format!("from step to step{between}{size}"), path),
        over_steps(ways, "coordinates", &format!("{about}{between}{size}"), over),
    ]
}

pub(super) fn cosines(all: &[Cosines], ways: &[Trajectory]) -> Parts {
    let of = ways[0].of.symbol();
    let points = |curve: &Curve| curve.iter().map(|(step, value)| (*step as f64, *value)).collect::<Points>();
    let lag = |own: &Cosines, lag| own.changes.get(&lag).map(points).unwrap_or_default();
    let mut curves = [
        each(all, ways, |own, _| lag(own, 1)),
        each(all, ways, |own, _| points(&own.change_to_end)),
        each(all, ways, |own, _| points(&own.to_end)),
    ];
    let mut about = ["of d(k), d(k+1)".into(), format!("of d(k), {of}(N)"), format!("of {of}(k), {of}(N)")];
    if let [own] = all {
        let line = |name: String, curve: &Curve, look| Line::measured(name, points(curve), look);
        let lags =
            LAGS.iter().enumerate().map(|(look, l)| Line::measured(format!("d(k), d(k+{l})"), lag(own, *l), look));
        curves = [
            lags.filter(|line| !line.points.is_empty()).collect(),
            vec![
                line(format!("d(k), {of}(0)"), &own.change_to_start, 0),
                line(format!("d(k), {of}(N)"), &own.change_to_end, 1),
            ],
            vec![
                line(format!("{of}(k), {of}(0)"), &own.to_start, 0),
                line(format!("{of}(k), {of}(N)"), &own.to_end, 1),
                line("ε(k), ε(k−1)".into(), &own.noise_to_before, 2),
            ],
        ];
        curves[2].retain(|line| !line.points.is_empty());
        about = ["1: the same direction".into(), "with start and end".into(), "with start and end".into()];
    }
    let names = ["cosines between changes", "cosines of a change", "cosines of where it is"];
    let parts = names.iter().zip(curves).zip(&about);
    let panels = parts.map(|((y, curves), about)| over_steps(ways, y, about, curves)).collect();
    let mut notes = vec![format!("d(k) = {of}(k+1) − {of}(k).")];
    let straight: Vec<String> = all.iter().filter_map(|own| own.straightness).map(words::short).collect();
    if !straight.is_empty() {
        let all = straight.join(", ");
        notes.push(format!("Straightness, the distance from start to end over the way travelled: {all}."));
    }
    Parts { title: "Which way each step goes: cosines", panels, notes }
}
