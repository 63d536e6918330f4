//! Protobuf's wire format: numbered fields, each with its payload. Knows nothing of what they mean.

/// A field's payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Payload<'a> {
    Bytes(&'a [u8]),
    Fixed32(u32),
    Fixed64(u64),
    Varint(u64),
}

/// The fields of a message, in order. Ends after the first error.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
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
pub(super) fn varints(bytes: &[u8]) -> impl Iterator<Item = Result<u64, &'static str>> {
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
