//! Signing in with an outside provider, which is a real one on this machine.

use std::{collections::BTreeMap, net::SocketAddr, process::Command};

use serde_json::{Value, json};
use url::Url;

use super::{PASSWORD, setup};
use crate::harness::{ADMIN, As, Client, Program, Reply, Server, Setup, get, installed, post, until};

/// An OpenID Connect provider that believes everything.
pub(super) struct Provider {
    _program: Program,
    address: SocketAddr,
}

impl Provider {
    /// Starts it with people by their `sub`; nothing where it is not installed.
    pub(super) fn start(people: &[Value]) -> Option<Self> {
        if !installed(&["oidc-provider-mock"]) {
            return None;
        }
        let mut command = Command::new("oidc-provider-mock");
        command
            .args(["--port", "0", "--host", "127.0.0.1"])
            .env("NO_COLOR", "1");
        for person in people {
            command.args(["--user-claims", &person.to_string()]);
        }
        let mut program = Program::start(&mut command);
        let address = until("the provider listens", || {
            assert!(program.is_running(), "{}", program.output());
            let output = program.output();
            let (_, rest) = output.split_once("running on http://")?;
            rest.split_whitespace().next()?.parse().ok()
        });
        Some(Self {
            _program: program,
            address,
        })
    }

    /// The setup of a server that offers it as `mock`.
    pub(super) fn offered(&self, setup: Setup) -> Setup {
        let provider = json!({
            "id": "mock", "name": "The mock", "client_id": "tinyice", "client_secret": "not so secret",
            "discovery_url": format!("http://{}", self.address), "icon": "key", "enabled": true,
        });
        setup.set("oidc_providers", json!([provider]))
    }
}

/// Somebody's browser on the way to a provider and back.
#[derive(Clone)]
pub(super) struct Traveller {
    server: SocketAddr,
    cookies: BTreeMap<String, String>,
    /// Where it was sent.
    location: Url,
}

impl Traveller {
    /// Goes to `/auth/mock` and on to the provider's page.
    pub(super) fn leave(server: &Server, more: &str) -> Self {
        Self::leave_with(server.address(), more, "")
    }

    fn leave_with(server: SocketAddr, more: &str, lines: &str) -> Self {
        let reply = get(server, &format!("/auth/mock{more}"), lines);
        assert_eq!(reply.status(), 307, "{}", reply.text());
        let mut traveller = Self {
            server,
            cookies: BTreeMap::new(),
            location: location(&reply),
        };
        traveller.keep_cookies(&reply);
        traveller
    }

