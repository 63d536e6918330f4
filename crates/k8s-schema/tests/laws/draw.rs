//! Where choices come from: a seed in the test, a fuzzer's input in `fuzz/`.

/// Draws a number below a bound, 0 when the bound is 0.
pub trait Draw {
    fn below(&mut self, bound: usize) -> usize;
}

/// One of some texts.
pub fn pick<'a>(draw: &mut dyn Draw, from: &[&'a str]) -> &'a str {
    from[draw.below(from.len())]
}
