//! Quota ledgers of addresses as rows.
//!
//! Whoever wants to spend reads a ledger, decides, and writes it back on condition that nobody else has written
//! meanwhile. Two tenants may share an address, and Google counts by address: so the row is the address's. A ledger
//! that TTL has taken is an empty one: it lasts longer than what it counts.

use sync_core::{EmailAddress, SignedDuration, Timestamp, quota::Ledger};

use crate::{
    Store, StoreError,
    error::contention_delay,
    item::{Change, Fields, Item, SCHEMA_VERSION, nested, number, ttl},
    keys,
    table::Updated,
};

type Result<T> = std::result::Result<T, StoreError>;

/// How often two at one ledger are sorted out: about two seconds in all.
const TRIES: u32 = 8;
/// How long a ledger is kept that nobody writes any more.
const KEPT: SignedDuration = SignedDuration::from_hours(48);

/// A ledger as it was last seen: a guess, to be checked by the next write.
#[derive(Debug, Clone, Default)]
pub struct SeenLedger {
    /// 0 for one that does not exist.
    version: u64,
    ledger: Ledger,
}

impl SeenLedger {
    /// What is in it.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl Store {
    /// Changes a ledger: what `decide` makes of it is written, if it is true of what is there. `seen` is what this
    /// process saw last, and becomes what is there now; a guess that is right saves the read.
    ///
    /// `decide` may be called several times; `Err` of it is final only against a ledger that was read now.
    pub async fn change_ledger<T, E>(
        &self,
        of: &EmailAddress,
        seen: &mut Option<SeenLedger>,
        now: Timestamp,
        mut decide: impl FnMut(&mut Ledger) -> std::result::Result<T, E>,
    ) -> Result<std::result::Result<T, E>> {
        let mut is_guess = seen.is_some();
        for attempt in 0..TRIES {
            let current = match seen.take() {
                Some(current) => current,
                None => self.read_ledger(of).await?,
            };
            let mut ledger = current.ledger.clone();
            let decided = match decide(&mut ledger) {
                Ok(decided) => decided,
                // Refused by a guess: what is there now decides.
                Err(_) if is_guess => {
                    is_guess = false;
                    continue;
                }
                Err(refused) => {
                    *seen = Some(current);
                    return Ok(Err(refused));
                }
            };
            match self
                .update("change ledger", &keys::address_quota(of), written(&ledger, current.version, now)?)
                .await?
            {
                Updated::Done(_) => {
                    *seen = Some(SeenLedger { version: current.version + 1, ledger });
                    return Ok(Ok(decided));
                }
                // Somebody else was quicker: theirs comes with the refusal.
                Updated::Refused(found) => {
                    *seen = Some(found.as_ref().map(seen_from).transpose()?.unwrap_or_default());
                    is_guess = false;
                    if attempt > 0 {
                        tokio::time::sleep(contention_delay(attempt)).await;
                    }
                }
            }
        }
        Err(StoreError::Busy { operation: "change ledger" })
    }

    /// A ledger as it is now.
    pub async fn read_ledger(&self, of: &EmailAddress) -> Result<SeenLedger> {
        let item = self.get("read ledger", &keys::address_quota(of)).await?;
        Ok(item.as_ref().map(seen_from).transpose()?.unwrap_or_default())
    }
}

fn written(ledger: &Ledger, version: u64, now: Timestamp) -> Result<Change> {
    let change = Change::default()
        .set("v", number(SCHEMA_VERSION))
        .set("version", number(version + 1))
        .set("ledger", nested("ledger", ledger)?)
        .set("ttl", ttl(now + KEPT));
    Ok(match version {
        0 => change.when("attribute_not_exists(#pk)"),
        _ => change.when("#version = :read").value(":read", number(version)),
    })
}

fn seen_from(item: &Item) -> Result<SeenLedger> {
    let fields = Fields::new("ledger", item);
    // One that this version cannot read must not stop its mailbox for ever: it is a minute's worth of counting.
    let ledger = fields.nested("ledger").unwrap_or_default();
    Ok(SeenLedger { version: fields.number("version")?, ledger })
}
