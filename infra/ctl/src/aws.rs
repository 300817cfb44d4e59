//! The AWS of the environment, and its refusals in words.

use anyhow::{Result, anyhow};
use aws_config::SdkConfig;
use sync_store::StoreError;

/// Region and credentials as every program of AWS's finds them.
pub async fn environment() -> Result<SdkConfig> {
    let aws = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    if aws.region().is_none() {
        return Err(anyhow!("no AWS region is configured: set AWS_REGION, or run `aws configure`"));
    }
    Ok(aws)
}

/// What to do about it, for the failures that everybody has once.
pub fn explained(error: StoreError, table: &str) -> anyhow::Error {
    let cure = match &error {
        StoreError::Refused { operation, .. } if operation.contains("encryption key") => {
            "the encryption secret cannot be read or written: check ENCRYPTION_SECRET_ID, AWS_REGION and the credentials"
                .to_owned()
        }
        StoreError::Refused { code, .. } if code == "ResourceNotFoundException" => {
            format!(
                "there is no table {table:?} in this account and region: deploy first, or check TABLE_NAME and AWS_REGION"
            )
        }
        StoreError::Refused { code, .. } if code.contains("AccessDenied") => {
            format!("these AWS credentials may not write the table {table:?}")
        }
        StoreError::Refused { .. } => {
            "AWS refused it: check the credentials (`aws sts get-caller-identity`)".to_owned()
        }
        StoreError::Unavailable { .. } => {
            "DynamoDB cannot be reached: check the credentials, AWS_REGION and AWS_ENDPOINT_URL".to_owned()
        }
        _ => "the store failed".to_owned(),
    };
    anyhow::Error::new(error).context(cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_gets_wrong_once_is_explained() {
        let refused = |code: &str| StoreError::Refused { operation: "create tenant", code: code.to_owned() };
        let missing = explained(refused("ResourceNotFoundException"), "mail");
        assert!(missing.to_string().contains("no table \"mail\""), "{missing}");
        let denied = explained(refused("AccessDeniedException"), "mail");
        assert!(denied.to_string().contains("may not write"), "{denied}");
    }
}
