//! Whom we trust at the broker, and who we are there. The files are read at the start: the client would try a bad one
//! again and again.

use async_nats::ConnectOptions;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::config::{NatsConfig, Unusable, unusable};

pub(super) async fn with_tls(
    mut options: ConnectOptions,
    config: &NatsConfig,
) -> Result<ConnectOptions, Unusable> {
    if let Some(credentials) = &config.nats_creds_file {
        let added = options.credentials_file(credentials).await;
        options = added.map_err(unusable("NATS_CREDS_FILE"))?;
    }
    if let Some(authorities) = &config.nats_tls_ca_file {
        CertificateDer::from_pem_file(authorities).map_err(unusable("NATS_TLS_CA_FILE"))?;
        options = options
            .add_root_certificates(authorities.clone())
            .require_tls(true);
    }
    match (&config.nats_tls_cert_file, &config.nats_tls_key_file) {
        (None, None) => Ok(options),
        (Some(certificate), Some(key)) => {
            CertificateDer::from_pem_file(certificate).map_err(unusable("NATS_TLS_CERT_FILE"))?;
            PrivateKeyDer::from_pem_file(key).map_err(unusable("NATS_TLS_KEY_FILE"))?;
            Ok(options
                .add_client_certificate(certificate.clone(), key.clone())
                .require_tls(true))
        }
        (Some(_), None) => Err(unusable("NATS_TLS_CERT_FILE")("it needs NATS_TLS_KEY_FILE")),
        (None, Some(_)) => Err(unusable("NATS_TLS_KEY_FILE")("it needs NATS_TLS_CERT_FILE")),
    }
}
