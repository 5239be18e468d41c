//! Somebody else's provider: `oidc-provider-mock` from PyPI, as a process of its own.
//!
//! `pip install oidc-provider-mock` and run with `--ignored`; `OIDC_PROVIDER_MOCK` says where the command is, if it is
//! not in the path.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use outbound::{Client, Policy};
use serde_json::json;
use signin::{Callback, Cookies, Oidc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::{BASE, told};

struct Process {
    child: Child,
    port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    async fn start() -> Self {
        let command = std::env::var("OIDC_PROVIDER_MOCK").unwrap_or_else(|_| "oidc-provider-mock".into());
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let claims =
            json!({"sub": "dj-1", "email": "dj@radio.example", "email_verified": true, "name": "A DJ"});
        let child = Command::new(command)
            .args([
                "--port",
                &port.to_string(),
                "--require-nonce",
                "true",
                "--user-claims",
                &claims.to_string(),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { child, port };
        for _ in 0..300 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return process;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the provider does not start");
    }

    /// Agrees to be `dj-1` on the provider's page; yields the query that the browser is sent back with.
    async fn agree(&self, location: &str) -> String {
        let url: Url = location.parse().unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let body = "sub=dj-1";
        let request = format!(
            "POST {}?{} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            url.path(),
            url.query().unwrap(),
            self.port,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let location = answer
            .lines()
            .find_map(|line| line.strip_prefix("Location: "))
            .unwrap();
        let back: Url = location.trim().parse().unwrap();
        assert_eq!(back.path(), "/auth/mock/callback");
        back.query().unwrap().to_owned()
    }
}

#[tokio::test]
#[ignore = "needs the command oidc-provider-mock"]
async fn somebody_signs_in_at_a_provider_of_another_make() {
    let process = Process::start().await;
    let config = json!({"oidc_providers": [{
        "id": "mock", "name": "Mock", "client_id": "tinyice", "client_secret": "secret",
        "discovery_url": format!("http://127.0.0.1:{}", process.port), "icon": "key", "enabled": true,
    }]});
    let config = config::Loaded::parse(Path::new("tinyice.json"), config.to_string().into())
        .unwrap()
        .config;
    let oidc = Oidc::new(Client::new(Policy::new(&[]), "TinyIce/1.0".parse().unwrap()));
    let now = Timestamp::now();
    let begun = oidc.begin(&config, "mock", BASE, "/x", None, now).await.unwrap();
    let query = process.agree(&begun.location).await;
    let cookies: HashMap<_, _> = begun
        .cookies
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let cookies = Cookies {
        verifier: cookies.get("pkce_verifier").copied(),
        state: cookies.get("oidc_state").copied(),
        nonce: cookies.get("oidc_nonce").copied(),
    };
    let callback = Callback {
        provider: "mock",
        query: &query,
        cookies,
        external_base: BASE,
    };
    let identity = oidc.finish(&config, callback, now).await.unwrap();
    assert_eq!(
        (
            identity.subject.as_str(),
            identity.email.as_str(),
            identity.name.as_str(),
            identity.next.as_str()
        ),
        ("dj-1", "dj@radio.example", "A DJ", "/x")
    );
    assert_eq!(
        told(oidc.finish(&config, callback, now).await),
        (403, "Invalid state parameter".into())
    );
}
