//! What a configuration means, what is refused, and the names. The numbers are tested in `tests/suite/schedulers.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::record::sigmas::Sigmas;
use serde_json::{Value, json};

const SD1: &str = r#"{
    "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "num_train_timesteps": 1000, "set_alpha_to_one": false, "skip_prk_steps": true,
    "steps_offset": 1, "trained_betas": null, "clip_sample": false
}"#;

fn sd1() -> SchedulerConfig {
    SchedulerConfig::parse(SD1).unwrap()
}

fn config(json: Value) -> SchedulerConfig {
    serde_json::from_value(json).unwrap()
}

fn resolved(kind: SchedulerKind, json: Value) -> Value {
    config(json).resolve(kind).unwrap().to_json()
}

fn refusal(kind: SchedulerKind, json: Value) -> String {
    config(json).resolve(kind).unwrap_err().to_string()
}

#[test]
fn the_registry_stands_in_the_order_of_the_enum() {
    for (i, kind) in SchedulerKind::all().enumerate() {
        assert_eq!(kind as usize, i);
        assert_eq!(build(kind, &sd1(), 20, 0.0).unwrap().name(), kind.name());
        assert_eq!(SchedulerKind::parse(kind.name()).unwrap(), kind);
        assert_eq!(SchedulerKind::parse(kind.a1111_name()).unwrap(), kind);
    }
    let names: Vec<&str> = SchedulerKind::all().map(SchedulerKind::name).collect();
    let expected = "pndm ddim ddpm lms euler euler_a heun dpmpp_2m dpmpp_2m_karras dpmpp_2m_sde unipc dpm2 dpm2_a \
                    dpmpp_2s_a dpmpp_sde deis lcm tcd";
    assert_eq!(names.join(" "), expected);
}

#[test]
fn names_are_found_whatever_their_spelling() {
    let spellings = [
        ("Euler a", SchedulerKind::EulerA),
        ("euler-a", SchedulerKind::EulerA),
        ("EulerAncestralDiscreteScheduler", SchedulerKind::EulerA),
        ("EulerDiscreteScheduler", SchedulerKind::Euler),
        ("PLMS", SchedulerKind::Pndm),
        ("DPM++ 2M Karras", SchedulerKind::Dpmpp2mKarras),
        ("dpm++ 2m", SchedulerKind::Dpmpp2m),
        ("DPMSolverMultistepScheduler", SchedulerKind::Dpmpp2m),
        ("uni-pc", SchedulerKind::Unipc),
        ("DPM++ SDE", SchedulerKind::DpmppSde),
        ("DPM++ 2M SDE", SchedulerKind::Dpmpp2mSde),
        ("dpmpp_2s_ancestral", SchedulerKind::Dpmpp2sA),
        ("dpm_2", SchedulerKind::Dpm2),
        ("dpm_2_ancestral", SchedulerKind::Dpm2A),
        ("k_dpm_2_a", SchedulerKind::Dpm2A),
        ("LCMScheduler", SchedulerKind::Lcm),
    ];
    for (name, kind) in spellings {
        assert_eq!(SchedulerKind::parse(name).unwrap(), kind, "{name}");
    }
    let error = SchedulerKind::parse("ulerr_a").unwrap_err();
    assert_eq!(error.to_string(), "unknown scheduler `ulerr_a`; did you mean `euler_a`?");
    assert!(error.hint().unwrap().contains("dpmpp_2m_karras"));
}

#[test]
fn a_models_own_class_is_found() {
    let of = |class: &str, json: Value| SchedulerKind::from_class_name(class, &config(json));
    assert_eq!(of("PNDMScheduler", json!({})).unwrap(), SchedulerKind::Pndm);
    assert_eq!(of("DPMSolverMultistepScheduler", json!({})).unwrap(), SchedulerKind::Dpmpp2m);
    let karras = of("DPMSolverMultistepScheduler", json!({"use_karras_sigmas": true})).unwrap();
    assert_eq!(karras, SchedulerKind::Dpmpp2mKarras);
    let sde =
        of("DPMSolverMultistepScheduler", json!({"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": true}));
    assert_eq!(sde.unwrap(), SchedulerKind::Dpmpp2mSde);
    assert_eq!(of("DEISMultistepScheduler", json!({})).unwrap(), SchedulerKind::Deis);
    assert_eq!(of("LCMScheduler", json!({})).unwrap(), SchedulerKind::Lcm);
    assert_eq!(of("TCDScheduler", json!({})).unwrap(), SchedulerKind::Tcd);
    assert_eq!(of("KDPM2AncestralDiscreteScheduler", json!({})).unwrap(), SchedulerKind::Dpm2A);
    assert_eq!(of("DPMSolverSDEScheduler", json!({})).unwrap(), SchedulerKind::DpmppSde);
    let error = of("IPNDMScheduler", json!({})).unwrap_err().to_string();
    assert!(error.starts_with("unknown scheduler class `IPNDMScheduler`"), "{error}");
    assert_eq!(sd1().class_name.as_deref(), Some("PNDMScheduler"));
}

