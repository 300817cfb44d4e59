//! Claims about the repository itself: who may depend on whom, and that its documents speak of what exists.

mod dependencies;
mod documents;
mod template;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders with nothing of ours in them.
const FOREIGN: [&str; 5] = ["target", ".aws-sam", "node_modules", "__pycache__", ".git"];

/// Every file of the repository with this ending, in order.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![testkit::workspace_root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().into_string().expect("a name"));
            if path.is_dir() && !FOREIGN.contains(&name.as_str()) {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no file ends with {ending}");
    found
}

/// A path as people write it: from the repository's root.
fn shown(path: &Path) -> String {
    let root = testkit::workspace_root();
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
