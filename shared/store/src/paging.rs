//! Page cursors: a position, bound to the list that it belongs to.
//!
//! A cursor is no secret and grants nothing: what a reader may see is decided before the list is read.
//! The digest only keeps a cursor of one list from being taken for another's, which would skip items
//! without a word.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::StoreError;

/// Bytes of digest: enough against accidents.
const DIGEST_BYTES: usize = 8;

fn seal(list: &str, position: &str) -> [u8; DIGEST_BYTES] {
    let whole = digest(&SHA256, format!("{list}\n{position}").as_bytes());
    let mut short = [0; DIGEST_BYTES];
    short.copy_from_slice(&whole.as_ref()[..DIGEST_BYTES]);
    short
}

/// The cursor of this position in that list.
pub(crate) fn encode(list: &str, position: &str) -> String {
    let mut bytes = seal(list, position).to_vec();
    bytes.extend_from_slice(position.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The position that a cursor names; an error when it is of another list or was changed.
pub(crate) fn decode(list: &str, cursor: &str) -> Result<String, StoreError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| StoreError::Cursor)?;
    let (digest, position) = bytes.split_at_checked(DIGEST_BYTES).ok_or(StoreError::Cursor)?;
    let position = std::str::from_utf8(position).map_err(|_| StoreError::Cursor)?;
    if digest != seal(list, position) {
        return Err(StoreError::Cursor);
    }
    Ok(position.to_owned())
}

/// The position of an optional cursor.
pub(crate) fn decode_optional(list: &str, cursor: Option<&str>) -> Result<Option<String>, StoreError> {
    cursor.map(|cursor| decode(list, cursor)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_fits_its_own_list_only() {
        let cursor = encode("jobs of mbx_1", "job_7");
        assert_eq!(decode("jobs of mbx_1", &cursor).expect("its own"), "job_7");
        assert!(decode("jobs of mbx_2", &cursor).is_err());
        for tampered in ["", "x", "AAAA", &format!("{cursor}A"), &cursor.replace('A', "B"), "ä", "%%%"] {
            if tampered != cursor {
                assert!(matches!(decode("jobs of mbx_1", tampered), Err(StoreError::Cursor)), "{tampered:?}");
            }
        }
    }
}