#[test]
fn absent_fields_take_the_chosen_classs_defaults() {
    let spacing = |kind| sd1().resolve(kind).unwrap().to_json()["timestep_spacing"].clone();
    assert_eq!(spacing(SchedulerKind::Pndm), "leading");
    assert_eq!(spacing(SchedulerKind::Ddim), "leading");
    assert_eq!(spacing(SchedulerKind::Euler), "linspace");
    assert_eq!(spacing(SchedulerKind::Dpmpp2m), "linspace");
    // What the file says counts for every class, what it lacks differs between them.
    assert_eq!(sd1().resolve(SchedulerKind::Ddim).unwrap().to_json()["clip_sample"], false);
    assert_eq!(resolved(SchedulerKind::Ddim, json!({}))["clip_sample"], true);
    assert_eq!(resolved(SchedulerKind::Heun, json!({}))["clip_sample"], false);
    assert_eq!(resolved(SchedulerKind::Heun, json!({}))["beta_end"], 0.012);
    assert_eq!(resolved(SchedulerKind::Pndm, json!({}))["beta_end"], 0.02);
    assert_eq!(resolved(SchedulerKind::Pndm, json!({}))["set_alpha_to_one"], false);
    assert_eq!(resolved(SchedulerKind::Ddim, json!({}))["set_alpha_to_one"], true);
}

#[test]
fn fields_in_use_default_values_count_as_absent() {
    let json = json!({"timestep_spacing": "leading", "beta_end": 0.5, "_use_default_values": ["timestep_spacing"]});
    let euler = resolved(SchedulerKind::Euler, json);
    assert_eq!(euler["timestep_spacing"], "linspace");
    assert_eq!(euler["beta_end"], 0.5);
}

#[test]
fn the_resolved_view_is_whole() {
    let pndm = sd1().resolve(SchedulerKind::Pndm).unwrap().to_json();
    let expected = json!({
        "_class_name": "PNDMScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "trained_betas": null, "prediction_type": "epsilon",
        "timestep_spacing": "leading", "steps_offset": 1, "skip_prk_steps": true, "set_alpha_to_one": false
    });
    assert_eq!(pndm, expected);
    for kind in SchedulerKind::all() {
        let once = sd1().resolve(kind).unwrap();
        let again = config(once.to_json()).resolve(kind).unwrap();
        assert_eq!(once, again, "{kind}");
    }
    let karras = sd1().resolve(SchedulerKind::Dpmpp2mKarras).unwrap().to_json();
    assert_eq!(karras["use_karras_sigmas"], true);
    assert_eq!(karras["algorithm_type"], "dpmsolver++");
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    use SchedulerKind::{Ddim, Ddpm, Deis, Dpmpp2m, Euler, EulerA, Heun, Lcm, Pndm, Tcd, Unipc};
    let message = refusal(Pndm, json!({"prediction_type": "sample"}));
    let expected = "`prediction_type` is `sample` in the scheduler config: not supported \
                    (supported: `epsilon`, `v_prediction`)";
    assert_eq!(message, expected);
    let refused = [
        (Ddim, "thresholding", json!(true)),
        (Ddim, "clip_sample", json!(null)),
        (Ddpm, "variance_type", json!("learned_range")),
        (Ddpm, "beta_schedule", json!("sigmoid")),
        (Heun, "beta_schedule", json!("exp")),
        (Euler, "interpolation_type", json!("log_linear")),
        (Euler, "timestep_type", json!("continuous")),
        (Euler, "final_sigmas_type", json!("half")),
        (EulerA, "timestep_spacing", json!("sideways")),
        (Dpmpp2m, "algorithm_type", json!("sde-dpmsolver")),
        (Deis, "algorithm_type", json!("sde-dpmsolver++")),
        (Deis, "solver_order", json!(4)),
        (Lcm, "original_inference_steps", json!(0)),
        (Tcd, "original_inference_steps", json!(1001)),
        (Dpmpp2m, "solver_order", json!(3)),
        (Dpmpp2m, "solver_type", json!("rk4")),
        (Dpmpp2m, "use_lu_lambdas", json!(true)),
        (Dpmpp2m, "use_flow_sigmas", json!(true)),
        (Dpmpp2m, "variance_type", json!("learned")),
        (Unipc, "solver_order", json!(4)),
        (Unipc, "predict_x0", json!(false)),
        (Unipc, "solver_p", json!({"_class_name": "DDIMScheduler"})),
        (Unipc, "prediction_type", json!("flow_prediction")),
        (Pndm, "num_train_timesteps", json!(1)),
    ];
    for (kind, field, value) in refused {
        let message = refusal(kind, json!({ field: value }));
        assert!(message.starts_with(&format!("`{field}` is ")), "{kind}: {message}");
    }
}

