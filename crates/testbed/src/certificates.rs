//! Certificates for servers that speak TLS only.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as TlsKey};
use tempfile::TempDir;

/// An authority, and a certificate of its for 127.0.0.1.
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    pub fn issue() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, TlsKey::generate().unwrap()).unwrap();
        let key = TlsKey::generate().unwrap();
        let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let server = server.signed_by(&key, &authority).unwrap();
        let this = Self {
            folder: TempDir::new().unwrap(),
        };
        this.write("ca.pem", &authority.pem());
        this.write("cert.pem", &server.pem());
        this.write("key.pem", &key.serialize_pem());
        this.write(
            "both.pem",
            &format!("{}{}", server.pem(), key.serialize_pem()),
        );
        this
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that nobody else may read.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}
