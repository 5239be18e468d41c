//! The API as a whole, what it keeps, and whom it tells.

mod bad_bodies;
mod contract;
mod database;
mod history;
mod upgrade;
mod webhooks;

use serde_json::{Value, json};

use crate::{
    accounts::PASSWORD,
    harness::{Client, Server},
};

/// The superadmin as a script: with a token, which needs no proof against forged requests.
fn script(server: &Server) -> Client {
    let root = Client::login(server, "root", PASSWORD);
    let token = root
        .call("POST", "/api/tokens", &json!({ "name": "script" }))
        .json();
    Client::token(server, token["token"].as_str().expect("a token"))
}

/// The server's own description.
fn document(server: &Server) -> Value {
    Client::nobody(server).get("/api/openapi.json").json()
}
