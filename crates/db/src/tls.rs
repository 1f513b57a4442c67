//! What an error of TLS means, in a sentence for those who run the service.

/// The settings that mend it.
#[derive(Debug, Clone, Copy)]
pub struct TlsSettings {
    /// Where the authorities stand that are trusted.
    pub authorities: &'static str,
    /// Where our own certificate stands.
    pub certificate: &'static str,
}

/// What a client's error means, where it is one of certificates.
pub fn tls_cause(error: &str, settings: TlsSettings) -> Option<String> {
    let TlsSettings {
        authorities,
        certificate,
    } = settings;
    let untrusted = || {
        format!("no authority that is trusted here has signed its certificate, see {authorities}")
    };
    let meaning = match error {
        // By no authority that is known, or by another one of the same name.
        _ if error.contains("UnknownIssuer") || error.contains("BadSignature") => untrusted(),
        _ if error.contains("not valid for name") => {
            "its certificate is for another name".to_owned()
        }
        _ if error.contains("certificate expired") => {
            // Times in it would make each a new cause.
            return Some("its certificate has expired (certificate expired)".to_owned());
        }
        _ if error.contains("CertificateRequired") => {
            format!("it wants a certificate of ours, see {certificate}")
        }
        _ => return None,
    };
    Some(format!("{meaning} ({error})"))
}
