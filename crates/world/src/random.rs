//! A cryptographic generator, seeded by the system or by a number.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

pub(crate) struct Random(ChaCha12Rng);

impl Random {
    #[allow(clippy::disallowed_methods)] // This is the door that the ban protects.
    pub(crate) fn from_system() -> Random {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the system has entropy");
        Random(ChaCha12Rng::from_seed(seed))
    }

    pub(crate) fn from_seed(seed: u64) -> Random {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Random(ChaCha12Rng::from_seed(bytes))
    }

    /// A generator with the same seed on its own stream: what one draws does not move the other.
    pub(crate) fn fork(&self) -> Random {
        let mut forked = self.0.clone();
        forked.set_stream(self.0.get_stream() + 1);
        Random(forked)
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.0.next_u64()) * bound as u128) >> 64) as usize
    }
}
