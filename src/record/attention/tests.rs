#![allow(clippy::unwrap_used)]
use super::*;

/// Stable Diffusion 1.x at 512×512 with a prompt that takes so many columns.
fn sd1(columns: usize, detail: Detail) -> AttentionRecord {
    let layer = |factor| Layer { factor, heads: 8, ..Layer::default() };
    let layers: Vec<Layer> = [1, 1, 2, 2, 4, 4, 8, 4, 4, 4, 2, 2, 2, 1, 1, 1].map(layer).into();
    let schedule = vec![Phase { until: 50, text: 0 }];
    AttentionRecord {
        detail,
        latents: [64, 64],
        predictions: vec![Attending { prediction: Prediction::TEXT, schedule }],
        texts: vec![AttendedText { columns: vec![Column::default(); columns], ..AttendedText::default() }],
        self_layers: layers.clone(),
        layers,
        ..AttentionRecord::default()
    }
}

#[test]
fn the_usual_record_is_small() {
    let steps: Vec<(usize, usize)> = (1..=50).map(|step| (step, 1)).collect();
    let bytes = |columns, detail| sd1(columns, detail).bytes(1, &steps);
    // Twelve columns of 64² + 32² + 16² + 8² numbers, two bytes each, fifty times; once all heads of 16 layers.
    let heads = 8 * (5 * 4096 + 5 * 1024 + 5 * 256 + 64);
    assert_eq!(bytes(12, Detail::Sizes), 50 * 2 * 12 * 5440 + 4 * 12 * heads);
    assert!(bytes(12, Detail::Sizes) < 20_000_000, "{}", bytes(12, Detail::Sizes));
    assert_eq!(bytes(12, Detail::HeadsPerStep), 50 * 2 * 12 * (5440 + heads) + 4 * 12 * heads);
    let own = AttentionRecord { own: true, queries: vec![[0.5, 0.5]], ..sd1(12, Detail::Sizes) };
    assert_eq!(own.self_factors(1), [4, 8]);
    let more = 50 * 2 * (256 * 256 + 64 * 64 + 16 * 4096);
    assert_eq!(own.bytes(2, &steps), 2 * (bytes(12, Detail::Sizes) + more));
}

#[test]
fn predictions_have_names() {
    for prediction in [Prediction::Uncond, Prediction::TEXT, Prediction::Part(2)] {
        assert_eq!(prediction.to_string().parse::<Prediction>().unwrap(), prediction);
    }
    assert!("part0".parse::<Prediction>().is_err() && "partly".parse::<Prediction>().is_err());
}

#[test]
fn sizes_round_up() {
    let record = AttentionRecord { latents: [5, 9], second_latents: Some([10, 18]), ..AttentionRecord::default() };
    assert_eq!((record.grid(2, 1), record.grid(8, 1), record.grid(4, 2)), ([3, 5], [1, 2], [3, 5]));
}
