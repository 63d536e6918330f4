//! A few strings that are kept for long, in as little memory as they take together.

/// Bits of a number in a character that takes one byte.
const BITS: u32 = 7;
/// Characters in which a position is written: two as long as they reach, five reach 32 GiB.
const WIDTHS: [usize; 2] = [2, 5];
/// Strings shorter than this together have narrow ends.
const NARROW: usize = 1 << (BITS * WIDTHS[0] as u32);

/// Strings in one allocation: each on its own would take 32 bytes of the allocator and 16 for where it is, and objects have
/// dozens of short ones.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Strings {
    /// One after the other, and then where each ends, which is where the next begins.
    text: Box<str>,
    count: u32,
}

impl Strings {
    /// The string at `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        if index >= self.len() {
            return None;
        }
        let (ends, width) = self.ends();
        let start = index.checked_sub(1).map_or(0, |before| end(ends, width, before));
        Some(&self.text[start..end(ends, width, index)])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    /// The ends, and the characters that each takes.
    fn ends(&self) -> (&[u8], usize) {
        let bytes = self.text.as_bytes();
        // Where ends are wide, the first of these has some of them too, and is too long all the more.
        let [length, shorter] = WIDTHS.map(|width| bytes.len().saturating_sub(self.len() * width));
        if length < NARROW { (&bytes[length..], WIDTHS[0]) } else { (&bytes[shorter..], WIDTHS[1]) }
    }
}

fn end(ends: &[u8], width: usize, index: usize) -> usize {
    ends[index * width..][..width].iter().fold(0, |end, digit| end << BITS | usize::from(*digit))
}

impl std::fmt::Debug for Strings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    /// # Panics
    /// If they have 4 GiB together, which nothing has that a server takes.
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Strings {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for string in strings {
            text.push_str(string.as_ref());
            ends.push(u32::try_from(text.len()).expect("less than 4 GiB"));
        }
        let width = WIDTHS[usize::from(text.len() >= NARROW)];
        text.reserve_exact(ends.len() * width);
        for end in &ends {
            let digits = (0..width as u32).rev().map(|place| u64::from(*end) >> (BITS * place) & ((1 << BITS) - 1));
            text.extend(digits.map(|digit| char::from(digit as u8)));
        }
        Strings { text: text.into(), count: ends.len() as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_what_they_were() {
        let (below, at) = ("x".repeat(NARROW - 1), "x".repeat(NARROW));
        for strings in
            [&[][..], &[""], &["", "ä", "", "bc"], &["", &below, ""], &["", &at, "", "y"], &[&below, &at, "ä"]]
        {
            let packed: Strings = strings.iter().collect();
            assert_eq!(packed.iter().collect::<Vec<_>>(), strings);
            assert_eq!((packed.len(), packed.is_empty()), (strings.len(), strings.is_empty()));
            assert_eq!(packed.get(strings.len()), None);
        }
        assert_ne!(["a", "b"].iter().collect::<Strings>(), ["ab", ""].iter().collect());
    }
}
