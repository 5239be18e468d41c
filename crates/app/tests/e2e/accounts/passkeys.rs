//! Passkeys, made and used by a real browser with an authenticator of its own.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use super::{PASSWORD, setup};
use crate::harness::{Browser, Client, Page, Server, Setup, hash};

/// Browsers have passkeys for names only, and this name needs no https. The server must know its port for that.
fn named() -> Setup {
    setup().port(Server::free_port())
}

/// A page of a server, in a browser with an authenticator.
struct Visit {
    browser: Browser,
    page: Page,
    origin: String,
    authenticator: String,
}

impl Visit {
    fn start(server: &Server) -> Option<Self> {
        let mut browser = Browser::start()?;
        let origin = format!("http://localhost:{}", server.port());
        let page = browser.open(&format!("{origin}/login"));
        browser.command(&page, "WebAuthn.enable", &json!({}));
        let options = json!({ "options": {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserVerified": true, "automaticPresenceSimulation": true,
        }});
        let made = browser.command(&page, "WebAuthn.addVirtualAuthenticator", &options);
        let authenticator = made["authenticatorId"].as_str().expect("an id").to_owned();
        Some(Self {
            browser,
            page,
            origin,
            authenticator,
        })
    }

    fn go(&mut self, path: &str) {
        let url = format!("{}{path}", self.origin);
        self.browser.go(&self.page, &url);
    }

    /// What an asynchronous function comes to in the page.
    fn run(&mut self, body: &str) -> Value {
        let script = format!(
            "(async () => {{
                const post = async (address, body) => {{
                    const answer = await fetch(address, {{
                        method: 'POST', headers: {{ 'Content-Type': 'application/json' }},
                        body: body === undefined ? undefined : JSON.stringify(body),
                    }});
                    return {{ status: answer.status, body: await answer.json() }};
                }};
                {body}
            }})()"
        );
        self.browser.settled(&self.page, &script)
    }

    fn sign_in_by_password(&mut self, user: &str) {
        let credentials = json!({ "username": user, "password": PASSWORD });
        let told = self.run(&format!("return post('/api/login', {credentials});"));
        assert_eq!(told["status"], 200, "{told}");
    }

    fn sign_out(&mut self) {
        assert_eq!(self.run("return post('/api/logout');")["status"], 200);
        assert_eq!(self.whoami(), Value::Null);
    }

    /// Who the page is signed in as.
    fn whoami(&mut self) -> Value {
        self.run("return (await (await fetch('/api/me')).json()).username ?? null;")
    }

    /// Makes a passkey as any program of the API would.
    fn register(&mut self, name: &str) -> Value {
        let script = "
            const asked = await post('/api/passkey/register/begin');
            const options = PublicKeyCredential.parseCreationOptionsFromJSON(asked.body.publicKey);
            let made;
            try { made = await navigator.credentials.create({ publicKey: options }); }
            catch (error) { return { thrown: error.name }; }
            return post('/api/passkey/register/finish?name=' + encodeURIComponent(NAME), made.toJSON());";
        self.run(&script.replace("NAME", &json!(name).to_string()))
    }

    /// Signs in with a passkey. The answer that went to the server stays in the page, as `window.proof`.
    fn sign_in(&mut self) -> Value {
        self.run(
            "
            const asked = await post('/api/passkey/login/begin');
            const options = PublicKeyCredential.parseRequestOptionsFromJSON(asked.body.publicKey);
            const found = await navigator.credentials.get({ publicKey: options });
            const query = new URLSearchParams([['challengeKey', asked.body.challengeKey]]);
            window.proof = ['/api/passkey/login/finish?' + query, found.toJSON()];
            return post(...window.proof);",
        )
    }

    /// The credentials in the authenticator.
    fn credentials(&mut self) -> Vec<Value> {
        let params = json!({ "authenticatorId": self.authenticator });
        let told = self
            .browser
            .command(&self.page, "WebAuthn.getCredentials", &params);
        told["credentials"].as_array().expect("a list").clone()
    }

    /// Puts a credential in the place of the one of the same id.
    fn put(&mut self, credential: &Value) {
        let id = &credential["credentialId"];
        if self
            .credentials()
            .iter()
            .any(|present| &present["credentialId"] == id)
        {
            let params = json!({ "authenticatorId": self.authenticator, "credentialId": id });
            self.browser
                .command(&self.page, "WebAuthn.removeCredential", &params);
        }
        let params = json!({ "authenticatorId": self.authenticator, "credential": credential });
        self.browser
            .command(&self.page, "WebAuthn.addCredential", &params);
    }
}

