//! Tenants and tokens. A token is stored as its SHA-256 only: 32 random bytes need no slow hash.

use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_dynamodb::{operation::delete_item::DeleteItemError, types::ReturnValue};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use sync_core::{TenantId, Timestamp};
use zeroize::Zeroizing;

use crate::{
    Store, StoreError, TenantRow, TokenKind, TokenRow,
    item::{Change, Fields, Item, SCHEMA_VERSION, nested, number, text, time, ttl},
    keys,
    table::Transacted,
};

type Result<T> = std::result::Result<T, StoreError>;

/// What every token begins with, so that a leaked one is recognised.
const TOKEN_PREFIX: &str = "gst_";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

impl Store {
    /// Makes a tenant. Whether it is new; an existing one stays as it is.
    pub async fn create_tenant(&self, tenant: &TenantRow) -> Result<bool> {
        let item = Item::from([
            ("v".to_owned(), number(SCHEMA_VERSION)),
            ("tenant".to_owned(), text(tenant.id.as_str())),
            ("name".to_owned(), text(&tenant.name)),
            ("created_at".to_owned(), time(tenant.created_at)),
        ]);
        let absent = Change::default().when("attribute_not_exists(#pk)");
        let put = self.transact_put(&keys::tenant(&tenant.id), item, &absent)?;
        match self.transact("create tenant", vec![put]).await? {
            Transacted::Done => Ok(true),
            Transacted::Cancelled(_) => Ok(false),
        }
    }

    /// One tenant.
    pub async fn read_tenant(&self, tenant: &TenantId) -> Result<Option<TenantRow>> {
        let item = self.get("read tenant", &keys::tenant(tenant)).await?;
        item.map(|item| {
            let fields = Fields::new("tenant", &item);
            Ok(TenantRow {
                id: fields.parsed("tenant")?,
                name: fields.text("name")?.to_owned(),
                created_at: fields.time("created_at")?,
            })
        })
        .transpose()
    }

    /// Makes a token, `gst_…`: shown once, it cannot be read back.
    pub async fn create_token(&self, token: &TokenRow, now: Timestamp) -> Result<SecretString> {
        let raw = SecretString::from(format!("{TOKEN_PREFIX}{}", random_secret()?.expose_secret()));
        let mut item = Item::from([
            ("v".to_owned(), number(SCHEMA_VERSION)),
            ("tenant".to_owned(), text(token.tenant.as_str())),
            ("scopes".to_owned(), nested("token", &token.scopes)?),
            ("name".to_owned(), text(&token.name)),
            ("kind".to_owned(), nested("token", &token.kind)?),
            ("created_at".to_owned(), time(now)),
        ]);
        if let Some(expires_at) = token.expires_at {
            item.insert("expires_at".to_owned(), time(expires_at));
            item.insert("ttl".to_owned(), ttl(expires_at));
        }
        self.put("create token", &keys::token(&token_sha256(&raw)), item).await?;
        Ok(raw)
    }

    /// The row of a token that is valid at `now`. Sign-in codes are no tokens: they are consumed.
    pub async fn find_token(&self, raw: &SecretString, now: Timestamp) -> Result<Option<TokenRow>> {
        if !raw.expose_secret().starts_with(TOKEN_PREFIX) {
            return Ok(None);
        }
        self.token_of_sha256(&token_sha256(raw), now).await
    }

    /// The row of a token that is valid at `now`, by its hash: whether whoever asked once may still ask.
    pub async fn token_of_sha256(&self, sha256: &str, now: Timestamp) -> Result<Option<TokenRow>> {
        let item = self.get("find token", &keys::token(sha256)).await?;
        let token = item.map(|item| token_from(&item)).transpose()?;
        Ok(token.filter(|token| token.kind != TokenKind::SigninCode && is_valid(token, now)))
    }

    /// The row of a sign-in code, once: of two callers at once, one gets it.
    pub async fn consume_signin_code(&self, raw: &SecretString, now: Timestamp) -> Result<Option<TokenRow>> {
        let guard =
            Change::default().when("#kind = :code").value(":code", nested("token", &TokenKind::SigninCode)?);
        let result = self
            .dynamo
            .delete_item()
            .table_name(&self.config.table)
            .set_key(Some(keys::token(&token_sha256(raw)).attributes()))
            .set_condition_expression(guard.condition_expression())
            .set_expression_attribute_names(guard.names())
            .set_expression_attribute_values(guard.values())
            .return_values(ReturnValue::AllOld)
            .send()
            .await;
        match result {
            Ok(answer) => {
                let token = token_from(&answer.attributes.unwrap_or_default())?;
                Ok(Some(token).filter(|token| is_valid(token, now)))
            }
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(None),
                _ => Err(StoreError::from_sdk("consume code", &error)),
            },
        }
    }

    /// Ends a token: sign-out, revocation.
    pub async fn delete_token(&self, raw: &SecretString) -> Result<()> {
        self.delete("delete token", &keys::token(&token_sha256(raw))).await
    }
}

/// A secret that nobody guesses: 32 random bytes in base64url, 43 characters.
pub fn random_secret() -> Result<SecretString> {
    let mut random = Zeroizing::new([0; TOKEN_BYTES]);
    aws_lc_rs::rand::fill(random.as_mut_slice())
        .map_err(|_| StoreError::Vault("no randomness".to_owned()))?;
    Ok(SecretString::from(URL_SAFE_NO_PAD.encode(random.as_slice())))
}

/// What a token is known by: its SHA-256 in hex.
pub fn token_sha256(raw: &SecretString) -> String {
    hex::encode(digest(&SHA256, raw.expose_secret().as_bytes()))
}

/// TTL deletes late, by days: the time is checked here.
fn is_valid(token: &TokenRow, now: Timestamp) -> bool {
    token.expires_at.is_none_or(|expires_at| now < expires_at)
}

fn token_from(item: &Item) -> Result<TokenRow> {
    let fields = Fields::new("token", item);
    Ok(TokenRow {
        tenant: fields.parsed("tenant")?,
        scopes: fields.optional_nested("scopes")?.unwrap_or_default(),
        name: fields.optional_text("name")?.unwrap_or_default().to_owned(),
        kind: fields.nested("kind")?,
        expires_at: fields.optional_time("expires_at")?,
    })
}
