//! `template.yaml` as CloudFormation gets it.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace_root;

/// The template after SAM's transform, with its parameters at their defaults and still as references. What is claimed
/// of the deployed system is claimed of this: the transform adds resources, permissions among them.
///
/// Errors: the transform is not installed, or refuses the template.
pub fn translated_template() -> Result<Value> {
    let root = workspace_root();
    let python = root.join("target/tools/ministack/bin/python");
    if !python.is_file() {
        bail!("SAM's transform is not installed at {}: run `make tools`", python.display());
    }
    let output = Command::new(python)
        .arg(root.join("infra/testkit/translate.py"))
        .arg(root.join("template.yaml"))
        .output()
        .context("cannot start python")?;
    if !output.status.success() {
        bail!("template.yaml is not translated:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("the translation is no JSON")
}
