//! Mail in S3, under the mailbox's prefix: as it was sent, or the tree of its parts.
//!
//! A body's name is the hash of its content, and it is always put, never skipped because "it exists": a
//! sweep may be deleting the old one just now.

use std::io::Read;

use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_s3::{operation::get_object::GetObjectError, primitives::ByteStream};
use sync_core::{
    MailboxId,
    message::{BodyForm, BodyRef},
};

use crate::{Store, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// Largest mail, bytes. Gmail takes 50 MB at most.
const BODY_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Level 3 is zstd's own default: mail shrinks to about half, at hundreds of MB a second.
pub(crate) const COMPRESSION_LEVEL: i32 = 3;

impl Store {
    /// Stores a mail in this form, compressed. It is there when this returns, so that a row may name it.
    ///
    /// Errors: more than 64 MiB.
    pub async fn put_body(&self, mailbox: &MailboxId, raw: Vec<u8>, form: BodyForm) -> Result<BodyRef> {
        if raw.len() > BODY_BYTES_MAX {
            return Err(StoreError::TooLarge {
                what: "bytes of a body",
                actual: raw.len(),
                max: BODY_BYTES_MAX,
            });
        }
        // Hashing and compressing take up to a second for the largest mail: not on the runtime's threads.
        let work = move || {
            let body = BodyRef {
                sha256: hex::encode(digest(&SHA256, &raw)),
                bytes: u64::try_from(raw.len()).unwrap_or(u64::MAX),
                form,
            };
            zstd::encode_all(raw.as_slice(), COMPRESSION_LEVEL).map(|compressed| (body, compressed))
        };
        let (body, compressed) = blocking(work).await?.map_err(|error| corrupt_body(&error))?;
        self.put_object("put body", body_key(mailbox, &body), compressed, None).await?;
        Ok(body)
    }

    /// Reads a mail back; `None` when the object is gone. Errors: it is not what it was.
    pub async fn get_body(&self, mailbox: &MailboxId, body: &BodyRef) -> Result<Option<Vec<u8>>> {
        let Some(compressed) = self.get_object("get body", body_key(mailbox, body), None).await? else {
            return Ok(None);
        };
        let body = body.clone();
        let raw = blocking(move || decompress(&compressed, &body)).await??;
        Ok(Some(raw))
    }

    pub(crate) async fn put_object(
        &self,
        operation: &'static str,
        key: String,
        bytes: Vec<u8>,
        tag: Option<&str>,
    ) -> Result<()> {
        self.s3
            .put_object()
            .bucket(&self.config.bucket)
            .key(key)
            .body(ByteStream::from(bytes))
            .set_tagging(tag.map(str::to_owned))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(operation, &error))?;
        Ok(())
    }

    /// An object's bytes; `None` when there is none, nothing when the range begins behind its end.
    pub(crate) async fn get_object(
        &self,
        operation: &'static str,
        key: String,
        range: Option<String>,
    ) -> Result<Option<Vec<u8>>> {
        let request = self.s3.get_object().bucket(&self.config.bucket).key(key).set_range(range);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                if matches!(error.as_service_error(), Some(GetObjectError::NoSuchKey(_))) {
                    return Ok(None);
                }
                let error = StoreError::from_sdk(operation, &error);
                return match &error {
                    StoreError::Refused { code, .. } if code == "InvalidRange" => Ok(Some(Vec::new())),
                    _ => Err(error),
                };
            }
        };
        let length = usize::try_from(answer.content_length().unwrap_or(0)).unwrap_or(0);
        if length > BODY_BYTES_MAX * 2 {
            let max = BODY_BYTES_MAX * 2;
            return Err(StoreError::TooLarge { what: "bytes of an object", actual: length, max });
        }
        let bytes = answer.body.collect().await;
        let bytes = bytes.map_err(|_| StoreError::unavailable(operation, "connection failed"))?;
        Ok(Some(bytes.to_vec()))
    }
}

fn body_key(mailbox: &MailboxId, body: &BodyRef) -> String {
    let folder = match body.form {
        BodyForm::Raw => "raw",
        BodyForm::Parts => "parts",
    };
    format!("{mailbox}/{folder}/{}.zst", body.sha256)
}

/// Decompresses, but not more than the row says there is: a bomb must not fill the memory.
fn decompress(compressed: &[u8], body: &BodyRef) -> Result<Vec<u8>> {
    let length = usize::try_from(body.bytes).unwrap_or(usize::MAX);
    if length > BODY_BYTES_MAX {
        return Err(StoreError::TooLarge { what: "bytes of a body", actual: length, max: BODY_BYTES_MAX });
    }
    let mut raw = Vec::with_capacity(length);
    let decoder = zstd::Decoder::new(compressed).map_err(|error| corrupt_body(&error))?;
    decoder.take(body.bytes + 1).read_to_end(&mut raw).map_err(|error| corrupt_body(&error))?;
    if raw.len() != length || hex::encode(digest(&SHA256, &raw)) != body.sha256 {
        return Err(StoreError::corrupt("body", "it is not what its name says"));
    }
    Ok(raw)
}

fn corrupt_body(error: &std::io::Error) -> StoreError {
    StoreError::corrupt("body", error.kind().to_string())
}

/// Runs work that takes long on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    // It fails only when the work panicked or the runtime is ending.
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StoreError::unavailable("compress", "the runtime is ending"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_not_what_its_name_says_is_not_given() {
        let compressed = zstd::encode_all(&b"mail"[..], 3).expect("compressed");
        let right = BodyRef { sha256: hex::encode(digest(&SHA256, b"mail")), bytes: 4, form: BodyForm::Raw };
        assert_eq!(decompress(&compressed, &right).expect("the mail"), b"mail");
        for wrong in [
            BodyRef { bytes: 3, ..right.clone() },
            BodyRef { bytes: u64::MAX, ..right.clone() },
            BodyRef { sha256: "0".repeat(64), ..right },
        ] {
            assert!(decompress(&compressed, &wrong).is_err());
        }
    }

    #[test]
    fn a_decompression_bomb_is_cut_off() {
        let bomb = zstd::encode_all(std::io::repeat(0).take(50_000_000), 3).expect("compressed");
        let small = BodyRef { sha256: String::new(), bytes: 10, form: BodyForm::Raw };
        assert!(decompress(&bomb, &small).is_err());
    }
}
