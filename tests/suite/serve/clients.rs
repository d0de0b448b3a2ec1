//! Other programs' clients, by what they send and what they need back. `make test-webuiapi` runs one of them as it is.

use super::client::Server;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// What webuiapi 0.9.17 sends with its default arguments, but for the size and the steps.
fn txt2img() -> Value {
    json!({
        "enable_hr": false, "hr_scale": 2, "hr_upscaler": "Latent", "hr_second_pass_steps": 0, "hr_resize_x": 0,
        "hr_resize_y": 0, "hr_checkpoint_name": null, "hr_sampler_name": null, "hr_scheduler": null, "hr_prompt": "",
        "hr_negative_prompt": "", "denoising_strength": 0.7, "firstphase_width": 0, "firstphase_height": 0,
        "prompt": "a (red:1.2) apple", "styles": [], "seed": 5, "subseed": -1, "subseed_strength": 0.0,
        "seed_resize_from_h": 0, "seed_resize_from_w": 0, "batch_size": 2, "n_iter": 1, "steps": 2, "cfg_scale": 7.0,
        "width": 64, "height": 64, "restore_faces": false, "tiling": false, "do_not_save_samples": false,
        "do_not_save_grid": false, "negative_prompt": "", "eta": 1.0, "s_churn": 0, "s_tmax": 0, "s_tmin": 0,
        "s_noise": 1, "override_settings": {}, "override_settings_restore_afterwards": true, "sampler_name": "Euler a",
        "scheduler": "automatic", "sampler_index": null, "script_name": null, "script_args": [], "send_images": true,
        "save_images": false, "alwayson_scripts": {},
    })
}

fn picture(colour: [u8; 3], size: u32) -> String {
    let mut bytes = std::io::Cursor::new(vec![]);
    image::RgbImage::from_pixel(size, size, image::Rgb(colour)).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes.into_inner()))
}

