//! A few strings that are kept for long, in as little memory as they take together.

/// Strings in one piece of text: each on its own would take 32 bytes of the allocator and 16 for where it is, and objects have
/// dozens of short ones.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Strings {
    text: Box<str>,
    /// Where each ends, which is where the next begins.
    ends: Box<[u32]>,
}

impl Strings {
    /// The string at `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.text[start..end])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }
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
        Strings { text: text.into(), ends: ends.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_what_they_were() {
        for strings in [&[][..], &[""], &["", "ä", "", "bc"]] {
            let packed: Strings = strings.iter().collect();
            assert_eq!(packed.iter().collect::<Vec<_>>(), strings);
            assert_eq!((packed.len(), packed.is_empty()), (strings.len(), strings.is_empty()));
            assert_eq!(packed.get(strings.len()), None);
        }
        assert_ne!(["a", "b"].iter().collect::<Strings>(), ["ab", ""].iter().collect());
    }
}
