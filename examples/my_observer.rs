//! An observer of one's own: prints how the latents are spread at each step, and stops once the picture is settled.
//!
//!     cargo run --example my_observer -- "a red apple"
//!
//! `Observer` has two functions. `wants` is asked before anything is copied or computed: what nobody wants costs nothing.
//! `on_event` is shown what happens, and says whether the run goes on.

use sdviz::prelude::*;

/// Draws a histogram of the latents at each step, and stops when x0 changes by less than `settled`.
pub struct Histogram {
    /// The share of its own size by which x0, the picture as predicted, may still change.
    pub settled: f64,
    /// The lines that were printed.
    pub lines: Vec<String>,
    before: Option<Tensor>,
}

impl Histogram {
    /// Stops when x0 changes by less than this share of its own size; 0 never stops.
    pub fn new(settled: f64) -> Histogram {
        Histogram { settled, lines: vec![], before: None }
    }
}

impl Observer for Histogram {
    fn wants(&self, ask: Ask) -> bool {
        // `Ask::Picture` would have the step decoded, `Ask::Site` shows a tensor inside the model by its name.
        matches!(ask, Ask::Quantity(Quantity::Latents | Quantity::PredictedOriginal, _))
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        let Event::Step(step) = event else { return Ok(Flow::Continue) };
        let Some(latents) = step.tensor(Quantity::Latents) else { return Ok(Flow::Continue) };
        // Step 0 is the starting noise: nothing is predicted yet.
        let x0 = step.tensor(Quantity::PredictedOriginal);
        let size = |tensor: &Tensor| tensor.square().mean(Kind::Float).sqrt().double_value(&[]);
        let change = x0.zip(self.before.as_ref()).map(|(x0, before)| size(&(x0 - before)) / size(x0));
        self.before = x0.map(Tensor::shallow_clone);

        let told = change.map(|change| format!("  x0 changed by {:.1} %", 100.0 * change)).unwrap_or_default();
        let line = format!(
            "{:>3}  σ {:>6.3}  {}{told}",
            step.index,
            step.level.sigma,
            bars(&(latents / step.level.latent_scale))?
        );
        println!("{line}");
        self.lines.push(line);
        Ok(if change.is_some_and(|change| change < self.settled) { Flow::Stop } else { Flow::Continue })
    }
}

/// How many values lie in each of 24 bins from -4 to 4, as bars.
fn bars(values: &Tensor) -> Result<String> {
    // A copy on the CPU in f32, whatever the pipeline computes in.
    let values = values.to_device(Device::Cpu).to_kind(Kind::Float).flatten(0, -1);
    let mut counts = [0_f32; 24];
    for value in Vec::<f32>::try_from(&values)? {
        counts[((value + 4.0) * 3.0).clamp(0.0, 23.0) as usize] += 1.0;
    }
    let most = counts.iter().copied().fold(1.0, f32::max);
    let bars: Vec<char> = " ▁▂▃▄▅▆▇█".chars().collect();
    Ok(counts.iter().map(|count| bars[(count / most * 8.0).round() as usize]).collect())
}

fn main() -> Result<()> {
    let prompt = std::env::args().nth(1).unwrap_or("a red apple".into());
    let sd = Model::load("")?;
    let mut histogram = Histogram::new(0.02);
    let run = sd.draw(prompt).seed(1024).decode(Decode::Final).watched(&mut histogram)?;
    match run.record().status {
        Status::Complete => run.save("observed.png"),
        _ => {
            println!("settled: the other steps were left out");
            Ok(())
        }
    }
}
