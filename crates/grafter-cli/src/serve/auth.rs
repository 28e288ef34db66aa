//! Who may ask: keys from files or the environment, compared in constant time.

use std::path::Path;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use grafter::digest::sha256_hex;
use subtle::{Choice, ConstantTimeEq};

use super::error::{ErrorKind, HttpError};
use super::table::Access;
use crate::args::Serve;
use crate::failure::Failure;

const API_KEYS: &str = "GRAFTER_API_KEYS";
const ADMIN_KEY: &str = "GRAFTER_ADMIN_KEY";

/// The server's keys, as digests: these have one length, so that comparing them tells not even that of a key.
#[derive(Clone, Default)]
pub struct Keys {
    api: Vec<String>,
    admin: Option<String>,
}

impl Keys {
    /// # Errors
    /// If a file cannot be read, or what should hold a key holds none, or one that a header cannot.
    pub fn read(arguments: &Serve) -> Result<Self, Failure> {
        let api = keys(arguments.api_key_file.as_deref(), API_KEYS)?;
        let admin = keys(arguments.admin_key_file.as_deref(), ADMIN_KEY)?;
        if admin.len() > 1 {
            return Err(usage("there are several admin keys, expected one".to_owned()));
        }
        if admin.iter().any(|admin| api.contains(admin)) {
            return Err(usage("the admin key is one of the API keys, expected another".to_owned()));
        }
        let digests =
            |keys: Vec<String>| keys.iter().map(|key| sha256_hex(key.as_bytes())).collect::<Vec<_>>();
        Ok(Self { api: digests(api), admin: digests(admin).pop() })
    }

    /// Whether some key is asked for on the routes of everyday use.
    pub fn has_api_keys(&self) -> bool {
        !self.api.is_empty()
    }

    /// Whether there are admin routes.
    pub fn has_admin_key(&self) -> bool {
        self.admin.is_some()
    }

    /// Lets a request pass.
    /// # Errors
    /// If its key is missing, wrong, or not enough.
    pub fn check(&self, access: Access, headers: &HeaderMap) -> Result<(), HttpError> {
        if access == Access::Open || (access == Access::Key && !self.has_api_keys()) {
            return Ok(());
        }
        let unauthorized = |message: &str| HttpError::new(ErrorKind::Unauthorized, message);
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(unauthorized("expected the header `Authorization: Bearer <key>` once"));
        };
        let value = value.as_bytes();
        let Some((scheme, key)) = value.split_at_checked(b"Bearer ".len()) else {
            return Err(unauthorized("expected `Bearer <key>`"));
        };
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return Err(unauthorized("expected `Bearer <key>`"));
        }
        let found = sha256_hex(key.trim_ascii());
        let same = |known: &String| known.as_bytes().ct_eq(found.as_bytes());
        // All are compared, whichever fits.
        let is_api = self.api.iter().map(same).fold(Choice::from(0), |any, one| any | one);
        let is_admin = self.admin.iter().map(same).fold(Choice::from(0), |any, one| any | one);
        match (access, bool::from(is_api), bool::from(is_admin)) {
            (Access::Open | Access::Key, true, _) | (_, _, true) => Ok(()),
            (Access::Admin, true, false) => {
                Err(HttpError::new(ErrorKind::Forbidden, "this route needs the admin key"))
            }
            _ => Err(unauthorized("the key is not known")),
        }
    }
}

/// The keys of a file, or those of the environment.
fn keys(file: Option<&Path>, variable: &str) -> Result<Vec<String>, Failure> {
    let (text, place) = match file {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            let text = read.map_err(|source| Failure::Read { path: path.to_owned(), source })?;
            (text, format!("`{}`", path.display()))
        }
        None => match std::env::var_os(variable) {
            None => return Ok(Vec::new()),
            Some(value) => {
                let text = value.into_string().map_err(|_| usage(format!("`{variable}` is not UTF-8")))?;
                (text, format!("`{variable}`"))
            }
        },
    };
    let separator =
        |c: char| if file.is_some() { matches!(c, '\n' | '\r') } else { c == ',' || c.is_whitespace() };
    let keys: Vec<String> =
        text.split(separator).map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect();
    // A server that was meant to have keys must not come up without.
    if keys.is_empty() {
        return Err(usage(format!("{place} holds no key")));
    }
    if let Some(place_of) = keys.iter().position(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(usage(format!(
            "{place}: key {} has a character that a header cannot carry, expected visible ASCII without spaces",
            place_of + 1
        )));
    }
    Ok(keys)
}

fn usage(message: String) -> Failure {
    Failure::Usage { message, hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let digest = |key: &str| sha256_hex(key.as_bytes());
        Keys { api: vec![digest("first"), digest("second")], admin: Some(digest("chief")) }
    }

    fn status(keys: &Keys, access: Access, value: Option<&str>) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        keys.check(access, &headers).map_or_else(|error| error.kind.told().0.as_u16(), |()| 200)
    }

    #[test]
    fn a_key_opens_what_it_is_for() {
        let keys = keys();
        for (value, everyday, admin) in [
            (None, 401, 401),
            (Some("Bearer first"), 200, 403),
            (Some("bearer second"), 200, 403),
            (Some("Bearer chief"), 200, 200),
            (Some("Bearer firs"), 401, 401),
            (Some("Bearer firstt"), 401, 401),
            (Some("Bearer "), 401, 401),
            (Some("Basic first"), 401, 401),
            (Some("first"), 401, 401),
        ] {
            assert_eq!(status(&keys, Access::Key, value), everyday, "{value:?}");
            assert_eq!(status(&keys, Access::Admin, value), admin, "{value:?}");
            assert_eq!(status(&keys, Access::Open, value), 200, "{value:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(AUTHORIZATION, "Bearer wrong".parse().unwrap());
        twice.append(AUTHORIZATION, "Bearer first".parse().unwrap());
        assert!(keys.check(Access::Key, &twice).is_err(), "two headers are one too many");
    }

    #[test]
    fn without_api_keys_everyday_routes_are_open_and_admin_routes_are_not() {
        let keys = Keys { api: Vec::new(), ..keys() };
        assert_eq!(status(&keys, Access::Key, None), 200);
        assert_eq!(status(&keys, Access::Admin, None), 401);
        assert_eq!(status(&keys, Access::Admin, Some("Bearer chief")), 200);
    }
}
