//! A provider for tests: OpenID Connect with real signatures, and GitHub's OAuth. What it answers can be made wrong
//! part by part.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use observe::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::form_urlencoded;

pub(crate) const CLIENT: &str = "tiny&ice";
pub(crate) const SECRET: &str = "s3cret:/%";

/// A running provider.
pub(crate) struct Provider {
    pub(crate) base: String,
    pub(crate) state: Arc<Mutex<State>>,
}

/// How it behaves.
pub(crate) struct State {
    pub(crate) key: Key,
    pub(crate) header: Value,
    pub(crate) claims: Value,
    pub(crate) document: Value,
    pub(crate) keys: Vec<Value>,
    pub(crate) cache_control: Option<&'static str>,
    /// Answers of paths that are not what they should be: status, more headers, body.
    pub(crate) instead: HashMap<&'static str, (u16, String, String)>,
    /// Paths in the order in which they were asked for.
    pub(crate) asked: Vec<String>,
    /// The form of the last request to the token endpoint, and its `Authorization`.
    pub(crate) form: HashMap<String, String>,
    pub(crate) authorization: String,
    /// Code, challenge, redirect address and nonce of the person at the provider.
    pub(crate) person: Option<(String, String, String, String)>,
}

/// What tokens are signed with.
pub(crate) enum Key {
    Rs256(RsaKeyPair),
    Ps256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    /// The public key of the first published key as a shared secret.
    Hs256(Vec<u8>),
    None,
}

impl Key {
    pub(crate) fn rs256() -> Self {
        Self::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    /// The same one in all tests, because making one takes a while.
    fn usual() -> Self {
        static USUAL: LazyLock<Pkcs8V1Der<'static>> = LazyLock::new(|| {
            let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            key.as_der().unwrap()
        });
        Self::Rs256(RsaKeyPair::from_pkcs8(USUAL.as_ref()).unwrap())
    }

    pub(crate) fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Ps256(_) => "PS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
            Self::Hs256(_) => "HS256",
            Self::None => "none",
        }
    }

    /// The public key as it is published.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rs256(key) | Self::Ps256(key) => {
                // RFC 8017 appendix A.1.1, where the lengths of a key of 2048 bits are always the same.
                let n = base64url(&key.public_key().as_ref()[9..265]);
                json!({"kty": "RSA", "kid": kid, "use": "sig", "n": n, "e": "AQAB"})
            }
            Self::Es256(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (base64url(&point[1..33]), base64url(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "x": x, "y": y})
            }
            Self::EdDsa(key) => {
                let x = base64url(key.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
            }
            Self::Hs256(_) | Self::None => json!({"kty": "oct", "kid": kid, "k": "AAAA"}),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |key: &RsaKeyPair, padding| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(padding, &random, message, &mut signature).unwrap();
            signature
        };
        match self {
            Self::Rs256(key) => rsa(key, &RSA_PKCS1_SHA256),
            Self::Ps256(key) => rsa(key, &RSA_PSS_SHA256),
            Self::Es256(key) => key.sign(&random, message).unwrap().as_ref().into(),
            Self::EdDsa(key) => key.sign(message).as_ref().into(),
            Self::Hs256(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message)
                .as_ref()
                .into(),
            Self::None => Vec::new(),
        }
    }
}

impl State {
    /// Signs with `key` from now on, and says so in the header.
    pub(crate) fn sign_with(&mut self, key: Key, kid: &str) {
        self.header = json!({"alg": key.algorithm(), "kid": kid, "typ": "JWT"});
        self.key = key;
    }

