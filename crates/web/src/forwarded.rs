//! Whom a request comes from, where proxies stand before us: what they say is read from the right, as far as it comes from those that are
//! trusted. Everything further left anybody can have written.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header::FORWARDED};
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of the client, as the trusted ones among the proxies tell it; that of the peer where it is none of those.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let told = |name: &str, address: fn(&str) -> Option<IpAddr>| {
        let lines = headers.get_all(name).iter();
        let lines: Vec<_> = lines
            .map(|line| String::from_utf8_lossy(line.as_bytes()))
            .collect();
        let list = lines.join(",");
        let hops = from_the_right(&list).map(address);
        (!lines.is_empty()).then(|| first_stranger(peer, hops, trusted))
    };
    match (
        told(X_FORWARDED_FOR, address),
        told(FORWARDED.as_str(), of_element),
    ) {
        (Some(client), None) | (None, Some(client)) => client,
        // A proxy writes one of the two, and lets the other pass: which, we can't know.
        (Some(one), Some(other)) if one == other => one,
        _ => peer,
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Whom a trusted one tells, until that is none, or can't be read.
fn first_stranger(
    peer: IpAddr,
    hops: impl Iterator<Item = Option<IpAddr>>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = peer;
    for hop in hops {
        match hop {
            Some(hop) if is_trusted(client, trusted) => client = hop,
            _ => break,
        }
    }
    client
}

/// The elements of a list; a comma in quotes is of one. A quote that somebody left open on the left spoils nothing.
fn from_the_right(list: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    list.rsplit(move |it: char| {
        is_quoted ^= it == '"';
        it == ',' && !is_quoted
    })
}

/// Of an element of `Forwarded` (RFC 7239 §4), such as `for="[2001:db8::1]:80";proto=https`.
fn of_element(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(node.trim().trim_matches('"'))
}

/// With a port or without, in brackets or without.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = || text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|it| it.ip());
    plain()
        .or_else(with_port)
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn told(peer: &str, lines: &[(&str, &str)]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]
            .map(|it| it.parse().unwrap())
            .into();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn what_trusted_proxies_tell_is_read_from_the_right_up_to_the_first_that_is_none() {
        for (peer, told_of, expected) in [
            ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
            ("10.0.0.1", "10.9.9.9, 203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
            ("10.0.0.1", "[2001:db8::1]:80", "2001:db8::1"),
            ("10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "203.0.113.9, nonsense", "10.0.0.1"),
            ("10.0.0.1", "203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("fd00::1", "203.0.113.9", "203.0.113.9"),
            ("192.0.2.7", "203.0.113.9", "203.0.113.9"),
            // Whom nobody trusts may tell what it likes.
            ("192.0.2.8", "203.0.113.9", "192.0.2.8"),
        ] {
            assert_eq!(
                told(peer, &[("x-forwarded-for", told_of)]),
                expected,
                "{peer}: {told_of}"
            );
        }
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        assert_eq!(told("10.0.0.1", &lines), "203.0.113.9");
    }

    #[test]
    fn forwarded_is_read_as_well_and_where_both_differ_neither_counts() {
        for (element, expected) in [
            ("for=203.0.113.9", "203.0.113.9"),
            (
                "for=1.1.1.1, For=\"203.0.113.9:80\";proto=https;by=10.0.0.1",
                "203.0.113.9",
            ),
            ("proto=https; for=\"[2001:db8::1]:80\"", "2001:db8::1"),
            ("for=203.0.113.9, for=_hidden", "10.0.0.1"),
            ("for=203.0.113.9;host=\"a,for=1.1.1.1\"", "203.0.113.9"),
            ("proto=https", "10.0.0.1"),
        ] {
            assert_eq!(
                told("10.0.0.1", &[("forwarded", element)]),
                expected,
                "{element}"
            );
        }
        for (forwarded, expected) in [
            ("for=203.0.113.9", "203.0.113.9"),
            ("for=1.1.1.1", "10.0.0.1"),
        ] {
            let lines = [("x-forwarded-for", "203.0.113.9"), ("forwarded", forwarded)];
            assert_eq!(told("10.0.0.1", &lines), expected, "{forwarded}");
        }
    }

    proptest! {
        #[test]
        fn nobody_but_the_last_proxy_decides_who_calls(forged in "[ -~é]{0,60}") {
            for (name, last) in [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")] {
                let list = format!("{forged}, {last}");
                prop_assert_eq!(told("10.0.0.1", &[(name, &list)]), "203.0.113.9");
            }
        }

        #[test]
        fn no_text_makes_forwarded_panic(text in "[ -~]{0,80}") {
            told("10.0.0.1", &[("forwarded", &text), ("x-forwarded-for", &text)]);
        }
    }
}
