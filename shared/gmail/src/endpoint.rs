//! Where credentials may be sent: to Google, or to this machine, and nowhere else.
//!
//! A mistyped or malicious setting would otherwise hand every mailbox's token to a stranger, and a local
//! system could write to a deployed one.

use std::fmt;

use url::{Host, Url};

/// A base address that was checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

/// Why an address is not one that credentials may be sent to. Names no address: the caller names the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not an absolute http or https URL.
    #[error("must be an absolute http or https URL")]
    NotAUrl,
    /// Some other machine.
    #[error("must be loopback, or https at googleapis.com or accounts.google.com")]
    Foreign,
}

impl Endpoint {
    /// Checks an address: loopback by http or https, or https at `googleapis.com` and below, or at
    /// `accounts.google.com`, where people consent.
    ///
    /// # Errors
    /// [`EndpointError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let url = Url::parse(text.trim_end_matches('/')).map_err(|_| EndpointError::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EndpointError::NotAUrl);
        }
        let google = |name: &str| {
            url.scheme() == "https"
                && (name == "googleapis.com"
                    || name.ends_with(".googleapis.com")
                    || name == "accounts.google.com")
        };
        let fits = match url.host().ok_or(EndpointError::NotAUrl)? {
            Host::Domain(name) => google(name) || is_loopback(&url),
            Host::Ipv4(_) | Host::Ipv6(_) => is_loopback(&url),
        };
        // User information would travel with every request, and a fragment or query breaks joining.
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        if fits && plain { Ok(Self(url)) } else { Err(EndpointError::Foreign) }
    }

    /// The address with a path (starting with a slash) and a query behind it.
    pub fn join(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.0.as_str().trim_end_matches('/'))
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// The address itself.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_to_google_or_to_this_machine_only() {
        for good in [
            "https://gmail.googleapis.com",
            "https://oauth2.googleapis.com/",
            "https://www.googleapis.com/oauth2/v3/certs",
            "https://accounts.google.com/o/oauth2/v2/auth",
            "http://127.0.0.1:4100",
            "http://[::1]:4100",
            "http://localhost:4100",
        ] {
            assert!(Endpoint::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://gmail.googleapis.com",
            "http://accounts.google.com/o/oauth2/v2/auth",
            "https://accounts.google.com.evil.example",
            "https://google.com",
            "https://googleapis.com.evil.example",
            "https://evilgoogleapis.com",
            "http://10.0.0.1",
            "ftp://localhost",
            "https://user:pass@gmail.googleapis.com",
            "gmail.googleapis.com",
            "",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn joining_makes_no_double_slash() {
        let endpoint = Endpoint::parse("http://127.0.0.1:4100/").expect("an endpoint");
        assert_eq!(
            endpoint.join("/gmail/v1/users/me/profile"),
            "http://127.0.0.1:4100/gmail/v1/users/me/profile"
        );
    }
}
