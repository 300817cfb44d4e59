//! Consents under way: what the beginning of OAuth's flow tells its end, ten minutes later at most.
//!
//! Invariant: a state is spent once, by one conditional delete; of two browsers that come back at once one wins. The
//! state itself is stored nowhere, only its SHA-256, and the verifier beside it is sealed: a copy of the table
//! completes nobody's consent. A consent that began in a browser ends there or not at all, and one who comes from
//! elsewhere does not spend it.

use aws_sdk_dynamodb::{
    operation::delete_item::DeleteItemError,
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use secrecy::SecretString;
use sync_core::Timestamp;

use crate::{
    ConsentSpent, PendingConsent, Store, StoreError,
    item::{Change, Fields, Item, SCHEMA_VERSION, text, time, ttl},
    keys,
    tenants::token_sha256,
};

type Result<T> = std::result::Result<T, StoreError>;

const VERIFIER: &str = "verifier";

impl Store {
    /// Keeps a consent under its state. `browser` is what only the browser that began it knows.
    pub async fn begin_consent(
        &self,
        state: &SecretString,
        browser: Option<&SecretString>,
        consent: &PendingConsent,
    ) -> Result<()> {
        let key = keys::consent(&token_sha256(state));
        let mut item = Item::from([
            ("v".to_owned(), crate::item::number(SCHEMA_VERSION)),
            ("tenant".to_owned(), text(consent.tenant.as_str())),
            ("asked_with".to_owned(), text(&consent.asked_with)),
            ("redirect_uri".to_owned(), text(&consent.redirect_uri)),
            ("expires_at".to_owned(), time(consent.expires_at)),
            ("ttl".to_owned(), ttl(consent.expires_at)),
            (VERIFIER.to_owned(), self.vault.seal(&key.pk, VERIFIER, &consent.verifier).await?),
        ]);
        if consent.from_dashboard {
            item.insert("from_dashboard".to_owned(), aws_sdk_dynamodb::types::AttributeValue::Bool(true));
        }
        item.extend(browser.map(|browser| ("browser".to_owned(), text(token_sha256(browser)))));
        item.extend(consent.return_to.as_ref().map(|path| ("return_to".to_owned(), text(path))));
        let mailbox = consent.mailbox.as_ref();
        item.extend(mailbox.map(|mailbox| ("mailbox".to_owned(), text(mailbox.as_str()))));
        self.put("begin consent", &key, item).await
    }

    /// Spends a state.
    pub async fn spend_consent(
        &self,
        state: &SecretString,
        browser: Option<&SecretString>,
        now: Timestamp,
    ) -> Result<ConsentSpent> {
        let key = keys::consent(&token_sha256(state));
        let known = browser.map_or_else(|| "none".to_owned(), token_sha256);
        let guard = Change::default()
            .when("attribute_exists(#pk) AND (attribute_not_exists(#browser) OR #browser = :browser)")
            .value(":browser", text(known));
        let result = self
            .dynamo
            .delete_item()
            .table_name(&self.config.table)
            .set_key(Some(key.attributes()))
            .set_condition_expression(guard.condition_expression())
            .set_expression_attribute_names(guard.names())
            .set_expression_attribute_values(guard.values())
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let item = match result {
            Ok(answer) => answer.attributes.unwrap_or_default(),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(refusal)) => {
                    let is_there = refusal.item().is_some_and(|item| !item.is_empty());
                    return Ok(if is_there { ConsentSpent::AnotherBrowser } else { ConsentSpent::Unknown });
                }
                _ => return Err(StoreError::from_sdk("spend consent", &error)),
            },
        };
        let fields = Fields::new("consent", &item);
        // TTL deletes late, by days: the time is checked here.
        let expires_at = fields.time("expires_at")?;
        if now >= expires_at {
            return Ok(ConsentSpent::Lapsed);
        }
        let sealed =
            item.get(VERIFIER).ok_or_else(|| StoreError::corrupt("consent", "attribute verifier"))?;
        Ok(ConsentSpent::Taken(Box::new(PendingConsent {
            tenant: fields.parsed("tenant")?,
            asked_with: fields.text("asked_with")?.to_owned(),
            from_dashboard: fields.flag("from_dashboard")?,
            verifier: self.vault.open(&key.pk, VERIFIER, sealed).await?,
            redirect_uri: fields.text("redirect_uri")?.to_owned(),
            return_to: fields.optional_text("return_to")?.map(ToOwned::to_owned),
            mailbox: fields
                .optional_text("mailbox")?
                .map(|id| id.parse().map_err(|_| StoreError::corrupt("consent", "attribute mailbox")))
                .transpose()?,
            expires_at,
        })))
    }
}
