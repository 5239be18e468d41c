//! A client of the API: one account, by session, token, password, or nobody.

use std::net::SocketAddr;

use serde_json::Value;

use super::{Reply, Server, basic, request};

/// How a client shows who it is.
#[derive(Debug, Clone)]
pub(crate) enum As {
    Nobody,
    /// The cookie and the token of forms.
    Session {
        sid: String,
        csrf: String,
    },
    Token(String),
    Password(String, String),
}

/// Somebody who calls.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) identity: As,
}

impl Client {
    pub(crate) fn nobody(server: &Server) -> Self {
        Self {
            address: server.address(),
            identity: As::Nobody,
        }
    }

    /// Signs in by the form, as a browser does.
    pub(crate) fn login(server: &Server, user: &str, password: &str) -> Self {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("username", user)
            .append_pair("password", password)
            .finish();
        let reply = super::post(server.address(), "/login", "", &form);
        assert_eq!(reply.status(), 303, "{}", reply.text());
        let sid = reply.head.get("set-cookie").expect("a cookie");
        let sid = sid
            .strip_prefix("sid=")
            .and_then(|rest| rest.split(';').next())
            .expect("the session")
            .to_owned();
        let mut client = Self {
            address: server.address(),
            identity: As::Session {
                sid,
                csrf: String::new(),
            },
        };
        let me = client.get("/api/me").json();
        if let As::Session { csrf, .. } = &mut client.identity {
            me["csrf_token"].as_str().expect("a token").clone_into(csrf);
        }
        client
    }

    pub(crate) fn password(server: &Server, user: &str, password: &str) -> Self {
        Self {
            address: server.address(),
            identity: As::Password(user.into(), password.into()),
        }
    }

    pub(crate) fn token(server: &Server, token: &str) -> Self {
        Self {
            address: server.address(),
            identity: As::Token(token.into()),
        }
    }

    /// The header lines that say who it is.
    pub(crate) fn lines(&self) -> String {
        match &self.identity {
            As::Nobody => String::new(),
            As::Session { sid, .. } => format!("Cookie: other=1; sid={sid}\r\n"),
            As::Token(token) => format!("Authorization: Bearer {token}\r\n"),
            As::Password(user, password) => format!("Authorization: {}\r\n", basic(user, password)),
        }
    }

    pub(crate) fn get(&self, target: &str) -> Reply {
        self.send("GET", target, "", b"")
    }

    /// A change as the interface makes it: JSON, however empty, and the session's token.
    pub(crate) fn call(&self, method: &str, target: &str, body: &Value) -> Reply {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let lines = format!("Content-Type: application/json\r\n{}", self.token_line());
        self.send(method, target, &lines, body.as_bytes())
    }

    fn token_line(&self) -> String {
        match &self.identity {
            As::Session { csrf, .. } => format!("X-CSRF-Token: {csrf}\r\n"),
            _ => String::new(),
        }
    }

    /// A form of the old interface with the session's token.
    pub(crate) fn form(&self, target: &str, fields: &[(&str, &str)]) -> Reply {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        if let As::Session { csrf, .. } = &self.identity {
            form.append_pair("csrf", csrf);
        }
        let body = form.finish();
        self.send(
            "POST",
            target,
            "Content-Type: application/x-www-form-urlencoded\r\n",
            body.as_bytes(),
        )
    }

    /// Anything else.
    pub(crate) fn send(&self, method: &str, target: &str, lines: &str, body: &[u8]) -> Reply {
        let who = self.lines();
        let length = if method == "GET" && body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let mut bytes = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{who}{lines}{length}\r\n",
            self.address
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        request(self.address, bytes)
    }
}
