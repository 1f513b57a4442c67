//! What each variable wants: a parser says it in words that go behind the variable's name.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use axum::http::{HeaderValue, Uri};
use db::setting::{Maybe, wants};
use ipnet::{IpNet, Ipv4Net};
use secrecy::SecretString;

use super::{Networks, Origins};

/// An address and a port.
pub fn listen_addr(value: &str) -> Result<SocketAddr, String> {
    wants("an address and a port, such as 0.0.0.0:3000", |_| true)(value)
}

pub(super) fn cookie_name(value: &str) -> Result<String, String> {
    let separator = |c: char| " \t()<>@,;\\\"/[]?={}".contains(c);
    let is_name = move |name: &String| {
        !name.is_empty()
            && !name.contains(|c: char| !c.is_ascii() || c.is_ascii_control() || separator(c))
    };
    wants("the name of a cookie, such as express:sess", is_name)(value)
}

/// A secret that is not soon guessed. Empty is not set.
///
/// # Errors
/// What is wanted.
pub fn jwt_key(value: &str) -> Result<SecretString, String> {
    const WANTS: &str = "a secret of 32 bytes or more, for example from: openssl rand -hex 32";
    match weakness(value) {
        _ if value.is_empty() => Ok(SecretString::default()),
        _ if value.len() < 32 => Err(WANTS.to_owned()),
        Some(weakness) => Err(format!("{WANTS}; this one {weakness}")),
        None => Ok(SecretString::from(value)),
    }
}

/// What makes a key of sufficient length easy to guess. A random one of 32 digits has 27 different pairs of neighbours; `changeme` four
/// times has 8.
fn weakness(key: &str) -> Option<&'static str> {
    const LEAST_PAIRS: usize = 16;
    const PLACEHOLDERS: [&str; 4] = ["changeme", "replaceme", "placeholder", "yoursecret"];
    let pairs: BTreeSet<_> = key.as_bytes().windows(2).collect();
    let letters = key.chars().filter(char::is_ascii_alphanumeric);
    let letters: String = letters.map(|it| it.to_ascii_lowercase()).collect();
    if key.trim().is_empty() {
        Some("has nothing but blanks")
    } else if PLACEHOLDERS.iter().any(|it| letters.contains(it)) {
        Some("is a placeholder")
    } else if pairs.len() < LEAST_PAIRS {
        Some("repeats itself")
    } else {
        None
    }
}

pub(super) fn claim(value: &str) -> Result<Maybe<String>, String> {
    Ok((!value.is_empty()).then(|| value.to_owned()))
}

pub(super) fn jwks_url(value: &str) -> Result<Maybe<String>, String> {
    let is_plain = |uri: &Uri| {
        let is_http = matches!(uri.scheme_str(), Some("https" | "http"));
        is_http && uri.authority().is_some_and(|it| !it.as_str().contains('@'))
    };
    match value {
        "" => Ok(None),
        value if value.parse().is_ok_and(|uri| is_plain(&uri)) => Ok(Some(value.to_owned())),
        _ => Err(
            "an address such as https://id.example.com/.well-known/jwks.json, without a user"
                .to_owned(),
        ),
    }
}

pub(super) fn networks(value: &str) -> Result<Networks, String> {
    let wants = "addresses or networks, such as 10.0.0.7 or 10.0.0.0/8, separated by commas";
    let all = value.split(',').map(str::trim).filter(|it| !it.is_empty());
    let network = |it: &str| {
        let network = it.parse().ok();
        let network = network.or_else(|| it.parse::<IpAddr>().ok().map(IpNet::from));
        network.map(canonical)
    };
    let parsed: Option<_> = all.map(network).collect();
    parsed.ok_or_else(|| wants.to_owned())
}

/// An address of IPv4 may be written as one of IPv6; peers have it as it is.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else {
        return network;
    };
    let bits = mapped.prefix_len().checked_sub(96);
    let inner = mapped.addr().to_ipv4_mapped().zip(bits);
    inner
        .and_then(|(address, bits)| Ipv4Net::new(address, bits).ok())
        .map_or(network, IpNet::V4)
}

pub(super) fn origins(value: &str) -> Result<Origins, String> {
    let wants = "origins as browsers send them, such as https://app.example.com or capacitor://localhost: in lower \
                 case, without a path and without the usual port, separated by commas";
    if value.contains('*') {
        return Err(format!("{wants}; each by itself, since none holds a *"));
    }
    let origins = value.split(',').filter(|origin| !origin.is_empty());
    let parsed: Option<_> = origins.map(origin).collect();
    parsed.ok_or_else(|| wants.to_owned())
}

/// `None` for what is never found in `Origin`, and would be compared with it in vain.
fn origin(value: &str) -> Option<HeaderValue> {
    let uri: Uri = value.parse().ok()?;
    let (scheme, host) = (uri.scheme_str()?, uri.host()?);
    let usual = match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    };
    let origin = match uri.port_u16().filter(|port| Some(*port) != usual) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    (origin.to_lowercase() == value).then(|| HeaderValue::from_str(value).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv4_may_be_written_as_one_of_ipv6() {
        for (written, meant) in [
            ("::ffff:10.0.0.5", "10.0.0.5/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("fd00::/8", "fd00::/8"),
            ("::/0", "::/0"),
        ] {
            let read = networks(written).unwrap();
            assert_eq!(read[0].to_string(), meant);
        }
    }
}