#[test]
fn what_the_chosen_class_does_not_read_is_no_obstacle() {
    let file = json!({
        "algorithm_type": "sde-dpmsolver", "solver_order": 3, "thresholding": true, "use_karras_sigmas": true,
        "interpolation_type": "log_linear", "clip_sample": null, "something_new": [1, 2]
    });
    assert!(config(file).resolve(SchedulerKind::Pndm).is_ok());
    // Classes read each other's words for solver types.
    let of = |kind, solver| resolved(kind, json!({ "solver_type": solver }))["solver_type"].clone();
    assert_eq!(of(SchedulerKind::Dpmpp2m, "bh2"), "midpoint");
    assert_eq!(of(SchedulerKind::Unipc, "midpoint"), "bh2");
    assert_eq!(of(SchedulerKind::Unipc, "bh1"), "bh1");
}

#[test]
fn pythons_infinities_are_read() {
    let config = SchedulerConfig::parse(r#"{"lambda_min_clipped": -Infinity, "note": "-Infinity"}"#).unwrap();
    assert_eq!(config.resolve(SchedulerKind::Dpmpp2m).unwrap().lambda_min_clipped, f64::NEG_INFINITY);
    assert!(SchedulerConfig::parse("{").is_err());
}

#[test]
fn a_bad_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scheduler_config.json");
    std::fs::write(&path, r#"{"beta_start": "small"}"#).unwrap();
    let message = SchedulerConfig::read(&path).unwrap_err().to_string();
    assert!(message.contains("scheduler_config.json` is not a valid scheduler config"), "{message}");
    std::fs::write(&path, r#"{"prediction_type": "sample"}"#).unwrap();
    let message = SchedulerConfig::read(&path).unwrap().resolve(SchedulerKind::Ddim).unwrap_err().to_string();
    assert!(message.contains(&format!("in `{}`", path.display())), "{message}");
}

#[test]
fn impossible_numbers_of_steps_are_refused() {
    for steps in [51, 1000] {
        let message = build(SchedulerKind::Lcm, &sd1(), steps, 0.0).err().unwrap().to_string();
        assert!(message.contains("more than the 50"), "{message}");
    }
    for kind in SchedulerKind::all() {
        assert!(build(kind, &sd1(), 0, 0.0).is_err(), "{kind}");
        assert!(build(kind, &sd1(), 1001, 0.0).is_err(), "{kind}");
        assert!(build(kind, &sd1(), 1, 0.0).is_ok(), "{kind}");
    }
    // `leading` with an offset of 1 would ask the model for timestep 1000.
    let message = build(SchedulerKind::Ddim, &sd1(), 1000, 0.0).err().unwrap().to_string();
    assert!(message.contains("reach timestep 1000"), "{message}");
    let runge_kutta = config(json!({"skip_prk_steps": false}));
    assert!(build(SchedulerKind::Pndm, &runge_kutta, 3, 0.0).is_err());
    assert!(build(SchedulerKind::Pndm, &runge_kutta, 4, 0.0).is_ok());
    let message = build(SchedulerKind::Dpmpp2m, &sd1(), 1000, 0.0).err().unwrap().to_string();
    assert!(message.contains("1000 steps are too many"), "{message}");
}

#[test]
fn eta_is_for_ddim_and_within_its_range() {
    assert!(build(SchedulerKind::Ddim, &sd1(), 10, 1.0).unwrap().is_stochastic());
    assert!(!build(SchedulerKind::Ddim, &sd1(), 10, 0.0).unwrap().is_stochastic());
    assert!(build(SchedulerKind::Ddim, &sd1(), 10, 1.5).is_err());
    assert!(build(SchedulerKind::Ddim, &sd1(), 10, f64::NAN).is_err());
    let message = build(SchedulerKind::Euler, &sd1(), 10, 0.5).err().unwrap().to_string();
    assert_eq!(message, "`eta` means nothing to scheduler `euler`");
}

#[test]
fn trailing_spacing_gives_as_many_timesteps_as_asked() {
    // NumPy's arange gives 62 for 61 steps, and diffusers a last timestep of -1.
    for kind in [SchedulerKind::Ddim, SchedulerKind::Euler, SchedulerKind::Unipc] {
        for steps in [7, 30, 49, 61, 103, 999] {
            let scheduler = build(kind, &config(json!({"timestep_spacing": "trailing"})), steps, 0.0).unwrap();
            assert_eq!(scheduler.timesteps().len(), steps, "{kind}");
            assert!(scheduler.timesteps().windows(2).all(|pair| pair[0] > pair[1]));
            assert!(scheduler.timesteps().iter().all(|t| (0.0..1000.0).contains(t)));
        }
    }
}

#[test]
fn the_published_schedule_of_stable_diffusion_is_met() {
    let alphas = betas::alphas_cumprod(&sd1().resolve(SchedulerKind::Ddim).unwrap()).unwrap();
    for (t, alpha) in [(0, 0.99915), (1, 0.998_296_03), (500, 0.276_332_68), (999, 0.004_660_098_5)] {
        assert!((f64::from(alphas[t]) - alpha).abs() < 1e-6 * alpha, "{t}: {}", alphas[t]);
    }
    let cosine = config(json!({"beta_schedule": "squaredcos_cap_v2"})).resolve(SchedulerKind::Ddim).unwrap();
    let alphas = betas::alphas_cumprod(&cosine).unwrap();
    for (t, beta) in [(0, 4.1284e-5), (500, 3.1557e-3), (999, 0.999)] {
        let found = if t == 0 { 1.0 - alphas[0] } else { 1.0 - alphas[t] / alphas[t - 1] };
        assert!((f64::from(found) - beta).abs() < 1e-3 * beta, "{t}: {found}");
    }
}

#[test]
fn calls_and_levels_are_those_of_the_papers() {
    let pndm = build(SchedulerKind::Pndm, &sd1(), 50, 0.0).unwrap();
    assert_eq!(pndm.timesteps().len(), 51);
    assert_eq!(pndm.timesteps()[..4], [981.0, 961.0, 961.0, 941.0]);
    let heun = build(SchedulerKind::Heun, &sd1(), 50, 0.0).unwrap();
    assert_eq!((heun.timesteps().len(), heun.order()), (99, 2));
    for kind in SchedulerKind::all() {
        let scheduler = build(kind, &sd1(), 20, 0.0).unwrap();
        let n = scheduler.timesteps().len();
        for call in 0..=n {
            let level = scheduler.level(call);
            let variance = (1.0 - level.alpha_cumprod) / level.alpha_cumprod;
            assert!((level.sigma - variance.sqrt()).abs() < 1e-6, "{kind}");
            // DPM2 a asks the model the second time where the step ends, but for rounding.
            assert!(call == 0 || level.sigma <= scheduler.level(call - 1).sigma * (1.0 + 1e-6), "{kind}");
        }
        let noisy = scheduler.level(0);
        assert!(noisy.sigma > 8.0 && scheduler.level(n).sigma < 0.03, "{kind}");
        let unscaled = noisy.latent_scale > 1.0;
        let expected =
            "lms euler euler_a heun dpm2 dpm2_a dpmpp_2s_a dpmpp_sde".split(' ').any(|name| name == kind.name());
        assert_eq!(unscaled, expected, "{kind}");
    }
}

#[test]
fn sigmas_are_placed_for_those_that_take_them() {
    let asked = |how| sd1().asked(Some(how), false);
    for (kind, how) in SchedulerKind::all().flat_map(|kind| Sigmas::ALL.map(|how| (kind, how))) {
        let resolved = asked(how).resolve(kind);
        let by_name = kind == SchedulerKind::Dpmpp2mKarras && how != Sigmas::Karras;
        if !kind.takes_sigmas() || by_name {
            let error = resolved.unwrap_err();
            assert!(error.hint().unwrap().contains("`--s"), "{kind} {how}: {error}");
            continue;
        }
        let resolved = resolved.unwrap();
        // There the name says whether they are Karras', and the file does not.
        let name_decides = kind == SchedulerKind::Dpmpp2m && how == Sigmas::Karras;
        assert!(name_decides || config(resolved.to_json()).resolve(kind).unwrap() == resolved, "{kind} {how}");
        for steps in [1, 2, 7, 20] {
            let scheduler = build(kind, &asked(how), steps, 0.0).unwrap();
            assert!((0..scheduler.timesteps().len()).all(|call| scheduler.level(call).sigma > 0.0), "{kind} {how}");
        }
    }
    // What the file says counts where nothing is asked for, and only one of the three.
    let file = |json| config(json).resolve(SchedulerKind::Lms).map(|resolved| resolved.sigmas);
    assert_eq!(file(json!({"use_beta_sigmas": true})).unwrap(), Some(Sigmas::Beta));
    assert_eq!(file(json!({"use_exponential_sigmas": true})).unwrap(), Some(Sigmas::Exponential));
    assert!(file(json!({"use_karras_sigmas": true, "use_beta_sigmas": true})).is_err());
    let kept = config(json!({"use_karras_sigmas": true})).asked(Some(Sigmas::Simple), false);
    assert_eq!(kept.resolve(SchedulerKind::Euler).unwrap().to_json()["sigmas"], "simple");
    assert_eq!(kept.resolve(SchedulerKind::Euler).unwrap().to_json()["use_karras_sigmas"], false);
}

#[test]
fn zero_terminal_snr_begins_with_noise_alone() {
    let predicts_v = config(json!({
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"
    }));
    for kind in SchedulerKind::all() {
        let Ok(scheduler) = build(kind, &predicts_v.asked(None, true), 4, 0.0) else {
            let hint = build(kind, &predicts_v.asked(None, true), 4, 0.0)
                .err()
                .unwrap()
                .hint()
                .unwrap_or_default()
                .to_string();
            assert!(
                hint.contains("`ddim`") && hint.contains("`euler`") && !hint.contains(&format!("`{kind}`")),
                "{hint}"
            );
            continue;
        };
        assert_eq!(scheduler.timesteps()[0], 999.0, "{kind}");
        let first = scheduler.level(0);
        assert!(first.alpha_cumprod < 1e-7 && first.sigma > 4000.0 && first.sigma.is_finite(), "{kind}: {first:?}");
    }
    let noise = sd1().asked(None, true).resolve(SchedulerKind::Euler).unwrap_err().to_string();
    assert!(noise.contains("the model predicts noise"), "{noise}");
}

#[test]
fn a_run_draws_as_often_as_it_says() {
    let zeros = Tensor::zeros([1, 4, 1, 1], (tch::Kind::Float, tch::Device::Cpu));
    for kind in SchedulerKind::all() {
        let mut scheduler = build(kind, &sd1(), 6, kind.usual_eta()).unwrap();
        let mut drawn = 0;
        for call in 0..scheduler.timesteps().len() {
            let mut noise = || {
                drawn += 1;
                Ok(zeros.shallow_clone())
            };
            scheduler.step(&zeros, call, &zeros, &mut noise).unwrap();
        }
        assert_eq!(drawn, draws(scheduler.as_ref(), 0), "{kind}");
        assert_eq!(scheduler.is_stochastic(), drawn > 0, "{kind}");
        let expected = match kind.name() {
            "ddpm" | "euler_a" | "dpmpp_2m_sde" => 6,
            "dpm2_a" | "dpmpp_2s_a" | "lcm" | "tcd" => 5,
            "dpmpp_sde" => 10,
            _ => 0,
        };
        assert_eq!(drawn, expected, "{kind}");
        let calls = scheduler.timesteps().len();
        let expected = match scheduler.order() {
            2 => 11,
            _ => 6 + usize::from(kind == SchedulerKind::Pndm),
        };
        assert_eq!(calls, expected, "{kind}");
    }
}

#[test]
fn a_call_beyond_the_last_or_of_another_shape_is_an_error() {
    let mut scheduler = build(SchedulerKind::Unipc, &sd1(), 4, 0.0).unwrap();
    let zeros = Tensor::zeros([1, 4, 1, 1], (tch::Kind::Float, tch::Device::Cpu));
    let mut none = || panic!("no noise is drawn");
    assert!(scheduler.step(&zeros, 4, &zeros, &mut none).is_err());
    assert!(scheduler.step(&zeros, 3, &zeros.expand([2, 4, 1, 1], false), &mut none).is_err());
}