#[test]
fn a_web_uis_clients_get_what_they_read() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::tiny(runs.path(), &[]);
    let client = server.stranger("Authorization: Basic Og==\r\n");
    let get = |path: &str| {
        let answer = client.get(&format!("/sdapi/v1/{path}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    };
    assert_eq!(get("scripts"), json!({ "txt2img": [], "img2img": [] }));
    assert_eq!(
        (&get("sd-models")[0]["title"], &get("options")["sd_model_checkpoint"]),
        (&json!("tiny-sd"), &json!("tiny-sd"))
    );
    assert!(get("samplers").as_array().unwrap().iter().any(|sampler| sampler["name"] == "Euler a"));
    assert_eq!((&get("upscalers")[0]["name"], &get("schedulers")[0]["name"]), (&json!("None"), &json!("automatic")));
    let idle = get("progress");
    assert_eq!((&idle["progress"], &idle["state"]["job_count"]), (&json!(0.0), &json!(0)));

    let answer = client.post("/sdapi/v1/txt2img", &txt2img());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["images"].as_array().unwrap().len(), 2);
    assert_eq!(answer["parameters"]["sampler_name"], "Euler a");
    let info: Value = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&info["seed"], &info["all_seeds"], &info["sampler_name"]),
        (&json!(5), &json!([5, 6]), &json!("Euler a"))
    );
    let text = info["infotexts"][1].as_str().unwrap();
    assert!(text.starts_with("a (red:1.2) apple\nSteps: 2, Sampler: Euler a, CFG scale: 7, Seed: 6"), "{text}");
    let told = client.post("/sdapi/v1/png-info", &json!({ "image": answer["images"][1] })).json();
    assert_eq!((&told["info"], &told["parameters"]["Seed"]), (&json!(text), &json!("6")));

    // The schedule beside the sampler, by the web UI's name; a sampler that has its own levels takes none.
    for (sampler, schedule, ours, warnings) in
        [("Euler", "Karras", "karras", 0), ("DDIM", "Karras", "", 1), ("Euler", "KL Optimal", "refused", 0)]
    {
        let mut request = txt2img();
        (request["sampler_name"], request["scheduler"]) = (sampler.into(), schedule.into());
        let answer = client.post("/sdapi/v1/txt2img", &request);
        if ours == "refused" {
            assert_eq!(answer.status, 404, "{}", answer.text());
            continue;
        }
        let info: Value = serde_json::from_str(answer.json()["info"].as_str().unwrap()).unwrap();
        assert_eq!(info["warnings"].as_array().map_or(0, Vec::len), warnings, "{info}");
        let newest = &client.get("/api/runs").json()["runs"][0];
        assert_eq!(newest["sigmas"].as_str().unwrap_or_default(), ours, "{newest}");
    }

    // A mask with what the client sends beside it unasked: the plain thing, and what was passed over.
    let mut request = txt2img();
    let more = json!({
        "init_images": [picture([200, 30, 30], 64)], "mask": picture([255, 255, 255], 32), "mask_blur": 4, "resize_mode": 0,
        "inpainting_fill": 0, "inpaint_full_res": true, "inpainting_mask_invert": 0, "denoising_strength": 0.75, "steps": 4,
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = client.post("/sdapi/v1/img2img", &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let info: Value = serde_json::from_str(answer.json()["info"].as_str().unwrap()).unwrap();
    assert_eq!((info["warnings"].as_array().unwrap().len(), &info["denoising_strength"]), (3, &json!(0.75)), "{info}");
    assert_eq!(answer.json()["parameters"]["init_images"], json!(null), "what was sent is not sent back");

    // Open WebUI sends all options back; another model is not here.
    assert_eq!(client.post("/sdapi/v1/options", &get("options")).json(), json!(null));
    assert_eq!(client.post("/sdapi/v1/options", &json!({ "sd_model_checkpoint": "other" })).status, 422);
    let dall_e = client
        .post("/v1/images/generations", &json!({ "prompt": "a cat", "n": 1, "size": "64x64", "model": "x" }))
        .json();
    let png = BASE64_STANDARD.decode(dall_e["data"][0]["b64_json"].as_str().unwrap()).unwrap();
    assert_eq!(image::load_from_memory(&png).unwrap().width(), 64);
}

#[test]
fn an_interrupt_stops_the_callers_own_run_alone() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::tiny(runs.path(), &[]);
    let (client, other) = (server.visitor("client"), server.visitor("other"));
    let mut events = client.events(None);
    let mut request = txt2img();
    request["steps"] = json!(150);
    request["width"] = json!(256);
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| client.post("/sdapi/v1/txt2img", &request));
        events.until(|happened| happened.kind == "step" && happened.data["step"] == 3);
        let progress = client.get("/sdapi/v1/progress").json();
        assert_eq!(progress["state"]["job_count"], 1, "{progress}");
        assert!(progress["progress"].as_f64().unwrap() > 0.0 && progress["current_image"].is_string(), "{progress}");
        assert_eq!(other.get("/sdapi/v1/progress").json()["state"]["job_count"], 0, "others' runs are not one's own");
        assert_eq!(other.post("/sdapi/v1/interrupt", &json!(null)).json(), json!({}));
        events.until(|happened| happened.kind == "step");
        assert_eq!(client.post("/sdapi/v1/interrupt", &json!(null)).json(), json!({}));
        let answer = answer.join().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["images"].as_array().unwrap().len(), 2, "what there is of it");
    });
    // A client that goes away takes its run with it.
    let body = request.to_string();
    let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let mut stream = server.connect();
    std::io::Write::write_all(&mut stream, (client.head("POST", "/sdapi/v1/txt2img", &head) + &body).as_bytes())
        .unwrap();
    events.until(|happened| happened.kind == "step" && happened.data["step"] == 1);
    drop(stream);
    events.until_runs(1, "cancelled");
}

#[test]
fn every_route_that_is_described_is_there() {
    let runs = tempfile::tempdir().unwrap();
    let server = Server::tiny(runs.path(), &[]);
    let visitor = server.visitor("a");
    let document = visitor.get("/api/openapi.json").json();
    let (mut known, paths) = (0, document["paths"].as_object().unwrap());
    for (path, operations) in paths {
        if path == "/api/events" {
            continue;
        }
        let filled = path
            .replace("{id}", "none")
            .replace("{step}", "0")
            .replace("{quantity}", "latents")
            .replace("{what}", "latents");
        for (method, operation) in operations.as_object().unwrap() {
            let sent = json!({ "prompt": "a cat", "steps": 1 });
            let answer = if method == "get" { visitor.get(&filled) } else { visitor.post(&filled, &sent) };
            let told = operation["responses"].as_object().unwrap().keys().any(|s| *s == answer.status.to_string());
            assert!(told, "{method} {path} answers {}, which is not described: {}", answer.status, answer.text());
            assert!(!answer.text().contains("no such page"), "{method} {path}");
            known += 1;
        }
    }
    assert!(known > 35, "{known}");
    let unknown = visitor.get("/api/none");
    assert_eq!((unknown.status, unknown.json()["error"].as_str()), (404, Some("there is no such page")));
    assert_eq!(visitor.post("/api/capabilities", &json!({})).status, 405);
}
