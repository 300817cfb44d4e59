//! The files inside a `winmail.dat` (TNEF, MS-OXTNEF): some Outlooks send all attachments in one.
//!
//! Own code: the one crate there is has not been kept since 2019. Only files and their names are read; any
//! bytes yield what stands before the first thing that makes no sense. Deliberately absent: the message's text
//! in it, which the mail holds beside it, and nested messages.

use super::charset;

/// Most files taken out of one.
const FILES_MAX: usize = 200;
/// Most properties read of one file.
const PROPERTIES_MAX: u32 = 1_000;

const SIGNATURE: u32 = 0x223E_9F78;
const ATTACH_RENDDATA: u32 = 0x0006_9002;
const ATTACH_DATA: u32 = 0x0006_800F;
const ATTACH_TITLE: u32 = 0x0001_8010;
const ATTACH_PROPERTIES: u32 = 0x0006_9005;

const LONG_FILENAME: u16 = 0x3707;
const MIME_TAG: u16 = 0x370E;
const CONTENT_ID: u16 = 0x3712;

/// One file of a `winmail.dat`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct File<'a> {
    pub filename: Option<String>,
    pub media_type: Option<String>,
    pub content_id: Option<String>,
    pub bytes: &'a [u8],
}

/// The files in it, in order.
pub(super) fn files(bytes: &[u8]) -> Vec<File<'_>> {
    let mut files: Vec<File<'_>> = Vec::new();
    let mut input = Input(bytes);
    if input.u32() != Some(SIGNATURE) || input.take(2).is_none() {
        return files;
    }
    while let Some((attribute, data)) = read_attribute(&mut input) {
        if attribute == ATTACH_RENDDATA {
            if files.len() == FILES_MAX {
                break;
            }
            files.push(File::default());
        }
        let Some(file) = files.last_mut() else { continue };
        match attribute {
            ATTACH_DATA => file.bytes = data,
            // The long name of the properties, if there is one, comes later and wins.
            ATTACH_TITLE => file.filename = Some(text(data)),
            ATTACH_PROPERTIES => {
                read_properties(file, &mut Input(data));
            }
            _ => {}
        }
    }
    files.retain(|file| !file.bytes.is_empty());
    files
}

/// One attribute: level, name, length, data, checksum.
fn read_attribute<'a>(input: &mut Input<'a>) -> Option<(u32, &'a [u8])> {
    input.take(1)?;
    let attribute = input.u32()?;
    let length = usize::try_from(input.u32()?).ok()?;
    let data = input.take(length)?;
    // The last checksum may have been cut off.
    let _checksum = input.take(2);
    Some((attribute, data))
}

/// MAPI properties of a file, [MS-OXCDATA].
fn read_properties(file: &mut File<'_>, input: &mut Input<'_>) -> Option<()> {
    let count = input.u32()?.min(PROPERTIES_MAX);
    for _ in 0..count {
        let kind = input.u16()?;
        let id = input.u16()?;
        if id >= 0x8000 {
            skip_name(input)?;
        }
        // The high bits say "several values".
        let values = if kind & 0x1000 != 0 { input.u32()? } else { 1 };
        for _ in 0..values {
            match kind & 0x0FFF {
                0x0002..=0x0004 | 0x000A | 0x000B => drop(input.take(4)?),
                0x0005..=0x0007 | 0x0014 | 0x0040 => drop(input.take(8)?),
                0x0048 => drop(input.take(16)?),
                0x001E | 0x001F | 0x000D | 0x0102 => {
                    if kind & 0x1000 == 0 && input.u32()? != 1 {
                        return None;
                    }
                    let data = input.padded()?;
                    let value = if kind & 0x0FFF == 0x001F { wide_text(data) } else { text(data) };
                    match id {
                        LONG_FILENAME => file.filename = Some(value),
                        MIME_TAG => file.media_type = Some(value),
                        CONTENT_ID => file.content_id = Some(value),
                        _ => {}
                    }
                }
                _ => return None,
            }
        }
    }
    Some(())
}

/// A named property's name: a GUID, then a number or a text.
fn skip_name(input: &mut Input<'_>) -> Option<()> {
    input.take(16)?;
    match input.u32()? {
        0 => input.take(4).map(drop),
        _ => input.padded().map(drop),
    }
}

fn text(data: &[u8]) -> String {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    charset::guess(data.get(..end).unwrap_or_default()).into_owned()
}

fn wide_text(data: &[u8]) -> String {
    charset::decode("utf-16le", data).trim_end_matches('\0').to_owned()
}

/// What is not yet read. All numbers are little-endian.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// A length, so many bytes, and zeros up to a multiple of four.
    fn padded(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let data = self.take(length)?;
        let _padding = self.take(length.wrapping_neg() % 4);
        Some(data)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn attribute(name: u32, data: &[u8]) -> Vec<u8> {
        let sum = data.iter().fold(0_u16, |sum, byte| sum.wrapping_add((*byte).into()));
        let length = u32::try_from(data.len()).expect("short");
        [&[2][..], &name.to_le_bytes(), &length.to_le_bytes(), data, &sum.to_le_bytes()].concat()
    }

    fn property(kind: u16, id: u16, value: &[u8]) -> Vec<u8> {
        let mut property = [kind.to_le_bytes(), id.to_le_bytes()].concat();
        property.extend(1_u32.to_le_bytes());
        property.extend(u32::try_from(value.len()).expect("short").to_le_bytes());
        property.extend(value);
        property.resize(property.len().next_multiple_of(4), 0);
        property
    }

    /// A `winmail.dat` with two files.
    pub(in crate::mime) fn winmail() -> Vec<u8> {
        let mut named = [0x0003_u16.to_le_bytes(), 0x8001_u16.to_le_bytes()].concat();
        named.extend([0; 16]);
        named.extend([0; 4]);
        named.extend([7, 0, 0, 0, 9, 0, 0, 0]);
        let wide: Vec<u8> = "Größe.txt\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let properties = [
            3_u32.to_le_bytes().to_vec(),
            named,
            property(0x001F, LONG_FILENAME, &wide),
            property(0x001E, MIME_TAG, b"text/x-size\0"),
        ]
        .concat();
        [
            SIGNATURE.to_le_bytes().to_vec(),
            vec![1, 0],
            attribute(0x0008_9006, &[0, 0, 1, 0]),
            attribute(ATTACH_RENDDATA, &[0; 14]),
            attribute(ATTACH_TITLE, b"GRE~1.TXT\0"),
            attribute(ATTACH_DATA, b"hello"),
            attribute(ATTACH_PROPERTIES, &properties),
            attribute(ATTACH_RENDDATA, &[0; 14]),
            attribute(ATTACH_TITLE, b"b.bin\0"),
            attribute(ATTACH_DATA, &[0, 1, 2]),
        ]
        .concat()
    }

    #[test]
    fn files_are_found_with_their_long_names() {
        let bytes = winmail();
        let files = files(&bytes);
        let [first, second] = files.as_slice() else { panic!("{files:?}") };
        assert_eq!((first.filename.as_deref(), first.bytes), (Some("Größe.txt"), &b"hello"[..]));
        assert_eq!(first.media_type.as_deref(), Some("text/x-size"));
        assert_eq!((second.filename.as_deref(), second.bytes), (Some("b.bin"), &[0, 1, 2][..]));
    }

    #[test]
    fn any_cut_and_any_changed_byte_is_survived() {
        let whole = winmail();
        for end in 0..whole.len() {
            assert!(files(&whole[..end]).len() <= 2);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                assert!(files(&changed).len() <= 2);
            }
        }
        assert!(files(b"").is_empty());
    }
}
