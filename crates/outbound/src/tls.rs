//! TLS towards upstreams: certificates are always verified, against the machine's own trust store.
//!
//! Contract: there is no way to switch verification off; a private authority is trusted by adding it to
//! the machine's store (or by `SSL_CERT_FILE`).

use std::{io, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore,
    pki_types::{InvalidDnsNameError, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OnceCell,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The roots that certificates are checked against.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// The machine's store, read at the first https request.
    Machine(Arc<OnceCell<Arc<ClientConfig>>>),
    /// Roots given in code.
    Given(Arc<ClientConfig>),
}

impl Trust {
    pub(crate) fn machine() -> Self {
        Self::Machine(Arc::default())
    }

    pub(crate) fn given(roots: RootCertStore) -> Self {
        Self::Given(config(roots))
    }

    /// Does the handshake over `stream` as a client of `host`.
    ///
    /// # Errors
    /// What went wrong, in words for the operator.
    pub(crate) async fn handshake<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = match self {
            Self::Given(config) => config.clone(),
            Self::Machine(cell) => cell.get_or_try_init(load).await?.clone(),
        };
        let name = server_name(host).map_err(|_| "the host cannot have a certificate".to_owned())?;
        TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| reason(&error))
    }
}

/// Reads the machine's roots. A store without any is not kept: it may be installed while we run.
async fn load() -> Result<Arc<ClientConfig>, String> {
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let found = found.map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(found.certs);
    match added {
        0 => Err("this machine has no trusted root certificates (install ca-certificates)".to_owned()),
        _ => Ok(config(roots)),
    }
}

fn config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The name for SNI and verification; RFC 6066 section 3 wants it without the trailing dot.
fn server_name(host: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    ServerName::try_from(bare.trim_end_matches('.').to_owned())
}

fn reason(error: &io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return crate::failure::plain(error);
    };
    let text = match tls {
        Error::InvalidCertificate(bad) => match bad {
            CertificateError::UnknownIssuer => "the certificate is not signed by a trusted authority",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another name"
            }
            CertificateError::Revoked => "the certificate was revoked",
            _ => return tls.to_string(),
        },
        Error::InvalidMessage(_) => "the other side does not speak TLS on this port",
        _ => return tls.to_string(),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_certificates() {
        for (host, expected) in [
            ("radio.example", Some("radio.example")),
            ("radio.example.", Some("radio.example")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("under score", None),
        ] {
            assert_eq!(
                server_name(host)
                    .ok()
                    .map(|name| name.to_str().into_owned())
                    .as_deref(),
                expected
            );
        }
    }

    #[tokio::test]
    async fn a_peer_without_tls_is_told_apart() {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let trust = Trust::given(RootCertStore::empty());
        let (outcome, _) = tokio::join!(
            trust.handshake("radio.example", ours),
            tokio::io::AsyncWriteExt::write_all(&mut theirs, b"HTTP/1.0 400 Bad Request\r\n\r\n"),
        );
        assert_eq!(
            outcome.unwrap_err(),
            "the other side does not speak TLS on this port"
        );
    }

    #[tokio::test]
    async fn a_peer_that_hangs_up() {
        let (ours, theirs) = tokio::io::duplex(4096);
        drop(theirs);
        let trust = Trust::given(RootCertStore::empty());
        assert_eq!(
            trust.handshake("radio.example", ours).await.unwrap_err(),
            "connection closed"
        );
    }
}
