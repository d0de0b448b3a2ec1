//! The samplers of AUTOMATIC1111's web UI and of stable-diffusion.cpp, as schedulers of ours.
//!
//! Enters: a sampler's name, and the schedule of its noise levels, which newer web UIs write apart and others behind the
//! sampler. Leaves: our scheduler, if there is one of the same arithmetic and the same levels, and what may differ.

use crate::record::sigmas::Sigmas;
use crate::scheduler::SchedulerKind;

/// Schedules and what we make of them; one whose name ends with another's stands before it.
const SCHEDULES: [(&str, Levels); 19] = [
    ("automatic", Levels::Usual),
    ("discrete", Levels::Usual),
    ("default", Levels::Usual),
    ("karras", Levels::Placed(Sigmas::Karras)),
    ("sgm uniform", Levels::Placed(Sigmas::SgmUniform)),
    ("sgm_uniform", Levels::Placed(Sigmas::SgmUniform)),
    ("sgmuniform", Levels::Placed(Sigmas::SgmUniform)),
    ("uniform", Levels::Spaced),
    ("normal", Levels::Placed(Sigmas::Normal)),
    ("simple", Levels::Placed(Sigmas::Simple)),
    ("polyexponential", Levels::Unknown),
    ("exponential", Levels::Placed(Sigmas::Exponential)),
    ("kl optimal", Levels::Unknown),
    ("align your steps", Levels::Unknown),
    ("ddim", Levels::Unknown),
    ("beta", Levels::Placed(Sigmas::Beta)),
    ("ays", Levels::Unknown),
    ("gits", Levels::Unknown),
    ("turbo", Levels::Unknown),
];

/// Samplers for which a web UI's automatic schedule is another than the sampler's plain one.
const PLACED_BY_ITSELF: [(SchedulerKind, Sigmas); 6] = [
    (SchedulerKind::Dpmpp2m, Sigmas::Karras),
    (SchedulerKind::Dpmpp2mSde, Sigmas::Exponential),
    (SchedulerKind::DpmppSde, Sigmas::Karras),
    (SchedulerKind::Dpmpp2sA, Sigmas::Karras),
    (SchedulerKind::Dpm2, Sigmas::Karras),
    (SchedulerKind::Dpm2A, Sigmas::Karras),
];

/// Where a sampler's noise levels lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Levels {
    /// Where the sampler has them by itself.
    Usual,
    /// At training timesteps a fixed way apart: here the model's configuration says which way.
    Spaced,
    /// Where `--sigmas` puts them.
    Placed(Sigmas),
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
    /// Where its noise levels lie, if that is a choice of its own here.
    pub sigmas: Option<Sigmas>,
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
        let found = kind.and_then(|kind| match levels {
            Levels::Usual if automatic => {
                let by_itself = PLACED_BY_ITSELF.iter().find(|(placed, _)| *placed == kind);
                by_itself.map_or(Some((kind, None)), |(_, sigmas)| placed(kind, *sigmas))
            }
            Levels::Usual | Levels::Spaced => Some((kind, None)),
            Levels::Placed(sigmas) => placed(kind, sigmas),
            Levels::Unknown => None,
        });
        let spacing = spaced.filter(|_| levels == Levels::Spaced && found.is_some()).map(String::from);
        let (scheduler, sigmas) = found.unzip();
        let scheduler = scheduler.map(|kind: SchedulerKind| kind.name().into());
        Sampler { name: full, scheduler, sigmas: sigmas.flatten(), spacing }
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

/// The scheduler of the same arithmetic at levels of a kind, and what it must be asked for beside its name.
fn placed(kind: SchedulerKind, sigmas: Sigmas) -> Option<(SchedulerKind, Option<Sigmas>)> {
    match (kind, sigmas) {
        (SchedulerKind::Dpmpp2m | SchedulerKind::Dpmpp2mKarras, Sigmas::Karras) => {
            Some((SchedulerKind::Dpmpp2mKarras, None))
        }
        (SchedulerKind::Dpmpp2mKarras, other) => Some((SchedulerKind::Dpmpp2m, Some(other))),
        (kind, sigmas) => kind.takes_sigmas().then_some((kind, Some(sigmas))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_are_known_in_both_spellings() {
        for (name, schedule, ours, sigmas) in [
            ("Euler a", None, Some("euler_a"), None),
            ("Euler", Some("Automatic"), Some("euler"), None),
            ("Euler", Some("Normal"), Some("euler"), Some(Sigmas::Normal)),
            ("Euler", Some("Simple"), Some("euler"), Some(Sigmas::Simple)),
            ("Euler", Some("SGM Uniform"), Some("euler"), Some(Sigmas::SgmUniform)),
            ("euler sgm_uniform", None, Some("euler"), Some(Sigmas::SgmUniform)),
            ("Euler", Some("Karras"), Some("euler"), Some(Sigmas::Karras)),
            ("Euler Karras", None, Some("euler"), Some(Sigmas::Karras)),
            ("Euler", Some("Exponential"), Some("euler"), Some(Sigmas::Exponential)),
            ("Euler a", Some("Beta"), Some("euler_a"), Some(Sigmas::Beta)),
            ("Euler", Some("Polyexponential"), None, None),
            ("Euler Polyexponential", None, None, None),
            ("Euler", Some("unheard of"), None, None),
            ("DDIM", Some("Karras"), None, None),
            ("DPM++ 2M", None, Some("dpmpp_2m"), None),
            ("DPM++ 2M", Some("Karras"), Some("dpmpp_2m_karras"), None),
            ("DPM++ 2M Karras", None, Some("dpmpp_2m_karras"), None),
            ("DPM++ 2M Karras", Some("Karras"), Some("dpmpp_2m_karras"), None),
            ("DPM++ 2M", Some("Automatic"), Some("dpmpp_2m_karras"), None),
            ("DPM++ 2M", Some("Exponential"), Some("dpmpp_2m"), Some(Sigmas::Exponential)),
            ("dpm++2m karras", None, Some("dpmpp_2m_karras"), None),
            ("dpm++2m discrete", None, Some("dpmpp_2m"), None),
            ("DPM++ SDE", Some("Karras"), Some("dpmpp_sde"), Some(Sigmas::Karras)),
            ("DPM++ SDE Karras", None, Some("dpmpp_sde"), Some(Sigmas::Karras)),
            ("DPM++ 2M SDE", Some("Automatic"), Some("dpmpp_2m_sde"), Some(Sigmas::Exponential)),
            ("DPM++ 2S a Karras", None, Some("dpmpp_2s_a"), Some(Sigmas::Karras)),
            ("DPM2 a", Some("Uniform"), Some("dpm2_a"), None),
            ("dpm_2_ancestral", Some("normal"), Some("dpm2_a"), Some(Sigmas::Normal)),
            ("LCM", Some("SGM Uniform"), None, None),
            ("LCM", Some("Automatic"), Some("lcm"), None),
            ("DPM++ 3M SDE", Some("Karras"), None, None),
            ("DDIM", None, Some("ddim"), None),
            ("猫", None, None, None),
        ] {
            let found = Sampler::find(name, schedule);
            assert_eq!((found.scheduler.as_deref(), found.sigmas), (ours, sigmas), "{name}, {schedule:?}");
        }
        assert_eq!(Sampler::find("Euler", Some("Uniform")).spacing.as_deref(), Some("Uniform"));
        assert_eq!(Sampler::find("Euler", Some("Karras")).name, "Euler Karras");
    }
}
