//! Quantiles of the distribution Beta(0.6, 0.6), scipy's `stats.beta.ppf(p, 0.6, 0.6)`.
//!
//! Enters: a probability. Leaves: the x up to which the distribution has that much, by bisection of the regularised
//! incomplete beta function, whose continued fraction is that of Abramowitz and Stegun, 26.5.8.

/// Both parameters of the distribution.
const SHAPE: f64 = 0.6;
/// B(0.6, 0.6) = Γ(0.6)² / Γ(1.2).
const COMPLETE: f64 = 2.415_344_208_002_471;
/// Enough terms and halvings for the last bit.
const TERMS: u32 = 200;

/// The x in 0..=1 with I_x(0.6, 0.6) = `probability`.
pub(super) fn beta_quantile(probability: f64) -> f64 {
    // The distribution is its own mirror image: the half near zero has the better-conditioned numbers.
    if probability > 0.5 {
        return 1.0 - beta_quantile(1.0 - probability);
    }
    let (mut low, mut high) = (0.0, 0.5);
    for _ in 0..TERMS {
        let middle = (low + high) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if share_up_to(middle) < probability { low = middle } else { high = middle }
    }
    if probability > 0.0 { high } else { 0.0 }
}

/// I_x(a, a) for x up to 1/2, by Lentz's evaluation of the continued fraction.
fn share_up_to(x: f64) -> f64 {
    let a = SHAPE;
    let (mut c, mut d) = (1.0, 1.0 / (1.0 - 2.0 * a * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..TERMS {
        let m = f64::from(m);
        let even = m * (a - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (2.0 * a + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            d = 1.0 / (1.0 + term * d);
            c = 1.0 + term / c;
            fraction *= c * d;
        }
        if (fraction - before).abs() <= f64::EPSILON * fraction.abs() {
            break;
        }
    }
    (x.powf(a) * (1.0 - x).powf(a)) * fraction / (a * COMPLETE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_scipy() {
        for (probability, expected) in SCIPY {
            let found = beta_quantile(probability);
            assert!((found - expected).abs() < 1e-9 * expected.max(1e-3), "{probability}: {found}, {expected}");
        }
    }

    /// As `make_more_scheduler_goldens.py` prints them.
    const SCIPY: [(f64, f64); 11] = [
        (1e-6, 1.8558824624053043e-10),
        (0.001, 1.855873851745199e-5),
        (0.01, 0.000_861_238_821_542_905_9),
        (0.1, 0.039_584_405_588_780_85),
        (0.25, 0.175_680_378_652_694_98),
        (1.0 / 3.0, 0.275_413_290_777_623_4),
        (0.5, 0.5),
        (0.75, 0.824_319_621_347_305),
        (0.9, 0.960_415_594_411_219_2),
        (0.999, 0.999_981_441_261_482_6),
        (1.0, 1.0),
    ];
}
