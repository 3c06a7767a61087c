//! Chooses the key of the next check.

use rand_distr::{Distribution, Zipf};

/// Keys by number; 0 is the busiest.
pub(crate) struct Keys {
    count: u32,
    zipf: Option<Zipf<f64>>,
}

impl Keys {
    pub(crate) fn new(count: u32, exponent: f64) -> anyhow::Result<Self> {
        let zipf = (exponent > 0.0)
            .then(|| Zipf::new(f64::from(count), exponent))
            .transpose()?;
        Ok(Self { count, zipf })
    }

    pub(crate) fn pick(&self) -> u32 {
        if self.count == 1 {
            return 0;
        }
        let Some(zipf) = &self.zipf else {
            return rand::random_range(0..self.count);
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "Zipf samples are whole numbers from 1 to the count, which fits"
        )]
        let rank = zipf.sample(&mut rand::rng()) as u32;
        rank.clamp(1, self.count) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pick_is_one_of_the_keys() {
        for exponent in [0.0, 1.1] {
            let keys = Keys::new(10, exponent).unwrap();
            assert!((0..1_000).all(|_| keys.pick() < 10));
        }
    }

    #[test]
    fn with_an_exponent_the_first_key_is_the_busiest() {
        let keys = Keys::new(1_000, 1.0).unwrap();
        let first = (0..10_000).filter(|_| keys.pick() == 0).count();
        // 1 / H(1000) of them, which is 13 %.
        assert!((1_000..1_700).contains(&first), "{first}");
    }
}