    fn keep_cookies(&mut self, reply: &Reply) {
        let set = reply
            .head
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        for (_, cookie) in set {
            let (name, rest) = cookie.split_once('=').expect("a cookie");
            let (value, attributes) = rest.split_once(';').expect("attributes");
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Presses a button on the provider's page. Gives where that leads, which is back here.
    fn press(&self, field: &str) -> Url {
        let provider = self.location.socket_addrs(|| None).expect("an address")[0];
        let target = format!(
            "{}?{}",
            self.location.path(),
            self.location.query().unwrap_or_default()
        );
        let reply = post(provider, &target, "", field);
        assert_eq!(reply.status(), 302, "{}", reply.text());
        location(&reply)
    }

    /// Signs in at the provider and comes back.
    pub(super) fn sign_in(&mut self, sub: &str) -> Reply {
        let back = self.press(&format!("sub={sub}"));
        self.come(&back)
    }

    /// Follows a link to the server with the cookies that it gave.
    fn come(&mut self, url: &Url) -> Reply {
        let reply = get(self.server, &target(url), &self.cookie_line());
        self.keep_cookies(&reply);
        reply
    }

    fn cookie_line(&self) -> String {
        let pairs: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("Cookie: {}\r\n", pairs.join("; "))
    }

    /// Whether somebody is signed in, and who.
    pub(super) fn whoami(&self) -> Option<String> {
        let reply = get(self.server, "/api/me", &self.cookie_line());
        (reply.status() == 200).then(|| reply.json()["username"].as_str().expect("a name").to_owned())
    }
}

fn location(reply: &Reply) -> Url {
    reply
        .head
        .get("location")
        .expect("a location")
        .parse()
        .expect("an address")
}

fn target(url: &Url) -> String {
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

/// Somebody whose address the provider has verified.
pub(super) fn person(sub: &str) -> Value {
    json!({ "sub": sub, "email": format!("{sub}@radio.example"), "email_verified": true, "name": format!("Name of {sub}") })
}

/// A server on which `dj-own` is known by the address of `anna`.
pub(super) fn known() -> Setup {
    let setup = setup();
    let mut users = setup.get("users");
    users["dj-own"]["linked_emails"] = json!(["Anna@Radio.example"]);
    users["root"]["linked_emails"] = json!(["root@radio.example"]);
    setup.set("users", users)
}

fn pending(root: &Client) -> Vec<Value> {
    let reply = root.get("/api/pending-users");
    assert_eq!(reply.status(), 200, "{}", reply.text());
    reply.json().as_array().expect("a list").clone()
}

#[test]
fn a_known_address_signs_in_and_keeps_its_identity() {
    let Some(provider) = Provider::start(&[person("anna")]) else {
        return;
    };
    let server = provider.offered(known()).start();
    let offered = Client::nobody(&server).get("/api/oidc/providers").json();
    assert_eq!(
        offered,
        json!([{ "id": "mock", "name": "The mock", "icon": "key" }])
    );

    let mut anna = Traveller::leave(&server, "?next=/kiosk");
    let asked: BTreeMap<_, _> = anna.location.query_pairs().into_owned().collect();
    for (name, expected) in [
        ("response_type", "code"),
        ("client_id", "tinyice"),
        ("scope", "openid email profile"),
        ("code_challenge_method", "S256"),
        ("redirect_uri", &server.url("/auth/mock/callback")),
        ("nonce", &anna.cookies["oidc_nonce"]),
        ("state", &anna.cookies["oidc_state"]),
    ] {
        assert_eq!(asked.get(name).map(String::as_str), Some(expected), "{name}");
    }
    let reply = anna.sign_in("anna");
    assert_eq!(
        (reply.status(), reply.head.get("location")),
        (303, Some("/kiosk")),
        "{}",
        reply.text()
    );
    assert_eq!(anna.whoami().as_deref(), Some("dj-own"));
    assert_eq!(
        anna.cookies.keys().collect::<Vec<_>>(),
        ["sid"],
        "those of the journey are gone"
    );
    let linked = server.config()["users"]["dj-own"]["linked_identities"].clone();
    assert_eq!(linked, json!([{ "provider": "mock", "sub": "anna" }]));
    let root = Client::login(&server, "root", PASSWORD);
    let audit = root.get("/api/security/audit?user=dj-own&action=login").json();
    assert_eq!(audit["entries"][0]["detail"], "oidc:mock", "{audit}");

    let reply = Traveller::leave(&server, "").sign_in("anna");
    assert_eq!(
        (reply.status(), reply.head.get("location")),
        (303, Some("/admin"))
    );
    let reply = Traveller::leave(&server, "?next=//evil.example").sign_in("anna");
    assert_eq!(reply.head.get("location"), Some("/admin"));
}

#[test]
fn a_stranger_asks_is_let_in_or_is_not() {
    let Some(provider) = Provider::start(&[person("berta"), person("carl")]) else {
        return;
    };
    let server = provider.offered(known()).start();
    let root = Client::login(&server, "root", PASSWORD);
    for sub in ["berta", "carl", "berta"] {
        let mut stranger = Traveller::leave(&server, "");
        let reply = stranger.sign_in(sub);
        assert!(
            matches!(reply.status(), 200 | 202) && reply.text().contains("Access Requested"),
            "{}",
            reply.text()
        );
        assert_eq!(stranger.whoami(), None);
    }
    let waiting = pending(&root);
    let told: Vec<_> = waiting
        .iter()
        .map(|row| (row["email"].clone(), row["name"].clone(), row["provider"].clone()))
        .collect();
    let row = |sub: &str| {
        (
            json!(format!("{sub}@radio.example")),
            json!(format!("Name of {sub}")),
            json!("mock"),
        )
    };
    assert_eq!(told, [row("berta"), row("carl")]);

    let answer = |what: &str, body: Value| root.call("POST", &format!("/api/pending-users/{what}"), &body);
    let id = |index: usize| waiting[index]["id"].clone();
    let reply = answer("approve", json!({ "id": id(0), "username": "root" }));
    assert_eq!(
        (reply.status(), reply.json()["error"].as_str()),
        (409, Some("Username already taken"))
    );
    let reply = answer(
        "approve",
        json!({ "id": id(0), "username": "berta", "mounts": ["/berta"] }),
    );
    assert_eq!(
        reply.json(),
        json!({ "success": true, "username": "berta" }),
        "{}",
        reply.text()
    );
    assert_eq!(
        answer("deny", json!({ "id": id(1) })).json(),
        json!({ "success": true })
    );
    assert_eq!(pending(&root), Vec::<Value>::new());

    let mut berta = Traveller::leave(&server, "");
    assert_eq!(berta.sign_in("berta").status(), 303);
    assert_eq!(berta.whoami().as_deref(), Some("berta"));
    let user = server.config()["users"]["berta"].clone();
    assert_eq!((&user["role"], &user["password"]), (&json!("dj"), &json!("")));
    let sid = berta.cookies["sid"].clone();
    let berta = Client {
        address: server.address(),
        identity: As::Session {
            sid,
            csrf: String::new(),
        },
    };
    let streams = berta.get("/api/streams").json();
    assert_eq!(
        (streams.as_array().map(Vec::len), &streams[0]["mount"]),
        (Some(1), &json!("/berta")),
        "{streams}"
    );

    let mut carl = Traveller::leave(&server, "");
    let reply = carl.sign_in("carl");
    assert!(reply.text().contains("Access Denied"), "{}", reply.text());
    assert!(
        reply
            .text()
            .contains("Your access request was denied. You can try again later.")
    );
    assert_eq!(carl.whoami(), None);
    assert_eq!(pending(&root), Vec::<Value>::new());
    // A day later it is forgotten.
    server.edit_config(|config| {
        let denied = config["pending_users"].as_array_mut().expect("a list");
        assert_eq!(denied.len(), 1);
        denied[0]["denied_at"] = json!("2026-01-01T00:00:00Z");
    });
    assert!(server.reload());
    let reply = Traveller::leave(&server, "").sign_in("carl");
    assert!(reply.text().contains("Access Requested"), "{}", reply.text());
    assert_eq!(pending(&root).len(), 1);
}

#[test]
fn only_the_browser_that_left_may_come_back_and_once() {
    let Some(provider) = Provider::start(&[person("anna")]) else {
        return;
    };
    let server = provider.offered(known()).start();
    let (anna, back) = {
        let anna = Traveller::leave(&server, "");
        let back = anna.press("sub=anna");
        (anna, back)
    };
    let changed = |name: &str, value: Option<&str>| {
        let mut url = back.clone();
        let kept: Vec<(String, String)> = back
            .query_pairs()
            .into_owned()
            .filter(|(key, _)| key != name)
            .collect();
        url.query_pairs_mut().clear().extend_pairs(kept);
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
        url
    };
    let without = |cookie: &str| {
        let mut traveller = anna.clone();
        traveller.cookies.remove(cookie);
        traveller
    };
    let other = Traveller::leave(&server, "");
    for (what, mut traveller, url, status, text) in [
        (
            "no state",
            anna.clone(),
            changed("state", None),
            403,
            "Invalid state parameter",
        ),
        (
            "forged state",
            anna.clone(),
            changed("state", Some("mock:9999999999:x:AAAA")),
            403,
            "Invalid state parameter",
        ),
        (
            "no cookie of the state",
            without("oidc_state"),
            back.clone(),
            403,
            "State cookie mismatch",
        ),
        (
            "another browser",
            other,
            back.clone(),
            403,
            "State cookie mismatch",
        ),
    ] {
        let reply = traveller.come(&url);
        assert_eq!(reply.status(), status, "{what}: {}", reply.text());
        assert!(reply.text().contains(text), "{what}: {}", reply.text());
        assert_eq!(traveller.whoami(), None, "{what}");
    }
    // None of these has used up what the right browser holds.
    let mut right = anna.clone();
    assert_eq!(right.come(&back).status(), 303);
    assert_eq!(right.whoami().as_deref(), Some("dj-own"));
    let mut again = anna.clone();
    let reply = again.come(&back);
    assert_eq!(reply.status(), 403, "{}", reply.text());
    assert_eq!(again.whoami(), None);

    // Each of these uses up its state.
    for (cookie, query, status, text) in [
        ("pkce_verifier", "", 400, "Missing PKCE verifier"),
        ("oidc_nonce", "", 400, "Missing OIDC nonce"),
        ("", "code", 400, "Missing authorization code"),
    ] {
        let mut traveller = Traveller::leave(&server, "");
        let mut url = traveller.press("sub=anna");
        if query == "code" {
            let state = url
                .query_pairs()
                .find(|(name, _)| name == "state")
                .expect("the state")
                .1
                .into_owned();
            url.query_pairs_mut().clear().append_pair("state", &state);
        }
        traveller.cookies.remove(cookie);
        let reply = traveller.come(&url);
        assert_eq!(reply.status(), status, "{text}: {}", reply.text());
        assert!(reply.text().contains(text), "{text}: {}", reply.text());
        assert_eq!(traveller.whoami(), None, "{text}");
    }
    // A code that the provider never gave, and the nonce of another journey.
    let mut traveller = Traveller::leave(&server, "");
    let state = traveller.cookies["oidc_state"].clone();
    let mut url = traveller.press("sub=anna");
    url.query_pairs_mut()
        .clear()
        .extend_pairs([("code", "forged"), ("state", &state)]);
    let reply = traveller.come(&url);
    assert_eq!(reply.status(), 401, "{}", reply.text());
    assert!(reply.text().contains("Authentication failed"), "{}", reply.text());
    let mut traveller = Traveller::leave(&server, "");
    let url = traveller.press("sub=anna");
    traveller
        .cookies
        .insert("oidc_nonce".into(), "of-another-journey".into());
    let reply = traveller.come(&url);
    assert_eq!(reply.status(), 401, "{}", reply.text());
    assert!(
        reply.text().contains("ID token nonce mismatch"),
        "{}",
        reply.text()
    );
    let nobody = Client::nobody(&server);
    assert_eq!(nobody.get("/auth/nobody").status(), 404);
}

#[test]
fn whoever_cancels_is_back_at_the_login_page() {
    let Some(provider) = Provider::start(&[person("anna")]) else {
        return;
    };
    let server = provider.offered(known()).start();
    let mut traveller = Traveller::leave(&server, "");
    let mut back = traveller.press("action=deny");
    assert!(
        back.query()
            .is_some_and(|query| query.contains("error=access_denied")),
        "{back}"
    );
    // The mock forgets the state, which RFC 6749 section 4.1.2.1 wants back.
    if !back.query_pairs().any(|(name, _)| name == "state") {
        let state = traveller.cookies["oidc_state"].clone();
        back.query_pairs_mut().append_pair("state", &state);
    }
    back.query_pairs_mut()
        .append_pair("error_description", "<script>alert(1)</script>");
    let reply = traveller.come(&back);
    let location = reply.head.get("location").expect("a location").to_owned();
    assert!(
        reply.status() == 303 && location.starts_with("/login"),
        "{} {location}",
        reply.status()
    );
    let page = Client::nobody(&server).get(&location);
    assert_eq!(page.status(), 200);
    assert!(
        page.text().contains("cancelled") && !page.text().contains("<script>alert"),
        "{}",
        page.text()
    );
    assert_eq!(traveller.whoami(), None);
}

#[test]
fn an_address_that_nobody_verified_is_worth_nothing() {
    let mut unverified = person("anna");
    unverified["email_verified"] = json!(false);
    let mut silent = person("anna2");
    silent["email"] = json!("anna@radio.example");
    silent.as_object_mut().expect("claims").remove("email_verified");
    let mut worded = person("anna3");
    worded["email"] = json!("anna@radio.example");
    worded["email_verified"] = json!("true");
    let mut nowhere = person("anna4");
    nowhere.as_object_mut().expect("claims").remove("email");
    let Some(provider) = Provider::start(&[unverified, silent, worded, nowhere]) else {
        return;
    };
    let server = provider.offered(known()).start();
    for sub in ["anna", "anna2"] {
        let mut traveller = Traveller::leave(&server, "");
        let reply = traveller.sign_in(sub);
        assert_eq!(reply.status(), 403, "{sub}: {}", reply.text());
        assert!(
            reply
                .text()
                .contains("Provider has not verified your email address"),
            "{sub}: {}",
            reply.text()
        );
        assert_eq!(traveller.whoami(), None, "{sub}");
    }
    let mut traveller = Traveller::leave(&server, "");
    assert_eq!(traveller.sign_in("anna4").status(), 400);
    assert_eq!(traveller.whoami(), None);
    assert_eq!(
        server.config()["users"]["dj-own"]["linked_identities"],
        Value::Null
    );
    // Some providers write it as a text.
    let mut traveller = Traveller::leave(&server, "");
    assert_eq!(traveller.sign_in("anna3").status(), 303);
    assert_eq!(traveller.whoami().as_deref(), Some("dj-own"));
    // The address is another's at the same provider now.
    let root = Client::login(&server, "root", PASSWORD);
    assert_eq!(pending(&root), Vec::<Value>::new());
}

#[test]
fn an_account_links_an_identity_of_its_own() {
    let Some(provider) = Provider::start(&[person("dora")]) else {
        return;
    };
    let server = provider.offered(known()).start();
    let dj = Client::login(&server, "dj-bare", PASSWORD);
    let As::Session { sid, .. } = dj.identity else {
        unreachable!()
    };
    let reply = get(server.address(), "/auth/mock?link=1", "");
    assert!(
        reply.status() == 303
            && reply
                .head
                .get("location")
                .is_some_and(|to| to.starts_with("/login"))
    );
    let foreign = format!("Cookie: sid={sid}\r\nSec-Fetch-Site: cross-site\r\n");
    assert_eq!(get(server.address(), "/auth/mock?link=1", &foreign).status(), 403);
    let mut dora = Traveller::leave_with(server.address(), "?link=1", &format!("Cookie: sid={sid}\r\n"));
    // With the cookies of the journey but not that of the account.
    let back = dora.press("sub=dora");
    let reply = dora.come(&back);
    assert_eq!(reply.status(), 403, "{}", reply.text());
    let mut dora = Traveller::leave_with(server.address(), "?link=1", &format!("Cookie: sid={sid}\r\n"));
    dora.cookies.insert("sid".into(), sid);
    assert_eq!(dora.sign_in("dora").status(), 303);
    let user = server.config()["users"]["dj-bare"].clone();
    assert_eq!(user["linked_emails"], json!(["dora@radio.example"]));
    let mut later = Traveller::leave(&server, "");
    assert_eq!(later.sign_in("dora").status(), 303);
    assert_eq!(later.whoami().as_deref(), Some("dj-bare"));
}

#[test]
fn a_provider_that_cannot_be_asked_says_so() {
    // Nobody listens there.
    let nowhere = format!("http://127.0.0.1:{}", Server::free_port());
    let provider = json!({
        "id": "gone", "name": "Gone", "client_id": "x", "client_secret": "y", "discovery_url": nowhere,
        "icon": "key", "enabled": true,
    });
    let mut off = provider.clone();
    off["id"] = json!("off");
    off["enabled"] = json!(false);
    let server = setup().set("oidc_providers", json!([provider, off])).start();
    let nobody = Client::nobody(&server);
    let reply = nobody.get("/auth/gone");
    assert_eq!(reply.status(), 500, "{}", reply.text());
    assert!(
        reply.text().contains("Provider configuration error"),
        "{}",
        reply.text()
    );
    assert_eq!(nobody.get("/auth/off").status(), 404);
    let root = Client::login(&server, "root", PASSWORD);
    let list = root.get("/api/oidc/providers/config").text();
    assert!(list.contains("********") && !list.contains("\"y\""), "{list}");
}

/// Nobody is left before a door that only a text editor opens.
#[test]
fn the_last_way_in_is_not_removed() {
    const PROVIDERS: &str = "/api/oidc/providers/config";
    let provider = |id: &str| {
        json!({
            "id": id, "name": id, "client_id": "tinyice", "client_secret": "x",
            "discovery_url": format!("https://{id}.example"), "icon": "key", "enabled": true,
        })
    };
    let server = setup().set("oidc_providers", json!([provider("only")])).start();
    let root = Client::login(&server, "root", PASSWORD);
    let token = root
        .call("POST", "/api/tokens", &json!({ "name": "script" }))
        .json();
    let root = Client::token(&server, token["token"].as_str().expect("a token"));
    // From now on the one superadmin is known by an address alone.
    server.edit_config(|config| {
        let users = config["users"].as_object_mut().expect("accounts");
        users.remove(ADMIN.0);
        users["root"]["password"] = json!("");
        users["root"]["linked_emails"] = json!(["root@radio.example"]);
    });
    assert!(server.reload());

    let only = format!("{PROVIDERS}?id=only");
    for reply in [
        root.call("DELETE", &only, &Value::Null),
        root.call("PATCH", &only, &json!({ "enabled": false })),
    ] {
        let text = reply.text();
        assert!(
            reply.status() == 409 && text.contains("give one a password or a passkey first"),
            "{} {text}",
            reply.status()
        );
    }
    assert_eq!(root.get(PROVIDERS).json()[0]["enabled"], true);
    // Who has another one may go on to it.
    server.edit_config(|config| config["oidc_providers"] = json!([provider("only"), provider("other")]));
    assert!(server.reload());
    assert_eq!(root.call("DELETE", &only, &Value::Null).status(), 200);
    let other = format!("{PROVIDERS}?id=other");
    assert_eq!(root.call("DELETE", &other, &Value::Null).status(), 409);
    // What the message says helps.
    let password = root.call(
        "PUT",
        "/api/users",
        &json!({ "username": "root", "password": "long enough" }),
    );
    assert_eq!(password.status(), 200, "{}", password.text());
    assert_eq!(root.call("DELETE", &other, &Value::Null).status(), 200);
}
