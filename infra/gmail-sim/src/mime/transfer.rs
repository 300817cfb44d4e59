//! Transfer encodings, undone as far as their bytes make sense: mail is never refused for being broken.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Skips what is no digit and stops where the padding says that the data ends: a footer may follow it.
pub(super) fn base64_lenient(bytes: &[u8]) -> Vec<u8> {
    let mut digits: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut padding = 0;
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') {
            digits.push(*byte);
            padding = 0;
        } else if *byte == b'=' && digits.len() % 4 >= 2 {
            padding += 1;
            if digits.len() % 4 + padding >= 4 {
                break;
            }
        }
    }
    // One digit over is no byte at all.
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(&digits).unwrap_or_default()
}

pub(super) fn quoted_printable(bytes: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'=' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        match (bytes.get(at + 1).copied(), bytes.get(at + 2).copied()) {
            (Some(b'\r'), Some(b'\n')) => at += 3,
            (Some(b'\n'), _) => at += 2,
            (Some(high), Some(low)) if hex(high).is_some() && hex(low).is_some() => {
                out.push((hex(high).unwrap_or(0) << 4) | hex(low).unwrap_or(0));
                at += 3;
            }
            _ => {
                out.push(b'=');
                at += 1;
            }
        }
    }
    out
}