/// The passkeys of an account in the configuration file, and what each record holds.
fn stored(server: &Server, user: &str) -> Vec<(Value, Value)> {
    let config = server.config();
    let passkeys = config["users"][user]["passkeys"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let with_record = |passkey: Value| {
        let raw = STANDARD
            .decode(passkey["raw_credential"].as_str().expect("base64"))
            .expect("base64");
        let record = serde_json::from_slice(&raw).expect("a record");
        (passkey, record)
    };
    passkeys.into_iter().map(with_record).collect()
}

#[test]
fn the_buttons_of_the_pages_make_and_use_a_passkey() {
    let server = named().start();
    let Some(mut visit) = Visit::start(&server) else {
        return;
    };
    visit.sign_in_by_password("dj-own");
    visit.go("/admin");
    visit.browser.value(
        &visit.page,
        "document.querySelector('[data-passkey-register]').click()",
    );
    let done = "document.querySelector('[data-passkey-problem]').textContent \
                + document.querySelector('[data-passkey-done]').textContent";
    visit
        .browser
        .wait_for(&visit.page, done, "The passkey is registered.");
    visit.sign_out();
    visit.go("/login?next=/kiosk");
    visit.browser.value(
        &visit.page,
        "document.querySelector('[data-passkey-login]').click()",
    );
    visit.browser.wait_for(&visit.page, "location.pathname", "/kiosk");
    visit.go("/login");
    assert_eq!(
        visit.browser.value(&visit.page, "location.pathname"),
        "/admin",
        "signed in already"
    );
    assert_eq!(visit.whoami(), "dj-own");
}

#[test]
fn a_passkey_signs_in_until_it_is_removed() {
    let server = named().start();
    let Some(mut visit) = Visit::start(&server) else {
        return;
    };
    assert_eq!(
        visit.run("return post('/api/passkey/register/begin');")["status"],
        401
    );
    visit.sign_in_by_password("dj-own");
    let made = visit.register("My key");
    assert_eq!(
        made,
        json!({ "status": 200, "body": { "success": true, "name": "My key" } })
    );
    // The authenticator is told which it has.
    assert_eq!(visit.register("Twice"), json!({ "thrown": "InvalidStateError" }));
    visit.sign_out();

    let told = visit.sign_in();
    assert_eq!(
        (&told["status"], &told["body"]["redirect"]),
        (&json!(200), &json!("/admin")),
        "{told}"
    );
    assert_eq!(visit.whoami(), "dj-own");
    let again = visit.run("return post(...window.proof);");
    assert_eq!(
        (&again["status"], &again["body"]["error"]),
        (&json!(400), &json!("No active login session"))
    );
    let list = visit.run("return (await fetch('/api/passkey')).json();");
    assert_eq!(
        (list.as_array().map(Vec::len), &list[0]["name"]),
        (Some(1), &json!("My key")),
        "{list}"
    );

    // The record has the form that the Go program reads.
    let [(passkey, record)] = &stored(&server, "dj-own")[..] else {
        panic!("one passkey")
    };
    assert_eq!(passkey["id"], list[0]["id"]);
    let id = STANDARD
        .decode(record["id"].as_str().expect("bytes"))
        .expect("base64");
    assert_eq!(URL_SAFE_NO_PAD.encode(id), passkey["id"].as_str().expect("an id"));
    assert_eq!(
        (&record["attestationType"], &record["flags"]["userVerified"]),
        (&json!("none"), &json!(true))
    );
    assert_eq!(
        record["authenticator"]["signCount"],
        visit.credentials()[0]["signCount"]
    );
    assert!(
        passkey["last_used"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{passkey}"
    );

    let server = server.restart();
    visit.sign_out();
    assert_eq!(visit.sign_in()["status"], 200);
    let id = passkey["id"].as_str().expect("an id");
    let gone = format!(
        "const answer = await fetch('/api/passkey?id={id}',
            {{ method: 'DELETE', headers: {{ 'Content-Type': 'application/json' }} }});
         return answer.json();"
    );
    assert_eq!(visit.run(&gone), json!({ "success": true }));
    assert_eq!(visit.run(&gone), json!({ "error": "Passkey not found" }));
    visit.sign_out();
    let told = visit.sign_in();
    let refused = json!({ "status": 401, "body": { "error": "User not found for credential" } });
    assert_eq!(told, refused);
    assert_eq!(stored(&server, "dj-own").len(), 0);
}

#[test]
fn a_copied_passkey_is_refused_and_told() {
    let server = named().start();
    let Some(mut visit) = Visit::start(&server) else {
        return;
    };
    visit.sign_in_by_password("dj-own");
    assert_eq!(visit.register("Passkey")["status"], 200);
    let copy = visit.credentials().remove(0);
    visit.sign_out();
    for _ in 0..2 {
        assert_eq!(visit.sign_in()["status"], 200);
    }
    let current = visit.credentials().remove(0);
    let count = |credential: &Value| credential["signCount"].as_u64().expect("a count");
    assert!(count(&copy) < count(&current), "{copy} {current}");
    visit.sign_out();
    visit.put(&copy);
    let told = visit.sign_in();
    assert_eq!(told["status"], 401, "{told}");
    let error = told["body"]["error"].as_str().expect("a text");
    assert!(
        error.starts_with("Login failed: ") && error.contains("may have been copied"),
        "{error}"
    );
    assert_eq!(visit.whoami(), Value::Null);
    let root = Client::login(&server, "root", PASSWORD);
    let audit = root.get("/api/security/audit?action=login_failed").json();
    assert_eq!(
        audit["entries"][0]["detail"], "passkey may have been copied",
        "{audit}"
    );
    // The real one goes on.
    visit.put(&current);
    assert_eq!(visit.sign_in()["status"], 200);
}

#[test]
fn a_passkey_of_the_go_program_still_signs_in() {
    let key = KeyPair::generate().expect("a key");
    // The point of a P-256 key: 4, then both coordinates (SEC 1 section 2.3.3).
    let point = key.der_bytes();
    assert_eq!((point.len(), point[0]), (65, 4));
    // COSE_Key (RFC 9052 section 7, RFC 9053 section 7.1): kty 2, alg -7, crv 1, x, y.
    let cose = [
        b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20",
        &point[1..33],
        b"\x22\x58\x20",
        &point[33..],
    ]
    .concat();
    let id = b"an id of a credential";
    let record = json!({
        "id": STANDARD.encode(id), "publicKey": STANDARD.encode(cose),
        "attestationType": "none", "attestationFormat": "none", "transport": null,
        "flags": { "userPresent": true, "userVerified": true, "backupEligible": false, "backupState": false },
        "authenticator": {
            "AAGUID": "AAAAAAAAAAAAAAAAAAAAAA==", "signCount": 7, "cloneWarning": false, "attachment": "platform",
        },
        "attestation": {
            "clientDataJSON": "", "clientDataHash": "", "authenticatorData": "", "publicKeyAlgorithm": -7, "object": "",
        },
    });
    let users = json!({ "oldie": {
        "username": "oldie", "password": hash(PASSWORD), "role": "superadmin", "mounts": {},
        "passkeys": [{
            "id": URL_SAFE_NO_PAD.encode(id), "raw_credential": STANDARD.encode(record.to_string()),
            "name": "Old phone", "created_at": "2026-03-04T05:06:07Z", "last_used": "",
        }],
    }});
    let server = named().set("users", users).start();
    let Some(mut visit) = Visit::start(&server) else {
        return;
    };
    // That program knew people by their names.
    visit.put(&json!({
        "credentialId": STANDARD.encode(id), "isResidentCredential": true, "rpId": "localhost",
        "privateKey": STANDARD.encode(key.serialized_der()), "userHandle": STANDARD.encode("oldie"), "signCount": 8,
    }));
    let told = visit.sign_in();
    assert_eq!(told["status"], 200, "{told}");
    assert_eq!(visit.whoami(), "oldie");
    let [(passkey, record)] = &stored(&server, "oldie")[..] else {
        panic!("one passkey")
    };
    assert_eq!(
        (&passkey["name"], &record["attestation"]["publicKeyAlgorithm"]),
        (&json!("Old phone"), &json!(-7))
    );
    assert!(
        record["authenticator"]["signCount"].as_u64() > Some(7),
        "{record}"
    );
}

#[test]
fn a_page_of_another_name_gets_no_passkey_of_ours() {
    let server = named().set(
        "webauthn",
        json!({
            "rp_id": "localhost", "rp_name": "Radio", "rp_origins": ["https://radio.localhost"],
        }),
    );
    let server = server.start();
    let Some(mut visit) = Visit::start(&server) else {
        return;
    };
    visit.sign_in_by_password("dj-own");
    let told = visit.register("Passkey");
    assert_eq!(told["status"], 400, "{told}");
    let error = told["body"]["error"].as_str().expect("a text");
    assert!(
        error.starts_with("Registration failed: the origin http://localhost:"),
        "{error}"
    );
    assert_eq!(stored(&server, "dj-own").len(), 0);
}
