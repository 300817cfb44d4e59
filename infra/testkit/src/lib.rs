//! Handles on what tests run against: an emulated AWS of their own, on a free port.
//!
//! Invariant: whatever a handle started ends with the handle, child processes and temporary files
//! included. Deliberately absent: AWS clients. A test talks to the emulator through the code it tests.

mod dynamodb_local;
mod microburst;
mod ministack;
mod template;
mod temporary;

pub use dynamodb_local::DynamoDbLocal;
pub use microburst::Microburst;
pub use ministack::{MiniStack, StartOptions};
pub use template::translated_template;
pub use temporary::TemporaryDirectory;

use std::path::PathBuf;

/// The workspace's root directory.
pub fn workspace_root() -> PathBuf {
    // infra/testkit is two levels below the root.
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map_or_else(|| here.clone(), PathBuf::from)
}
