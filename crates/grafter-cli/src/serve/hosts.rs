//! The names that a server may be asked under, where it goes by some and not by all.
//!
//! Whoever has no key is kept out by the address alone: only this machine reaches 127.0.0.1. A browser on it reaches it too,
//! for any page that lets its own name point there ("DNS rebinding"), and takes the answers for that page's own. But it
//! tells the name, in `Host`, and the name is not one of this machine's.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;
use axum::http::header::HOST;

use super::error::{ErrorKind, HttpError};

/// The names that are taken.
#[derive(Debug)]
pub enum Hosts {
    /// All: the server asks for a key, or is meant for everyone who reaches it.
    Any,
    /// Addresses, `localhost`, and these, in small letters.
    Known(Vec<String>),
}

impl Hosts {
    /// # Errors
    /// If the name is none of this machine's.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), HttpError> {
        let Self::Known(more) = self else { return Ok(()) };
        let known = |host: &str| {
            let name = name_of(host).to_ascii_lowercase();
            // A name may end with the dot of the root.
            let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
            name == "localhost" || is_address(&name) || more.contains(&name)
        };
        // A browser always tells one.
        let mut hosts = headers.get_all(HOST).iter();
        if hosts.all(|host| host.to_str().is_ok_and(known)) {
            return Ok(());
        }
        let message = "the request was sent to a name that this server does not go by; `--allow-host` gives it one; \
                       with API keys and without that flag it goes by any";
        Err(HttpError::new(ErrorKind::Forbidden, message))
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_address(name: &str) -> bool {
    let v6 = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4())
        || v6.is_some_and(|name| name.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_taken_and_no_others() {
        let local = Hosts::Known(vec!["model.example".to_owned()]);
        for (host, known) in [
            ("127.0.0.1", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("localhost:1", true),
            ("LocalHost", true),
            ("localhost.:8080", true),
            ("Model.Example:443", true),
            ("rebound.example:8080", false),
            ("localhost.rebound.example", false),
            ("127.0.0.1.rebound.example", false),
            ("::1", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
            assert_eq!(local.check(&headers).is_ok(), known, "{host:?}");
            assert!(Hosts::Any.check(&headers).is_ok());
        }
        assert!(local.check(&HeaderMap::new()).is_ok());
        let mut two = HeaderMap::from_iter([(HOST, "localhost".parse().unwrap())]);
        two.append(HOST, "rebound.example".parse().unwrap());
        assert!(local.check(&two).is_err());
    }
}
