//! `gmail-sync admin bootstrap`.

use anyhow::{Context, Result};
use clap::Args;
use secrecy::ExposeSecret;
use serde::Serialize;
use sync_core::{SignedDuration, TenantId, Timestamp};
use sync_store::{
    AuditAction, NewAudit, Scope, Store, StoreConfig, StoreError, TenantRow, TokenKind, TokenRow,
};

use crate::aws;

/// How long the sign-in link works.
const SIGNIN: SignedDuration = SignedDuration::from_hours(1);

const SCOPES: [Scope; 5] = [Scope::Read, Scope::Sync, Scope::Send, Scope::Admin, Scope::Platform];

/// What the command takes.
#[derive(Args)]
pub struct Options {
    /// The tenant's id: 1 to 64 letters, digits, `-`, `_`.
    #[arg(long, value_name = "NAME", default_value = "default")]
    tenant: TenantId,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// The DynamoDB table: the output `TableName` of the stack.
    #[arg(long, env = "TABLE_NAME", value_name = "TABLE")]
    table: String,
}

/// What was made. The token is shown here and never again: only its hash is stored.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    tenant_id: TenantId,
    token: String,
    signin_path: String,
    created_tenant: bool,
}

/// Runs the command against the AWS of the environment.
pub async fn run(options: &Options) -> Result<()> {
    let aws = aws::environment().await?;
    // Neither mail nor credentials are touched here, so only the table is named.
    let config = StoreConfig {
        table: options.table.clone(),
        bucket: String::new(),
        encryption_secret_id: String::new(),
    };
    let made = bootstrap(&Store::new(&aws, config), &options.tenant, Timestamp::now())
        .await
        .map_err(|error| aws::explained(error, &options.table))?;
    print(&made, options.json)
}

async fn bootstrap(store: &Store, tenant: &TenantId, now: Timestamp) -> Result<Made, StoreError> {
    let row = TenantRow { id: tenant.clone(), name: tenant.to_string(), created_at: now };
    let created_tenant = store.create_tenant(&row).await?;
    let token = |kind, name: &str, expires_at| TokenRow {
        tenant: tenant.clone(),
        scopes: SCOPES.to_vec(),
        name: name.to_owned(),
        kind,
        expires_at,
    };
    let api = store.create_token(&token(TokenKind::Api, "bootstrap", None), now).await?;
    let lapses = now.saturating_add(SIGNIN).ok();
    let code = store.create_token(&token(TokenKind::SigninCode, "bootstrap link", lapses), now).await?;
    let deed = NewAudit {
        tenant: tenant.clone(),
        actor: "gmail-sync admin bootstrap".to_owned(),
        action: AuditAction::TokenCreated,
        mailbox: None,
        trace: String::new(),
    };
    store.audit(&deed, now).await?;
    Ok(Made {
        tenant_id: tenant.clone(),
        token: api.expose_secret().to_owned(),
        signin_path: format!("/signin?code={}", code.expose_secret()),
        created_tenant,
    })
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print(made: &Made, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(made).context("writing JSON")?);
        return Ok(());
    }
    let was = if made.created_tenant { "is new" } else { "was there already" };
    println!("Tenant      {} ({was})", made.tenant_id);
    println!("API token   {}", made.token);
    println!("            every scope; shown once, only its hash is stored");
    println!("Sign in     {{your API's address}}{}", made.signin_path);
    println!("            works once, within an hour");
    Ok(())
}
