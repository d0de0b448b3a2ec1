//! Random numbers of an edit's own: what it draws does not disturb the run's, and is the same on every device.
//!
//! Enters: a seed and what it is for. Leaves: numbers of SplitMix64 (Steele et al. 2014), normal ones by Box and Muller.

/// A generator.
#[derive(Debug, Clone)]
pub struct Grain(u64);

impl Grain {
    /// One for each combination of these.
    pub fn new(parts: &[u64]) -> Grain {
        let mut grain = Grain(0);
        for part in parts {
            grain.0 ^= *part;
            grain.0 = grain.next();
        }
        grain
    }

    /// One for each site, beside these.
    pub fn at(site: &str, parts: &[u64]) -> Grain {
        // FNV-1a.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let name = site.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
        Grain::new(&[&[name], parts].concat())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 up to 1, without 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A whole number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// So many standard normal numbers.
    pub fn normal(&mut self, count: usize) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(count + 1);
        while numbers.len() < count {
            let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
            let angle = std::f64::consts::TAU * self.unit();
            numbers.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
        }
        numbers.truncate(count);
        numbers
    }

    /// The numbers below `n` in another order (Fisher and Yates).
    pub fn order(&mut self, n: usize) -> Vec<i64> {
        let mut order: Vec<i64> = (0..n as i64).collect();
        for last in (1..n).rev() {
            let other = self.below(last + 1);
            order.swap(last, other);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_are_normal_and_their_own() {
        let numbers = Grain::at("unet.mid_block", &[1, 2]).normal(100_001);
        let mean = numbers.iter().map(|x| f64::from(*x)).sum::<f64>() / numbers.len() as f64;
        let variance = numbers.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / numbers.len() as f64;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        let first = |site, parts: &[u64]| Grain::at(site, parts).normal(1);
        assert_eq!(first("a", &[1]), first("a", &[1]));
        assert!(first("a", &[1]) != first("b", &[1]) && first("a", &[1]) != first("a", &[2]));
        let mut order = Grain::new(&[3]).order(50);
        assert!(order != (0..50).collect::<Vec<i64>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<i64>>());
    }
}
