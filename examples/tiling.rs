//! Decodes a run's last latents whole and in tiles: how far the two pictures are apart, and what is seen where tiles meet.
//!
//! `cargo run --release --example tiling -- RUN` compares the two, and writes them to the run's `exports` folder. With
//! `--decode on|off` it decodes only that way and prints the peak of the resident memory; `--times 3` enlarges the latents
//! before, for sizes that would take long to draw.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use clap::Parser;
use sdviz::model::resolve;
use sdviz::model::tiling::{Tiles, Tiling};
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::watch::probe::Probe;
use std::path::PathBuf;
use tch::{Kind, Tensor};

#[derive(Parser)]
struct Options {
    /// A run directory that has its latents
    run: PathBuf,
    #[arg(long, default_value = "pocket")]
    model: String,
    /// Decode only with tiles (on) or without (off), and print the peak memory
    #[arg(long)]
    decode: Option<String>,
    /// Repeat the latents so many times in both directions, each beside itself
    #[arg(long, default_value_t = 1)]
    times: i64,
    #[arg(long, default_value_t = 2)]
    threads: i32,
}

fn main() {
    let options = Options::parse();
    sdviz::model::allocator::keep_freed_memory();
    tch::set_num_threads(options.threads);
    let _no_gradients = tch::no_grad_guard();
    let latents = last_latents(&options.run);
    let latents = latents.upsample_nearest2d(
        latents.size()[2..].iter().map(|n| n * options.times).collect::<Vec<_>>(),
        None,
        None,
    );
    let (_, _, height, width) = latents.size4().unwrap();
    let decode = |vae_tiling| {
        let choice = resolve::resolve(Some(&options.model)).unwrap();
        let pipeline = Pipeline::load(&choice, LoadOptions { vae_tiling, ..LoadOptions::default() }).unwrap();
        let before = memory("VmRSS");
        let scaled = &latents / pipeline.vae.config().scaling_factor;
        let started = std::time::Instant::now();
        let image = (pipeline.vae.decode(&scaled, &Probe::silent()).unwrap() / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0;
        let (seconds, peak) = (started.elapsed().as_secs_f64(), memory("VmHWM"));
        if options.decode.is_some() {
            println!("{seconds:.1} s; resident before {before} MiB, at the peak {peak} MiB");
        }
        (image, pipeline.vae.tiles(height, width), pipeline.model().vae_scale_factor as i64)
    };
    if let Some(way) = &options.decode {
        let _ = decode(way.parse().unwrap());
        return;
    }
    let ((whole, ..), (tiled, tiles, factor)) = (decode(Tiling::Off), decode(Tiling::On));
    for (name, image) in [("whole.png", &whole), ("tiled.png", &tiled)] {
        let folder = options.run.join("exports");
        std::fs::create_dir_all(&folder).unwrap();
        tch::vision::image::save(&image.squeeze_dim(0).to_kind(Kind::Uint8), folder.join(name)).unwrap();
    }
    compare(&whole, &tiled, tiles.expect("the picture is no larger than a tile"), factor);
}

fn last_latents(run: &std::path::Path) -> Tensor {
    let steps = std::fs::read_dir(run.join("steps")).unwrap().map(|entry| entry.unwrap().path());
    let last = steps.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).max().unwrap();
    let tensors = Tensor::read_safetensors(&last).unwrap();
    tensors.into_iter().find(|(name, _)| name == "latents").unwrap().1
}

/// Pictures in 0..255: how far apart, and the jumps from column to column and row to row, at seams and everywhere.
fn compare(whole: &Tensor, tiled: &Tensor, tiles: Tiles, factor: i64) {
    let number = |t: Tensor| t.double_value(&[]);
    let difference = (tiled - whole).abs();
    println!(
        "difference, of 255: mean {:.2}, largest {:.0}; {:.2} % of the numbers off by more than 8",
        number(difference.mean(Kind::Float)),
        number(difference.max()),
        100.0 * number(difference.gt(8.0).to_kind(Kind::Float).mean(Kind::Float)),
    );
    let step = tiles.stride() * factor;
    let shared = (tiles.side() - tiles.stride()) * factor;
    for (name, image) in [("whole", whole), ("tiled", tiled)] {
        let (mut at_seams, mut everywhere) = (vec![], vec![]);
        for dim in [2, 3] {
            let size = image.size()[dim as usize];
            let jumps = (image.narrow(dim, 1, size - 1) - image.narrow(dim, 0, size - 1)).abs();
            // Where a tile begins to fade in, and where the one before it ends.
            for seam in (step..size).step_by(step as usize).flat_map(|at| [at, at + shared]).filter(|at| *at < size) {
                at_seams.push(number(jumps.select(dim, seam - 1).mean(Kind::Float)));
            }
            everywhere.push(number(jumps.mean(Kind::Float)));
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let most = at_seams.iter().copied().fold(0.0, f64::max);
        println!(
            "{name}: mean jump between neighbours {:.2}, across the {} seams {:.2}, across the worst {most:.2}",
            mean(&everywhere),
            at_seams.len(),
            mean(&at_seams),
        );
    }
}

/// MiB of a line of `/proc/self/status`; 0 where there is none.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.unwrap_or(0) / 1024
}