    fn token(&self, nonce: &str) -> String {
        let mut claims = self.claims.clone();
        if claims.get("nonce").is_none() {
            claims["nonce"] = nonce.into();
        }
        let part = |value: &Value| base64url(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&self.header), part(&claims));
        format!("{signed}.{}", base64url(&self.key.sign(signed.as_bytes())))
    }

    fn exchange(&self) -> Value {
        let invalid = |why: &str| json!({"error": "invalid_grant", "error_description": why});
        let Some((code, challenge, redirect, nonce)) = &self.person else {
            return invalid("nobody is here");
        };
        let field = |name: &str| self.form.get(name).map(String::as_str).unwrap_or_default();
        let verifier = base64url(digest(&SHA256, field("code_verifier").as_bytes()).as_ref());
        if field("grant_type") != "authorization_code" || field("code") != code {
            return invalid("code");
        }
        if verifier != *challenge || field("redirect_uri") != redirect {
            return invalid("verifier or address");
        }
        json!({"access_token": "at", "token_type": "Bearer", "id_token": self.token(nonce)})
    }

    fn answer(&mut self, path: &str, base: &str) -> (u16, String, String) {
        if let Some(other) = self.instead.get(path) {
            return other.clone();
        }
        let cache = self
            .cache_control
            .map(|value| format!("Cache-Control: {value}\r\n"))
            .unwrap_or_default();
        let (status, body) = match path {
            "/.well-known/openid-configuration" => (200, self.document.clone()),
            "/keys" => (200, json!({"keys": self.keys})),
            "/token" => match self.exchange() {
                refused if refused.get("error").is_some() => (400, refused),
                tokens => (200, tokens),
            },
            // GitHub answers 200 in any case.
            "/login/oauth/access_token" => (200, self.exchange()),
            "/api/user" if self.authorization == "Bearer at" => {
                (200, json!({"id": 583_231, "login": "dj", "name": null}))
            }
            "/api/user/emails" if self.authorization == "Bearer at" => (
                200,
                json!([{"email": "dj@radio.example", "primary": true, "verified": true}]),
            ),
            _ => (404, json!({"message": format!("nothing at {base}")})),
        };
        (status, cache, body.to_string())
    }
}

impl Provider {
    /// Starts a provider that vouches for a DJ, at the time `now` in seconds.
    pub(crate) async fn start(now: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let key = Key::usual();
        let state = State {
            keys: vec![key.jwk("k1")],
            header: json!({"alg": "RS256", "kid": "k1", "typ": "JWT"}),
            key,
            claims: json!({
                "iss": base, "aud": CLIENT, "sub": "subject-1", "iat": now, "exp": now + 300,
                "email": "dj@radio.example", "email_verified": true, "name": "A DJ",
            }),
            document: json!({
                "issuer": base,
                "authorization_endpoint": format!("{base}/authorize?tenant=x"),
                "token_endpoint": format!("{base}/token"),
                "jwks_uri": format!("{base}/keys"),
                "id_token_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA", "HS256", "none"],
            }),
            cache_control: None,
            instead: HashMap::new(),
            asked: Vec::new(),
            form: HashMap::new(),
            authorization: String::new(),
            person: None,
        };
        let state = Arc::new(Mutex::new("provider", state));
        let (shared, origin) = (state.clone(), base.clone());
        observe::task::spawn("provider", (), async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, &shared, &origin).await;
            }
        })
        .detach();
        Self { base, state }
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.state
            .lock()
            .asked
            .iter()
            .filter(|asked| *asked == path)
            .count()
    }
}

async fn serve(mut stream: TcpStream, state: &Mutex<State>, base: &str) {
    let mut request = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut request).await.unwrap_or_default() == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if body.len() >= field(head, "content-length").parse().unwrap_or(0) {
            break (head.to_owned(), body.to_owned());
        }
    };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, headers, body) = {
        let mut state = state.lock();
        state.asked.push(path.clone());
        state.authorization = field(&head, "authorization");
        if !body.is_empty() {
            state.form = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        }
        state.answer(&path, base)
    };
    let answer = format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn field(head: &str, name: &str) -> String {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
    found
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

/// Name and password of Basic authorization.
pub(crate) fn basic(authorization: &str) -> String {
    let credentials = authorization.strip_prefix("Basic ").unwrap_or_default();
    String::from_utf8(STANDARD.decode(credentials).unwrap()).unwrap()
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
