//! Which options `MONGO_URI` may have. [`OPTIONS`] is the one list: the check at the start goes by it, and `docs/operations.md`
//! shows it. Refused is what weakens the promise, and what would be taken for effective and is not.

mod options;
#[cfg(test)]
mod tests;

use mongodb::{
    error::ErrorKind,
    options::{ConnectionString, Tls},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

pub use options::{OPTIONS, Rule, UriOption};

const FORM: &str = "a connection string such as mongodb://127.0.0.1:27017/name?replicaSet=rs0";
const ENCODED: &str =
    "user and password percent-encoded, as in mongodb://user:p%40ss@127.0.0.1:27017/name";

/// Whether a service can be run with this connection string.
///
/// # Errors
/// What is wanted. It shows the value of options that the table limits, and nothing that could be a part of a password.
pub(crate) fn check(uri: &str) -> Result<(), String> {
    let (servers, options) = split(uri);
    if options.contains('@') && !servers.contains('@') {
        return Err(ENCODED.to_owned());
    }
    if let Err(error) = ConnectionString::parse(servers) {
        let is_user = matches!(&*error.kind, ErrorKind::InvalidArgument { message, .. }
            if message.starts_with("username") || message.starts_with("password"));
        return Err(if is_user { ENCODED } else { FORM }.to_owned());
    }
    let mut given: Vec<(&UriOption, &str)> = Vec::new();
    for pair in pairs(options) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err("options written name=value, with & between them".to_owned());
        };
        let option = known(name)?;
        if given.iter().any(|(before, _)| before.name == option.name) {
            return Err(format!("{} once, not twice", option.name));
        }
        option.check(value)?;
        given.push((option, value));
    }
    if let Some((one, other)) = contradiction(&given) {
        return Err(format!(
            "no {one} beside {other}: they contradict each other"
        ));
    }
    // What is left says how options do not fit each other or the servers.
    ConnectionString::parse(uri_of(servers, &effective(options)))
        .map(drop)
        .map_err(|error| match *error.kind {
            ErrorKind::InvalidArgument { message, .. } => format!("options that fit: {message}"),
            _ => FORM.to_owned(),
        })
}

/// The connection string without the options that have no effect; and their names.
pub(crate) fn without_overridden(uri: &str) -> (String, Vec<&'static str>) {
    let (servers, options) = split(uri);
    let overridden = pairs(options).filter_map(|pair| {
        let option = known(pair.split_once('=')?.0).ok()?;
        (option.rule == Rule::Overridden).then_some(option.name)
    });
    let overridden = overridden.collect();
    (uri_of(servers, &effective(options)), overridden)
}

/// Reads the files that TLS needs, since the driver takes one without a certificate and trusts nobody then.
///
/// # Errors
/// What is wrong, with option and file.
pub(crate) fn check_files(tls: Option<&Tls>) -> Result<(), String> {
    let Some(Tls::Enabled(tls)) = tls else {
        return Ok(());
    };
    if let Some(file) = &tls.ca_file_path {
        CertificateDer::from_pem_file(file)
            .map_err(|error| format!("tlsCAFile {}: {error}", file.display()))?;
    }
    if let Some(file) = &tls.cert_key_file_path {
        let unusable = |what: &str, error: &dyn std::fmt::Display| {
            format!("tlsCertificateKeyFile {}: {what}: {error}", file.display())
        };
        CertificateDer::from_pem_file(file).map_err(|error| unusable("certificate", &error))?;
        PrivateKeyDer::from_pem_file(file).map_err(|error| unusable("private key", &error))?;
    }
    Ok(())
}

/// Of options that say whether there is TLS, and whether a certificate is looked at. The driver would tell by its order which counts.
fn contradiction(given: &[(&UriOption, &str)]) -> Option<(String, String)> {
    let says = |names: &[&str], wanted: &str| {
        let mut given = given.iter();
        let found = given.find(|(option, value)| names.contains(&option.name) && *value == wanted);
        found.map(|(option, value)| format!("{}={value}", option.name))
    };
    let is_named = |name: &&str| given.iter().any(|(option, _)| option.name == *name);
    let needs_tls = || {
        let named = [CHECKS, FILES].concat().into_iter().find(is_named);
        says(TLS, "true").or(named.map(str::to_owned))
    };
    let of_tls = says(TLS, "false").zip(needs_tls());
    of_tls.or_else(|| says(CHECKS, "false").zip(says(CHECKS, "true")))
}

const TLS: &[&str] = &["tls", "ssl"];
const CHECKS: &[&str] = &["tlsInsecure", "tlsAllowInvalidCertificates"];
const FILES: &[&str] = &["tlsCAFile", "tlsCertificateKeyFile"];

fn split(uri: &str) -> (&str, &str) {
    uri.split_once('?').unwrap_or((uri, ""))
}

fn pairs(options: &str) -> impl Iterator<Item = &str> {
    options.split('&').filter(|pair| !pair.is_empty())
}

fn uri_of(servers: &str, options: &str) -> String {
    format!("{servers}?{options}")
}

fn effective(options: &str) -> String {
    let pairs = pairs(options).filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !known(name).is_ok_and(|option| option.rule == Rule::Overridden)
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn known(name: &str) -> Result<&'static UriOption, String> {
    const LONGEST: usize = 40;
    let known = OPTIONS
        .iter()
        .find(|option| option.name.eq_ignore_ascii_case(name));
    known.ok_or_else(|| {
        // Anything else may be a part of a password that is not encoded.
        let is_name = name.len() <= LONGEST && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        let shown = if is_name { name } else { "" };
        format!("no option {shown:?}: there is none of that name")
    })
}

impl UriOption {
    fn check(&self, value: &str) -> Result<(), String> {
        let Self { name, rule, why } = self;
        match *rule {
            Rule::Overridden => Ok(()),
            Rule::Refused => Err(format!("no {name}: {why}")),
            Rule::Text { longest } if value.is_empty() || value.len() > longest => {
                let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) {
                    "an"
                } else {
                    "a"
                };
                Err(format!("{article} {name} of 1 to {longest} bytes"))
            }
            Rule::Text { .. } => Ok(()),
            Rule::Only(values) if values.contains(&value) => Ok(()),
            Rule::Only([only]) => Err(format!("{name}={only}, not {value}: {why}")),
            Rule::Only(values) => Err(format!("{name}={}, not {value}", values.join(" or "))),
            Rule::Between(least, most) => match value.parse::<u64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(()),
                _ => Err(format!("{name} from {least} to {most}, not {value}: {why}")),
            },
        }
    }
}
