//! Protobuf's wire format: numbered fields, each with its payload. Knows nothing of what they mean.

/// Wire types.
pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const BYTES: u8 = 2;

/// A field's payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Payload<'a> {
    Bytes(&'a [u8]),
    Fixed32(u32),
    Fixed64(u64),
    Varint(u64),
}

/// The fields of a message, in order. Ends after the first error.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut number = 0_u64;
        for (index, byte) in self.0.iter().take(10).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok(number);
            }
        }
        Err("a number does not end")
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], &'static str> {
        let length =
            usize::try_from(length).ok().filter(|length| *length <= self.0.len()).ok_or("a field does not end")?;
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Payload<'a>), &'static str> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0).ok_or("a field has no number")?;
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| "a field does not end")?)),
            2 => {
                let length = self.varint()?;
                Payload::Bytes(self.take(length)?)
            }
            5 => Payload::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| "a field does not end")?)),
            _ => return Err("a field is of an unknown wire type"),
        };
        Ok((number, payload))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Payload<'a>), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Numbers that stand behind each other.
pub(crate) fn varints(bytes: &[u8]) -> impl Iterator<Item = Result<u64, &'static str>> {
    let mut reader = Reader::new(bytes);
    std::iter::from_fn(move || {
        if reader.0.is_empty() {
            return None;
        }
        let number = reader.varint();
        if number.is_err() {
            reader.0 = &[];
        }
        Some(number)
    })
}

/// Bytes that a number takes.
pub(crate) fn varint_length(number: u64) -> usize {
    // Seven bits a byte, and one byte for zero.
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// A message that is being written.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Writer {
        Writer(Vec::with_capacity(bytes))
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(crate) fn tag(&mut self, number: u32, wire_type: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire_type));
    }

    /// Writes a message in a field. Its length is known when it is written: what is longer than most is moved then.
    pub(crate) fn nested<E>(&mut self, number: u32, write: impl FnOnce(&mut Writer) -> Result<(), E>) -> Result<(), E> {
        self.tag(number, BYTES);
        let at = self.0.len();
        self.0.push(0);
        write(self)?;
        let mut length = self.0.len() - at - 1;
        let more = varint_length(length as u64) - 1;
        if more > 0 {
            let end = self.0.len();
            self.0.resize(end + more, 0);
            self.0.copy_within(at + 1..end, at + 1 + more);
        }
        for byte in &mut self.0[at..at + more] {
            *byte = length as u8 | 0x80;
            length >>= 7;
        }
        self.0[at + more] = length as u8;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_messages_have_the_length_that_they_turn_out_to_have() {
        for size in [0_usize, 1, 127, 128, 300, 16_383, 16_384, 2_097_152] {
            let mut writer = Writer::default();
            let Ok(()) = writer.nested(3, |out| {
                out.raw(&vec![7; size]);
                Ok::<(), std::convert::Infallible>(())
            });
            let bytes = writer.into_bytes();
            assert_eq!(bytes.len(), 1 + varint_length(size as u64) + size);
            let fields: Vec<_> = Reader::new(&bytes).collect();
            assert_eq!(fields, [Ok((3, Payload::Bytes(&vec![7; size])))], "{size}");
        }
    }
}
