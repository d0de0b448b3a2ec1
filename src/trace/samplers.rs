//! The samplers of AUTOMATIC1111's web UI and of stable-diffusion.cpp, as schedulers of ours.
//!
//! Enters: a sampler's name, and the schedule of its noise levels, which newer web UIs write apart and others behind the
//! sampler. Leaves: our scheduler, if there is one of the same arithmetic and the same levels, and what may differ.

use crate::scheduler::SchedulerKind;

/// Schedules and what we make of them; one whose name ends with another's stands before it.
const SCHEDULES: [(&str, Levels); 19] = [
    ("automatic", Levels::Usual),
    ("discrete", Levels::Usual),
    ("default", Levels::Usual),
    ("karras", Levels::Karras),
    ("sgm uniform", Levels::Spaced),
    ("sgm_uniform", Levels::Spaced),
    ("sgmuniform", Levels::Spaced),
    ("uniform", Levels::Spaced),
    ("normal", Levels::Spaced),
    ("simple", Levels::Spaced),
    ("exponential", Levels::Unknown),
    ("polyexponential", Levels::Unknown),
    ("kl optimal", Levels::Unknown),
    ("align your steps", Levels::Unknown),
    ("ddim", Levels::Unknown),
    ("beta", Levels::Unknown),
    ("ays", Levels::Unknown),
    ("gits", Levels::Unknown),
    ("turbo", Levels::Unknown),
];

/// Samplers for which a web UI's automatic schedule is Karras'.
const KARRAS_BY_ITSELF: [SchedulerKind; 1] = [SchedulerKind::Dpmpp2m];

/// Where a sampler's noise levels lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Levels {
    /// Where the sampler has them by itself.
    Usual,
    /// At training timesteps a fixed way apart: here the model's configuration says which way.
    Spaced,
    /// Where Karras et al. put them.
    Karras,
    /// Somewhere that is not known here.
    Unknown,
}

/// What a picture's sampler is here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sampler {
    /// The sampler and its schedule, as the picture names them.
    pub name: String,
    /// The scheduler of that name here, if there is one.
    pub scheduler: Option<String>,
    /// The schedule, if it spaces the noise levels in a way that here is up to the model's configuration.
    pub spacing: Option<String>,
}

impl Sampler {
    /// Finds a sampler; `schedule` is what the picture says of it beside the sampler's name.
    pub fn find(name: &str, schedule: Option<&str>) -> Sampler {
        let schedule = schedule.map(str::trim).filter(|schedule| !schedule.is_empty());
        let full = schedule.map_or(name.to_string(), |schedule| format!("{name} {schedule}"));
        let known = SchedulerKind::parse(name).ok();
        let (kind, levels, spaced) = match (schedule, known) {
            // A name that has its schedule in it, as `DPM++ 2M Karras`.
            (None, Some(kind)) => (Some(kind), Levels::Usual, None),
            (None, None) => {
                let (stem, word, levels) = behind(name).unwrap_or((name, "", Levels::Unknown));
                (SchedulerKind::parse(stem).ok(), levels, Some(word))
            }
            (Some(schedule), kind) => (kind, meaning(schedule), Some(schedule)),
        };
        let automatic = schedule.is_some_and(|schedule| schedule.eq_ignore_ascii_case("automatic"));
        let scheduler = kind.and_then(|kind| match levels {
            Levels::Usual if automatic && KARRAS_BY_ITSELF.contains(&kind) => karras(kind),
            Levels::Usual | Levels::Spaced => Some(kind),
            Levels::Karras => karras(kind),
            Levels::Unknown => None,
        });
        let spacing = spaced.filter(|_| levels == Levels::Spaced && scheduler.is_some()).map(String::from);
        Sampler { name: full, scheduler: scheduler.map(|kind| kind.name().into()), spacing }
    }
}

/// What a schedule's name means.
fn meaning(schedule: &str) -> Levels {
    let known = SCHEDULES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(schedule));
    known.map_or(Levels::Unknown, |(_, levels)| levels)
}

/// A sampler's name without the schedule behind it, and the schedule.
fn behind(name: &str) -> Option<(&str, &str, Levels)> {
    let split = |(schedule, levels): (&str, Levels)| {
        let at = name.len().checked_sub(schedule.len())?;
        let (stem, end) = (name.get(..at)?, name.get(at..)?);
        (end.eq_ignore_ascii_case(schedule) && stem.ends_with([' ', '_'])).then_some((stem.trim_end(), end, levels))
    };
    SCHEDULES.into_iter().find_map(split)
}

/// The scheduler of the same arithmetic at Karras' levels.
fn karras(kind: SchedulerKind) -> Option<SchedulerKind> {
    SchedulerKind::parse(&format!("{}_karras", kind.name().trim_end_matches("_karras"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_are_known_in_both_spellings() {
        for (name, schedule, ours, spacing) in [
            ("Euler a", None, Some("euler_a"), None),
            ("Euler", Some("Automatic"), Some("euler"), None),
            ("Euler", Some("Normal"), Some("euler"), Some("Normal")),
            ("Euler", Some("Simple"), Some("euler"), Some("Simple")),
            ("Euler", Some("SGM Uniform"), Some("euler"), Some("SGM Uniform")),
            ("euler sgm_uniform", None, Some("euler"), Some("sgm_uniform")),
            ("Euler", Some("Karras"), None, None),
            ("Euler Karras", None, None, None),
            ("Euler", Some("Exponential"), None, None),
            ("Euler", Some("unheard of"), None, None),
            ("DPM++ 2M", None, Some("dpmpp_2m"), None),
            ("DPM++ 2M", Some("Karras"), Some("dpmpp_2m_karras"), None),
            ("DPM++ 2M Karras", None, Some("dpmpp_2m_karras"), None),
            ("DPM++ 2M Karras", Some("Karras"), Some("dpmpp_2m_karras"), None),
            ("DPM++ 2M", Some("Automatic"), Some("dpmpp_2m_karras"), None),
            ("dpm++2m karras", None, Some("dpmpp_2m_karras"), None),
            ("dpm++2m discrete", None, Some("dpmpp_2m"), None),
            ("DPM++ SDE", Some("Karras"), None, None),
            ("DPM++ SDE Karras", None, None, None),
            ("DDIM", None, Some("ddim"), None),
            ("猫", None, None, None),
        ] {
            let found = Sampler::find(name, schedule);
            assert_eq!((found.scheduler.as_deref(), found.spacing.as_deref()), (ours, spacing), "{name}, {schedule:?}");
        }
        assert_eq!(Sampler::find("Euler", Some("Karras")).name, "Euler Karras");
    }
}
