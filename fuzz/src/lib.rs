//! How an input of the fuzzer is read as choices: what the targets share.

/// Draws what the fuzzer wants; zeros at the end of its input.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// A number below a bound; 0 when the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let width = if bound <= 256 { 1 } else { 3 };
        self.bytes(width).iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) % bound.max(1)
    }

    /// The next bytes, fewer at the end.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
