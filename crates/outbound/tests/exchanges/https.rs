//! https: verified or refused, nothing in between.

use std::sync::Arc;

use outbound::{Client, Limits, Request};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsAcceptor;

use crate::upstream::{Names, Upstream, client, told};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A server with a certificate for `name`, valid for the years given.
    fn acceptor(&self, name: &str, years: std::ops::Range<i32>) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\n\r\naudio";

fn trusting(authority: &Authority) -> Client {
    let names = Names::new(&[
        ("radio.example", &["127.0.0.1"]),
        ("radio.example.", &["127.0.0.1"]),
    ]);
    client(&["127.0.0.1"], &names).with_roots(authority.roots())
}

async fn send(client: &Client, host: &str, port: u16) -> String {
    let url = format!("https://{host}:{port}/live").parse().unwrap();
    told(client.send(Request::get(url, Limits::relay())).await).await
}

#[tokio::test]
async fn a_good_certificate() {
    let authority = Authority::new("authority");
    for (host, name) in [
        ("radio.example", "radio.example"),
        ("radio.example.", "radio.example"),
        ("127.0.0.1", "127.0.0.1"),
    ] {
        let upstream = Upstream::start_tls(&[OK], Some(authority.acceptor(name, 2000..2100))).await;
        assert_eq!(
            send(&trusting(&authority), host, upstream.port).await,
            "200 OK: audio",
            "{host}"
        );
        assert!(upstream.asked()[0].starts_with("GET /live HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn bad_certificates() {
    let authority = Authority::new("authority");
    let stranger = Authority::new("stranger");
    for (acceptor, reason) in [
        (
            stranger.acceptor("radio.example", 2000..2100),
            "the certificate is not signed by a trusted authority",
        ),
        (
            authority.acceptor("other.example", 2000..2100),
            "the certificate is for another name",
        ),
        (
            authority.acceptor("radio.example", 2000..2001),
            "the certificate has expired",
        ),
        (
            authority.acceptor("radio.example", 2099..2100),
            "the certificate is not valid yet",
        ),
    ] {
        let upstream = Upstream::start_tls(&[OK], Some(acceptor)).await;
        let told = send(&trusting(&authority), "radio.example", upstream.port).await;
        assert_eq!(told, format!("failed: TLS with radio.example: {reason}"));
        assert_eq!(
            upstream.asked(),
            [""; 0],
            "no request before the certificate is checked"
        );
    }
}

#[tokio::test]
async fn https_never_becomes_http() {
    let authority = Authority::new("authority");
    let acceptor = authority.acceptor("radio.example", 2000..2100);
    let answer = "HTTP/1.1 302 Found\r\nLocation: http://radio.example:PORT/\r\n\r\n";
    let upstream = Upstream::start_tls(&[answer, OK], Some(acceptor)).await;
    let told = send(&trusting(&authority), "radio.example", upstream.port).await;
    assert_eq!(told, "failed: redirected from https to http (radio.example)");
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test]
async fn http_may_become_https() {
    let authority = Authority::new("authority");
    let secure = Upstream::start_tls(&[OK], Some(authority.acceptor("radio.example", 2000..2100))).await;
    let answer = format!(
        "HTTP/1.1 301 Moved\r\nLocation: https://radio.example:{}/\r\n\r\n",
        secure.port
    );
    let plain = Upstream::start(&[&answer]).await;
    let url = format!("http://source:hackme@radio.example:{}/", plain.port)
        .parse()
        .unwrap();
    let outcome = trusting(&authority)
        .send(Request::get(url, Limits::relay()))
        .await;
    assert_eq!(told(outcome).await, "200 OK: audio");
    assert!(plain.asked()[0].contains("\r\nAuthorization: "));
    assert!(!secure.asked()[0].contains("\r\nAuthorization: "));
}
